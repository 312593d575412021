import Fastify from "fastify";
import { describe, expect, test } from "vitest";
import { natsRoutes } from "../api/nats.ts";
import { WayleaveError } from "../core/errors.ts";
import { createNatsCredentials, type NatsCredentialRequest } from "./nats-credentials.ts";
import { natsWorld, shopNats } from "./nats-world.fake.ts";

const said = (promise: Promise<unknown>) =>
  promise.then(
    () => "given",
    (error: unknown) => (error instanceof WayleaveError ? `${error.code}: ${error.message}` : String(error)),
  );

function world(gateways: Readonly<Record<string, readonly string[]>> = { jobs: ["events", "audit"] }) {
  const w = natsWorld();
  const credential = createNatsCredentials({
    ...w.deps,
    passwords: w.passwords,
    creds: w.creds,
    fingerprint: w.fingerprint,
    gateways: Object.entries(gateways).map(([name, targets]) => ({ name, targets, url: () => `nats://${name}:4222` })),
  });
  const open = async () => (await w.password()).session;
  return { ...w, credential, open };
}

describe("a NATS credential", () => {
  test("is a password of the session, recorded before it is given, and good at the gateway", async () => {
    const w = world();
    const session = await w.open();
    const given = await w.credential(session, { form: "password", target: "audit" });
    expect(given).toMatchObject({
      url: "nats://jobs:4222",
      user: "audit",
      target: "audit",
      gateway: "jobs",
      account: "P_1042",
      inbox: `_INBOX_${session.id.slice(4)}`,
      expiresAt: session.view.hardEndAt,
    });
    const password = "password" in given.secret ? given.secret.password : "";
    expect(w.recorder.records.at(-1)).toMatchObject({
      kind: "nats.credential_minted",
      session: session.id,
      data: { class: "password", gateway: "jobs", target: "audit", token: w.fingerprint(password) },
    });
    expect(JSON.stringify(w.recorder.records)).not.toContain(password);
    expect((await w.authority.admit(w.of({ secret: password, user: given.user }))).session).toBe(session.id);
  });

  test("is a credentials file with a key of its own, which is in no record", async () => {
    const w = world();
    const { secret } = await w.credential(await w.open(), { form: "creds", target: "events" });
    const text = "creds" in secret ? secret.creds : "";
    expect(text).toMatch(/SU[A-Z2-7]{56}/);
    expect(JSON.stringify(w.recorder.records)).not.toMatch(/SU[A-Z2-7]{56}|eyJ/);
    expect(w.recorder.records.at(-1)?.data).toMatchObject({ class: "creds" });
  });

  const cases: readonly (readonly [
    string,
    Readonly<Record<string, readonly string[]>>,
    NatsCredentialRequest,
    string,
  ])[] = [
    [
      "for one of several targets",
      { jobs: ["events", "audit"] },
      { form: "password" },
      "several NATS targets: audit, events. Say which with --target",
    ],
    [
      "for one of several gateways",
      { a: ["events"], b: ["events"] },
      { form: "password" },
      "several gateways for it: a, b. Say which with --gateway",
    ],
    [
      "for a target it has not",
      { jobs: ["events"] },
      { form: "password", target: "db" },
      'no NATS target "db"; it has: events.',
    ],
    [
      "for what is no NATS target",
      { jobs: ["billing", "events"] },
      { form: "password", target: "billing" },
      'no NATS target "billing"; it has: events.',
    ],
    [
      "for a gateway that does not front it",
      { a: ["events"], b: ["audit"] },
      { form: "password", target: "events", gateway: "b" },
      'no NATS gateway "b"; it has: a.',
    ],
    [
      "where no gateway fronts its targets",
      { jobs: [] },
      { form: "password" },
      "No NATS gateway fronts audit, elsewhere, events",
    ],
  ];
  test.each(cases)("is refused %s, and the choices are named", async (_why, gateways, asked, expected) => {
    const w = world(gateways);
    const session = await w.open();
    const before = w.recorder.records.length;
    const answer = await said(w.credential(session, asked));
    expect(answer).toMatch(/^invalid_target: /);
    expect(answer).toContain(expected);
    expect(w.recorder.records).toHaveLength(before);
  });

  test("is chosen where there is but one way", async () => {
    const w = world({ a: ["events"], b: ["audit"] });
    expect(await w.credential(await w.open(), { form: "password", gateway: "b" })).toMatchObject({ target: "audit" });
  });

  test("is refused to a job without any, to a session that ended or is suspended, and where nothing can be recorded", async () => {
    const w = world();
    w.jobOf("token:8:1", "acme/plain", "3000");
    const plain = w.session((await w.exchange("token:8:1")).session.id);
    expect(await said(w.credential(plain, { form: "password" }))).toContain("No role of this job names a NATS target");
    const session = await w.open();
    const ask = () => said(w.credential(session, { form: "password", target: "events" }));
    await w.lifecycle.suspend(session, "lease_missed");
    expect(await ask()).toMatch(/^session_suspended/);
    await w.lifecycle.resume(session, "lease_missed");
    w.recorder.fail = true;
    expect(await ask()).toMatch(/^journal_unavailable/);
    w.recorder.fail = false;
    const asking = ask();
    const ending = w.lifecycle.end(session, "operator");
    expect(await asking).toMatch(/^session_ended/);
    await ending;
    expect(await ask()).toMatch(/^session_ended/);
    w.enforce(shopNats.replace("account: CI", 'account: "E_${environment.slug}"'));
    const other = w.session((await w.password("5")).session.id);
    expect(await said(w.credential(other, { form: "password", target: "events" }))).toMatch(/^access_denied/);
  });
});

