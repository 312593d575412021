import { fromSeed } from "@nats-io/nkeys";
import { describe, expect, test } from "vitest";
import { WayleaveError } from "../core/errors.ts";
import { identity } from "../session/harness.fake.ts";
import { natsIdentity } from "./nats-session.ts";
import { natsPolicy, natsWorld, shopNats } from "./nats-world.fake.ts";

const refusal = (promise: Promise<unknown>) =>
  promise.then(
    () => "admitted",
    (error: unknown) =>
      error instanceof WayleaveError ? `${error.code}: ${error.message}` : `unexpected ${String(error)}`,
  );

describe("a client is admitted", () => {
  test("with a password, as often as it likes, and the target's account and modes are told", async () => {
    const w = natsWorld();
    const { session, secret } = await w.password("7712", "audit");
    const admission = await w.authority.admit(w.of({ secret, user: "audit" }));
    expect(admission).toMatchObject({
      session: session.id,
      target: "audit",
      account: "P_1042",
      inbox: `_INBOX_${session.id.slice(4)}`,
      identity: `gitlab/1042/7712 acme/shop ${session.id}`,
      records: "fast",
      deliveries: "full",
      hardEndAt: session.view.hardEndAt,
      record: { session: session.id, job: { project: "acme/shop", job_id: "7712" } },
    });
    expect(admission.connection).toMatch(/^nc_[0-9a-hjkmnp-tv-z]{16}$/);
    const again = await w.authority.admit(w.of({ secret }));
    expect(again.connection).not.toBe(admission.connection);
  });

  test("with a credentials file, its key having signed our nonce", async () => {
    const w = natsWorld();
    const { session } = await w.password();
    const { text, jwt } = w.creds.create({ session: session.id, gateway: "jobs", target: "events" }, w.clock.now());
    const seed = /SU[A-Z2-7]{56}/.exec(text)?.[0] ?? "";
    const sign = (nonce: string) =>
      Buffer.from(fromSeed(Buffer.from(seed)).sign(Buffer.from(nonce))).toString("base64url");
    const presented = { secret: jwt, proof: { nonce: "n-1", signature: sign("n-1") } };
    expect((await w.authority.admit(w.of(presented))).target).toBe("events");
    const stolen = { secret: jwt, proof: { nonce: "n-2", signature: sign("n-1") } };
    expect(await refusal(w.authority.admit(w.of(stolen)))).toMatch(
      /^credential_invalid: the credentials file is none of ours/,
    );
    expect(await refusal(w.authority.admit(w.of({ secret: jwt })))).toMatch(/^subject_token_invalid/);
  });

  test("with the job's own token, which opens its session once and is a password from then on", async () => {
    const w = natsWorld();
    const first = await w.authority.admit(w.of({ secret: "token.7712.1", user: "events" }));
    const second = await w.authority.admit(w.of({ secret: "token.7712.1", user: "audit" }));
    expect(second.session).toBe(first.session);
    expect(second.target).toBe("audit");
    expect(w.recorder.kinds().filter((kind) => kind === "session.opened")).toHaveLength(1);
  });

  test("without a user where there is one target only", async () => {
    const w = natsWorld();
    w.jobOf("token:9:1", "acme/tools", "2000");
    expect((await w.authority.admit(w.of({ secret: "token.9.1" }))).target).toBe("events");
  });
});

