import { beforeEach, describe, expect, test } from "vitest";
import { WayleaveError } from "../core/errors.ts";
import type { Admission } from "../gateway/nats/ports.ts";
import { intakeOf } from "./nats-remote.fake.ts";
import { greeting, type NatsWorld, natsWorld } from "./nats-world.fake.ts";

const run = "run-12345678";
let w: NatsWorld;
let intake: ReturnType<typeof intakeOf>;
let admission: Admission;

beforeEach(async () => {
  w = natsWorld();
  intake = intakeOf(w);
  const { secret } = await w.password();
  admission = await w.authority.admit(w.of({ secret }));
  await w.authority.attach(admission, greeting);
});

const place = () => ({
  gateway: "jobs",
  connection: admission.connection,
  target: admission.target,
  account: admission.account,
});
const data = (more: object = {}) => ({
  ...place(),
  first: 1,
  messages: ["status build.status.1042.ok - 0 128"],
  bytes: 128,
  policy: "p",
  ...more,
});
const event = (more: object = {}) => ({ kind: "nats.published", session: admission.session, data: data(), ...more });
const denial = (more: object = {}) => ({
  kind: "decision",
  session: admission.session,
  data: {
    ...{ gateway: "jobs", target: "events", operation: "pub a.b", effect: "deny", outcome: "deny" },
    ...{ reason: "no_role", policy: "p" },
    ...more,
  },
});
const said = (promise: Promise<unknown>) =>
  promise.then(
    (taken) => taken,
    (error: unknown) => (error instanceof WayleaveError ? `${error.code}: ${error.message}` : String(error)),
  );
const sent = (...events: readonly unknown[]) => events.map((each, at) => ({ n: at + 1, event: each }));
const written = () => w.recorder.records.slice(before);
let before = 0;
beforeEach(() => {
  before = w.recorder.records.length;
});

describe("what a gateway sends is recorded", () => {
  test("in its order, with the session and job that the broker knows", async () => {
    const forged = { issuer: "gitlab", project_id: "1", project: "evil", pipeline_id: "1", job_id: "1" };
    const refused = { kind: "nats.refused", data: { gateway: "jobs", code: "too_many_connections", detail: "x" } };
    expect(await intake.take(run, sent(event({ job: forged }), denial(), refused))).toBe(3);
    expect(written()).toMatchObject([
      { kind: "nats.published", session: admission.session, job: { project: "acme/shop", job_id: "7712" } },
      { kind: "decision", session: admission.session, job: { project: "acme/shop" } },
      { kind: "nats.refused" },
    ]);
    expect(written()[2]).not.toHaveProperty("session");
  });

  test("once, however often it is sent, and only what is new of it", async () => {
    expect(await intake.take(run, sent(event()))).toBe(1);
    expect(await intake.take(run, sent(event(), event({ data: data({ first: 2 }) })))).toBe(2);
    expect(await intake.take(run, [])).toBe(2);
    expect(written().map((record) => (record.data as { first: number }).first)).toEqual([1, 2]);
    await intake.take("another-run-1", sent(event()));
    expect(written()).toHaveLength(3);
  });

  test("once, also where the second copy comes while the first is written", async () => {
    const both = await Promise.all([intake.take(run, sent(event())), intake.take(run, sent(event()))]);
    expect(both).toEqual([1, 1]);
    expect(written()).toHaveLength(1);
  });

  test("after a failure of the disk, when it is sent again", async () => {
    w.recorder.fail = true;
    expect(await said(intake.take(run, sent(event())))).toMatch(/^journal_unavailable/);
    w.recorder.fail = false;
    expect(await intake.take(run, sent(event()))).toBe(1);
    expect(written()).toHaveLength(1);
  });

  test("after a restart of the broker, which finds the connection in its journal", async () => {
    const restarted = natsWorld();
    restarted.recorder.records.push(...w.recorder.records);
    const again = intakeOf(restarted);
    expect(await again.take(run, sent(event(), denial()))).toBe(2);
    expect(restarted.recorder.records.at(-2)).toMatchObject({ kind: "nats.published", job: { project: "acme/shop" } });
  });

  test("of a connection that has gone: its last words may come late", async () => {
    const none = { messages: 0, bytes: 0 };
    const gone = { reason: "client_closed", published: none, delivered: none, denied: 0 };
    const end = { kind: "nats.disconnected", session: admission.session, data: { ...place(), ...gone } };
    expect(await intake.take(run, sent(end))).toBe(1);
    expect(w.authority.admissionOf(admission.connection)).toBeUndefined();
    expect(await intake.take(run, [{ n: 2, event: event() }])).toBe(2);
  });
});

