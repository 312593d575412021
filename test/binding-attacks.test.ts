import { request } from "undici";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createProofKey, type ProofKey } from "../src/cli/job/proof-key.ts";
import type { AuditRecord } from "../src/core/record.ts";
import { type BindingLab, exchangeGrant, type Session, startBindingLab } from "./binding-lab.ts";
import { operatorRecords } from "./operator.ts";

let lab: BindingLab;
let job: Session;

beforeAll(async () => {
  lab = await startBindingLab();
  job = await lab.exchange("ledger");
});
afterAll(() => lab?.close());

const entries = "https://ledger.internal/v1/entries";
const proofFor = (key: ProofKey, token: string, htu = entries, method = "GET") =>
  key.proof({ method, url: htu, nowMs: Date.now(), token });
const bound = ({ accessToken, key }: Session, more: object = {}) => ({
  target: "ledger",
  authorization: `DPoP ${accessToken}`,
  dpop: proofFor(key, accessToken),
  ...more,
});
const recordOf = async (id: string): Promise<AuditRecord | undefined> =>
  (await operatorRecords({ broker: lab.installation }, "limit=200")).find((record) => record.id === id);

test("a token for a target that wants proofs is bound to the key, and serves whoever has both", async () => {
  expect(job.type).toBe("DPoP");
  expect(await lab.ask(bound(job))).toMatchObject({ status: 200, decision: "allow" });
  expect(await lab.ask(bound(job))).toMatchObject({ status: 200, decision: "allow" });
});

describe("a bound token in a thief's hands", () => {
  const thief = createProofKey();
  test.each<{ why: string; ask: () => object; reason: string }>([
    { why: "sent as Bearer", ask: () => ({ authorization: `Bearer ${job.accessToken}` }), reason: "bound_as_bearer" },
    {
      why: "sent as Bearer, with a good proof beside it",
      ask: () => ({ ...bound(job), authorization: `Bearer ${job.accessToken}` }),
      reason: "bound_as_bearer",
    },
    { why: "without a proof", ask: () => ({ authorization: `DPoP ${job.accessToken}` }), reason: "proof_invalid" },
    {
      why: "with a proof by another key",
      ask: () => bound(job, { dpop: proofFor(thief, job.accessToken) }),
      reason: "proof_invalid",
    },
    {
      why: "with a proof for another token",
      ask: () => bound(job, { dpop: proofFor(job.key, "another") }),
      reason: "proof_invalid",
    },
    {
      why: "with a proof for another method",
      ask: () => bound(job, { dpop: proofFor(job.key, job.accessToken, entries, "POST") }),
      reason: "proof_invalid",
    },
    {
      why: "with a proof for another path",
      ask: () => bound(job, { path: "/v1/others" }),
      reason: "proof_invalid",
    },
    {
      why: "with a proof for another host",
      ask: () => bound(job, { dpop: proofFor(job.key, job.accessToken, "https://billing.internal/v1/entries") }),
      reason: "proof_invalid",
    },
    {
      why: "with a proof from two minutes ago",
      ask: () => {
        const nowMs = Date.now() - 120_000;
        return bound(job, { dpop: job.key.proof({ method: "GET", url: entries, nowMs, token: job.accessToken }) });
      },
      reason: "proof_invalid",
    },
    {
      why: "with two proofs",
      ask: () => bound(job, { dpop: [proofFor(job.key, job.accessToken), proofFor(thief, job.accessToken)] }),
      reason: "ambiguous_request",
    },
  ])("$why is refused and recorded", async ({ ask, reason }) => {
    const answer = await lab.ask({ target: "ledger", authorization: "", ...ask() });
    expect(answer).toMatchObject({ decision: "deny", reason });
    const record = await recordOf(answer.record);
    expect(record?.data).toMatchObject({ outcome: "deny", reason });
    if (reason === "ambiguous_request") return;
    expect([answer.status, answer.challenge]).toEqual([401, expect.stringMatching(/^DPoP .*algs="ES256"$/)]);
    expect(record).toMatchObject({ session: job.id, data: { token: expect.stringMatching(/^fp_/) } });
  });

  test("with a proof that was used is refused and recorded", async () => {
    const once = bound(job);
    expect((await lab.ask(once)).decision).toBe("allow");
    const again = await lab.ask(once);
    expect(again).toMatchObject({ status: 401, reason: "proof_replayed" });
    expect((await recordOf(again.record))?.data).toMatchObject({ reason: "proof_replayed" });
  });

  test("is refused as Bearer where no proof is wanted either", async () => {
    const answer = await lab.ask({ target: "billing", authorization: `Bearer ${job.accessToken}` });
    expect(answer).toMatchObject({ status: 401, reason: "bound_as_bearer" });
  });
});