describe("a client is refused", () => {
  const none = "none of ours, or damaged. Run `wayleave nats env` again.";
  test.each([
    ["with nothing", "", undefined, "credential_invalid: no credential: give what `wayleave nats env` prints"],
    ["with a password of nobody", "wln_rubbish", undefined, `credential_invalid: the password is ${none}`],
    ["with a word", "hunter2", undefined, "credential_invalid: the password is neither one of `wayleave nats env` nor"],
    [
      "with a token without end",
      `token.1.${"x".repeat(20_000)}`,
      undefined,
      "credential_invalid: the password is neither",
    ],
    ["with somebody else's token", "rubbish.a.b", "events", "subject_token_invalid: Not a token."],
    [
      "with a token for one of several",
      "token.1.1",
      undefined,
      "invalid_target: Say which target, as the user name; at gateway jobs this job has: audit, events.",
    ],
    [
      "with a token for what it has not",
      "token.1.1",
      "db",
      "invalid_target: The user must be a target's name, or empty; at gateway jobs this job has: audit, events.",
    ],
    [
      "with a token for another gateway's target",
      "token.1.1",
      "elsewhere",
      "invalid_target: The user must be a target's name",
    ],
    [
      "with a token for what is no NATS target",
      "token.1.1",
      "billing",
      "invalid_target: The user must be a target's name",
    ],
  ])("%s", async (_why, secret, user, expected) => {
    const w = natsWorld();
    const said = await refusal(w.authority.admit(w.of({ secret, ...(user === undefined ? {} : { user }) })));
    expect(said).toContain(expected);
    expect(w.recorder.kinds()).toEqual(["nats.refused"]);
    expect(w.recorder.records[0]?.data).toMatchObject({ gateway: "jobs", from: "10.0.0.7" });
    if (secret !== "") expect(JSON.stringify(w.recorder.records)).not.toContain(secret);
  });

  test("as a job that no role gives a NATS target, and its token stays unused", async () => {
    const w = natsWorld();
    w.jobOf("token:8:1", "acme/plain", "3000");
    expect(await refusal(w.authority.admit(w.of({ secret: "token.8.1" })))).toBe(
      "access_denied: No role of this job names a NATS target of gateway jobs.",
    );
    await expect(w.exchange("token:8:1")).resolves.toBeDefined();
  });

  test("with a password of another gateway, of another target than its user, of a session nobody knows", async () => {
    const w = natsWorld();
    const { session, secret } = await w.password("1", "events", "edge-2");
    expect(await refusal(w.authority.admit(w.of({ secret })))).toContain("is for gateway edge-2, and this is jobs.");
    const own = w.passwords.password({ session: session.id, gateway: "jobs", target: "events" });
    expect(await refusal(w.authority.admit(w.of({ secret: own, user: "audit" })))).toContain(
      'is for target events, and the user is "audit".',
    );
    const ghost = w.passwords.password({ session: "ses_zzzzzzzzzzzzzzzz", gateway: "jobs", target: "events" });
    expect(await refusal(w.authority.admit(w.of({ secret: ghost })))).toContain(
      "ses_zzzzzzzzzzzzzzzz is not known any more",
    );
  });

  test("with a password whose target its roles no longer name", async () => {
    const w = natsWorld();
    const { secret } = await w.password("1", "audit");
    w.enforce(shopNats.replace(/^ {2}log:.*\n/m, ""));
    expect(await refusal(w.authority.admit(w.of({ secret })))).toContain("at gateway jobs this job has: events.");
  });

  test("with a token that its job used elsewhere, and is told what to do", async () => {
    const w = natsWorld();
    await w.exchange("token:1:1", { jkt: "key" });
    expect(await refusal(w.authority.admit(w.of({ secret: "token.1.1", user: "events" })))).toMatch(
      /^subject_token_replayed: .*wayleave nats env/,
    );
  });

  test.each([
    ["client_end", "session ended: the job ended it 3 s ago"],
    ["job_finished", "session ended: job finished 3 s ago"],
    ["hard_end", "session ended: its time was up 3 s ago"],
    ["operator", "session ended: an operator ended it 3 s ago"],
    ["policy_withdrawn", "session ended: policy granted it nothing any more 3 s ago"],
  ] as const)("once its session ended (%s), by password and by token", async (reason, said) => {
    const w = natsWorld();
    const { session, secret } = await w.password("1");
    const { session: byToken } = await w.authority.admit(w.of({ secret: "token.2.1", user: "events" }));
    await w.lifecycle.end(session, reason);
    await w.lifecycle.end(w.session(byToken), reason);
    w.clock.advance(3_000);
    expect(await refusal(w.authority.admit(w.of({ secret })))).toBe(`session_ended: ${said}`);
    expect(await refusal(w.authority.admit(w.of({ secret: "token.2.1", user: "events" })))).toBe(
      `session_ended: ${said}`,
    );
  });

  test("at its hard end, although nobody has swept yet", async () => {
    const w = natsWorld();
    const { session, secret } = await w.password("1");
    w.clock.advance(session.view.hardEndAt - w.clock.now());
    expect(await refusal(w.authority.admit(w.of({ secret })))).toBe(
      "session_ended: session ended: its time was up 0 s ago",
    );
  });

  test("while it is suspended, and not a moment longer", async () => {
    const w = natsWorld();
    const { session, secret } = await w.password("1");
    await w.lifecycle.suspend(session, "lease_missed");
    expect(await refusal(w.authority.admit(w.of({ secret })))).toMatch(/^session_suspended: .*missed its heartbeats/);
    await w.lifecycle.resume(session, "lease_missed");
    expect(await refusal(w.authority.admit(w.of({ secret })))).toBe("admitted");
  });

  test("where its account cannot be filled", async () => {
    const w = natsWorld();
    w.enforce(shopNats.replace("account: CI", 'account: "E_${environment.slug}"'));
    const { secret } = await w.password("1");
    expect(await refusal(w.authority.admit(w.of({ secret })))).toContain(
      "cannot fill the account E_${environment.slug}",
    );
    expect(await refusal(w.authority.admit(w.of({ secret: "token.3.1", user: "events" })))).toMatch(/^access_denied/);
    expect([...w.table.all()]).toHaveLength(1);
  });

  test("in the name of another gateway: that is our own mistake, and no reason is given away", async () => {
    const w = natsWorld();
    const { secret } = await w.password("1");
    expect(await refusal(w.authority.admit(w.of({ secret }, { gateway: "edge-2" })))).toMatch(/^internal: /);
  });

  test("and recorded thirty times a minute at most, with the number of the others", async () => {
    const w = natsWorld();
    for (let count = 0; count < 50; count++) await refusal(w.authority.admit(w.of({ secret: "hunter2" })));
    expect(w.recorder.records).toHaveLength(30);
    w.clock.advance(60_000);
    await refusal(w.authority.admit(w.of({ secret: "hunter2" })));
    expect(JSON.stringify(w.recorder.records.at(-1)?.data)).toContain("20 more before it were not recorded");
  });
});

test("what a receiver reads of a job is one line of printable ASCII, whatever its ids hold", () => {
  const odd = identity("7 \n7", { project: { id: "1%\u00e9", path: "acme/\ud800caf\u00e9\r\nWayleave-Job: x" } });
  const text = natsIdentity("ses_0123456789abcdef", odd);
  expect(text).toMatch(/^[\x21-\x7e]+ [\x21-\x7e]+ ses_0123456789abcdef$/);
  expect(text.split(" ")).toHaveLength(3);
  expect(natsPolicy(shopNats).targets.size).toBe(4);
});