describe("nothing of a batch is recorded that holds", () => {
  const cases: readonly (readonly [string, () => unknown, string])[] = [
    ["no event", () => null, "an event is no object"],
    ["an event without kind", () => ({ data: {} }), "has no kind"],
    ["a session opened", () => event({ kind: "session.opened" }), "does not record"],
    ["a session ended", () => event({ kind: "session.ended", data: { reason: "operator" } }), "does not record"],
    ["a fact", () => event({ kind: "facts.read", data: { facts: {} } }), "does not record"],
    ["a connection of its own making", () => event({ kind: "nats.connected" }), "does not record"],
    ["a credential", () => event({ kind: "nats.credential_minted" }), "does not record"],
    ["a member of every object", () => event({ kind: "constructor" }), "does not record"],
    ["an audit gap", () => event({ kind: "audit.gap", data: { after_seq: 1, at_most: 1 } }), "does not record"],
    ["something more than the kind has", () => event({ data: data({ extra: 1 }) }), "nats.published"],
    ["something less", () => event({ data: { ...place() } }), "nats.published"],
    ["another gateway's name", () => event({ data: data({ gateway: "edge-2" }) }), "of another gateway"],
    ["a connection that nobody admitted", () => event({ data: data({ connection: "nc_0" }) }), "is not this gateway's"],
    ["another session", () => event({ session: "ses_zzzzzzzzzzzzzzzz" }), "is not this gateway's"],
    ["no session", () => event({ session: undefined }), "is not this gateway's"],
    ["another target", () => event({ data: data({ target: "audit" }) }), "another target or account"],
    ["another account", () => event({ data: data({ account: "SYS" }) }), "another target or account"],
    ["a trace that is none", () => event({ trace: "x" }), "its session or trace is none"],
    ["an allowed decision", () => denial({ effect: "allow", outcome: "allow" }), "a gateway records denials"],
    ["a decision at a target it does not front", () => denial({ target: "elsewhere" }), "another's target"],
    ["a decision at a target the session did not connect to", () => denial({ target: "audit" }), "not connected here"],
    ["a decision about nobody", () => ({ ...denial(), session: undefined }), "not connected here"],
    [
      "a decision about another session",
      () => ({ ...denial(), session: "ses_zzzzzzzzzzzzzzzz" }),
      "not connected here",
    ],
    [
      "a refusal that names a session and no connection",
      () => ({ kind: "nats.refused", session: admission.session, data: { gateway: "jobs", code: "x", detail: "x" } }),
      "is about no session",
    ],
    [
      "a refusal of a connection of others",
      () => ({ kind: "nats.refused", data: { gateway: "jobs", code: "x", detail: "x", connection: "nc_0" } }),
      "is not this gateway's",
    ],
  ];
  test.each(cases)("%s", async (_what, bad, why) => {
    const answer = await said(intake.take(run, sent(event(), bad(), event())));
    expect(answer).toContain(`invalid_request: Records refused: `);
    expect(answer).toContain(why);
    expect(written()).toEqual([]);
    // And the gateway goes on.
    expect(await intake.take(run, [{ n: 9, event: event() }])).toBe(9);
  });
});