describe("POST /v1/session/nats", () => {
  async function app() {
    const w = world();
    const session = await w.open();
    const routes = Fastify();
    routes.register(
      natsRoutes({
        issuerUrl: "https://wl.acme",
        proof: async () => "key of 7712",
        byRefreshToken: async () => session,
        find: (id) => w.table.find(id),
        natsCredential: w.credential,
      }),
    );
    const ask = (payload: unknown, headers: Record<string, string> = { authorization: "Bearer wlr_x" }) =>
      routes.inject({ method: "POST", url: "/v1/session/nats", headers, payload: payload as object });
    return { w, session, ask };
  }

  test("answers what a job connects with, and no cache keeps it", async () => {
    const { session, ask } = await app();
    const answer = await ask({ form: "password", target: "events" });
    expect(answer.statusCode).toBe(200);
    expect(answer.headers["cache-control"]).toBe("no-store");
    expect(answer.json()).toEqual({
      url: "nats://jobs:4222",
      user: "events",
      password: expect.stringMatching(/^wln_/),
      target: "events",
      gateway: "jobs",
      account: "CI",
      inbox: `_INBOX_${session.id.slice(4)}`,
      expires_at: new Date(session.view.hardEndAt).toISOString(),
    });
    expect((await ask({ form: "creds", target: "events" })).json()).toHaveProperty("creds");
  });

  test.each([
    ["no form", {}],
    ["another form", { form: "token" }],
    ["an empty target", { form: "creds", target: "" }],
    ["a target without end", { form: "creds", target: "x".repeat(64) }],
    ["something more", { form: "creds", session: "ses_0" }],
  ])("refuses %s", async (_what, body) => {
    const { ask } = await app();
    const answer = await ask(body);
    expect(answer.statusCode).toBe(400);
    expect(answer.json()).toMatchObject({ code: "invalid_request" });
  });

  test("refuses whoever speaks for no session", async () => {
    const { session, ask } = await app();
    for (const headers of [{}, { "wayleave-session": session.id }, { "wayleave-session": "x", dpop: "y" }]) {
      expect((await ask({ form: "password", target: "events" }, headers)).statusCode).toBe(401);
    }
    const bound = { "wayleave-session": session.id, dpop: "proof" };
    expect((await ask({ form: "password", target: "events" }, bound)).statusCode).toBe(200);
  });
});