test("a bearer token is not enough for a target that wants proofs, and is never given for one", async () => {
  const bearer = await lab.exchange("billing");
  expect(bearer.type).toBe("Bearer");
  expect(await lab.ask({ target: "billing", authorization: `Bearer ${bearer.accessToken}` })).toMatchObject({
    decision: "allow",
  });
  const answer = await lab.ask({ target: "ledger", authorization: `Bearer ${bearer.accessToken}` });
  expect(answer).toMatchObject({ status: 401, reason: "proof_required" });
  const form = { ...exchangeGrant, subject_token: await lab.subjectToken(), audience: "ledger" };
  expect((await lab.token(form)).body).toMatchObject({ error: "invalid_dpop_proof", code: "proof_required" });
});

test("asked for everything, the token is the bearer one, and names what wants another", async () => {
  const form = { ...exchangeGrant, subject_token: await lab.subjectToken() };
  const { body } = await lab.token(form, { dpop: await lab.proof(createProofKey()) });
  expect(body).toMatchObject({
    token_type: "Bearer",
    targets: [{ name: "billing" }, { name: "reports" }],
    proof_targets: [{ name: "ledger" }],
  });
});

describe("at the token endpoint", () => {
  const refresh = (refreshToken: string, dpop?: string) =>
    lab.token({ grant_type: "refresh_token", refresh_token: refreshToken }, dpop === undefined ? {} : { dpop });

  test("a stolen refresh token is refused and recorded: without a proof, and with the thief's own", async () => {
    const thief = createProofKey();
    for (const [dpop, code] of [
      [undefined, "proof_required"],
      [await lab.proof(thief), "proof_invalid"],
    ] as const) {
      const { status, body } = await refresh(job.refreshToken, dpop);
      expect([status, body.error, body.code]).toEqual([400, "invalid_dpop_proof", code]);
      const record = await recordOf(String(body.record));
      expect(record).toMatchObject({ kind: "refresh.refused", session: job.id, data: { code } });
      expect(JSON.stringify(record)).not.toContain(job.refreshToken);
    }
    expect((await refresh(job.refreshToken, await lab.proof(job.key))).body.refresh_token).toBe(job.refreshToken);
  });

  test("a stolen refresh token speaks for its session nowhere else either, which is recorded", async () => {
    const { statusCode, body } = await request(`${lab.url}/v1/session`, {
      headers: { authorization: `Bearer ${job.refreshToken}` },
    });
    await body.dump();
    expect(statusCode).toBe(400);
    const found = await operatorRecords({ broker: lab.installation }, `session=${job.id}&kind=refresh.refused&limit=1`);
    expect(found).toMatchObject([{ data: { code: "proof_required" } }]);
  });

  test("a bearer refresh token rotates; its predecessor gives the same successor, and a thief's late use ends all", async () => {
    const first = (await lab.token({ ...exchangeGrant, subject_token: await lab.subjectToken() })).body;
    const second = (await refresh(String(first.refresh_token))).body;
    expect(second.refresh_token).not.toBe(first.refresh_token);
    expect((await refresh(String(first.refresh_token))).body.refresh_token).toBe(second.refresh_token);
    const third = (await refresh(String(second.refresh_token))).body;
    expect((await refresh(String(first.refresh_token))).body.code).toBe("refresh_token_invalid");
    expect((await refresh(String(third.refresh_token))).body.code).toBe("session_ended");
    expect(await lab.ask({ target: "billing", authorization: `Bearer ${third.access_token}` })).toMatchObject({
      reason: "session_ended",
    });
  });

  test("a proof that was used is refused and recorded", async () => {
    const dpop = await lab.proof(job.key);
    expect((await refresh(job.refreshToken, dpop)).status).toBe(200);
    const { status, body } = await refresh(job.refreshToken, dpop);
    expect([status, body.code]).toEqual([400, "proof_replayed"]);
    expect(await recordOf(String(body.record))).toMatchObject({ kind: "refresh.refused", session: job.id });
  });

  test("a proof without nonce is asked for one, and nothing is used up", async () => {
    const key = createProofKey();
    const form = { ...exchangeGrant, subject_token: await lab.subjectToken(), audience: "ledger" };
    const asked = await lab.token(form, {
      dpop: key.proof({ method: "POST", url: `${lab.url}/oauth2/token`, nowMs: Date.now() }),
    });
    expect([asked.status, asked.body.error, asked.body.record]).toEqual([400, "use_dpop_nonce", undefined]);
    const dpop = await lab.proof(key, { nonce: asked.nonce });
    expect((await lab.token(form, { dpop })).status).toBe(200);
  });

  test("an old nonce is refused and recorded, with the new one: also one from before a restart", async () => {
    const nonce = (await lab.token({ grant_type: "none" }, { dpop: "x" })).nonce;
    await lab.restart();
    const { status, body, nonce: next } = await refresh(job.refreshToken, await lab.proof(job.key, { nonce }));
    expect([status, body.error, body.code]).toEqual([400, "use_dpop_nonce", "proof_nonce_stale"]);
    expect(await recordOf(String(body.record))).toMatchObject({ kind: "refresh.refused", session: job.id });
    expect((await refresh(job.refreshToken, await lab.proof(job.key, { nonce: next }))).status).toBe(200);
  });
});

describe("a gateway", () => {
  const introspect = async (headers: Readonly<Record<string, string>>, token: string) => {
    const { statusCode, body } = await request(`${lab.url}/oauth2/introspect`, {
      method: "POST",
      headers: { "content-type": "application/x-www-form-urlencoded", ...headers },
      body: new URLSearchParams({ token }).toString(),
    });
    return { status: statusCode, body: (await body.json()) as Record<string, unknown> };
  };
  const as = (name: "edge-1" | "edge-2", secret: string = lab.secrets[name]) => ({
    "x-wayleave-gateway": name,
    "x-wayleave-gateway-secret": secret,
  });
  const refusals = async () => operatorRecords({ broker: lab.installation }, "kind=gateway.refused&limit=1");

  test("learns of a token for its own targets what it needs, and not what else it is for", async () => {
    const { accessToken, id } = await lab.exchange("ledger");
    const { status, body } = await introspect(as("edge-1"), accessToken);
    expect([status, body]).toEqual([
      200,
      expect.objectContaining({ active: true, sid: id, aud: ["ledger"], token_type: "DPoP", scope: "read" }),
    ]);
    const both = await lab.token({ ...exchangeGrant, subject_token: await lab.subjectToken() });
    const found = await introspect(as("edge-2"), String(both.body.access_token));
    expect(found.body).toMatchObject({ active: true, aud: ["reports"], token_type: "Bearer" });
  });

  test("with another's secret is refused and recorded, whatever it asks", async () => {
    const secret = lab.secrets["edge-2"];
    expect(await lab.ask({ ...bound(job), secret })).toMatchObject({ status: 403, reason: "gateway_unauthenticated" });
    expect(await refusals()).toMatchObject([{ data: { code: "gateway_unauthenticated" } }]);
    const answer = await introspect(as("edge-1", secret), job.accessToken);
    expect([answer.status, answer.body.error]).toEqual([401, "invalid_client"]);
    expect(await refusals()).toMatchObject([
      { data: { code: "gateway_unauthenticated", detail: expect.stringContaining("asked about") } },
    ]);
  });

  test("asking about a target it does not front is refused and recorded", async () => {
    const answer = await lab.ask({ ...bound(job), gateway: "edge-2" });
    expect(answer).toMatchObject({ status: 403, reason: "target_unknown" });
    expect(await refusals()).toMatchObject([{ data: { code: "target_unknown", gateway: "edge-2" } }]);
    expect(await introspect(as("edge-2"), job.accessToken)).toEqual({ status: 200, body: { active: false } });
    expect(await refusals()).toMatchObject([{ session: job.id, data: { code: "target_unknown", gateway: "edge-2" } }]);
  });

  test.each([
    { why: "nobody", headers: {} },
    { why: "a job", headers: { authorization: "Bearer x" } },
    { why: "a gateway that is none", headers: { authorization: `Basic ${btoa("edge-9:x")}` } },
    {
      why: "a gateway in two ways",
      headers: { authorization: `Basic ${btoa("edge-1:x")}`, "x-wayleave-gateway": "edge-1" },
    },
  ])("is not $why", async ({ headers }) => {
    expect((await introspect(headers as Record<string, string>, job.accessToken)).status).toBe(401);
  });

  test("is told that a token is not active: of an ended session, of nobody, and no token", async () => {
    const ended = await lab.exchange("billing");
    const dpop = ended.key.proof({
      method: "POST",
      url: `${lab.url}/oauth2/revoke`,
      nowMs: Date.now(),
      nonce: (await lab.token({ grant_type: "none" }, { dpop: "x" })).nonce,
    });
    const { statusCode, body } = await request(`${lab.url}/oauth2/revoke`, {
      method: "POST",
      headers: { "content-type": "application/x-www-form-urlencoded", dpop },
      body: new URLSearchParams({ token: ended.refreshToken }).toString(),
    });
    await body.dump();
    expect(statusCode).toBe(200);
    for (const token of [ended.accessToken, ended.refreshToken, "a.b.c", "x"]) {
      expect(await introspect(as("edge-1"), token)).toEqual({ status: 200, body: { active: false } });
    }
  });
});
