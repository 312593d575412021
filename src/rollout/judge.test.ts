import { describe, expect, test } from "vitest";
import { noCounts, type Outcome, type ReasonCode } from "../core/decision.ts";
import type { AuditEvent, AuditRecord, DecisionData } from "../core/record.ts";
import { compile } from "../policy/compile.ts";
import type { PolicyModel } from "../policy/model.ts";
import { deny, job, policyModel, role, target } from "../policy/policy.fake.ts";
import { fakeVocabulary } from "../policy/vocabulary.fake.ts";
import { Replay, type ReplayEffect } from "./replay.ts";

const at = Date.parse("2026-11-24T09:30:00.000Z");
const session = "ses_0000000000000001";

let seq = 0;
function recordOf(event: AuditEvent): AuditRecord {
  seq++;
  return { ...event, v: 1, id: `rec_abcd${String(seq).padStart(8, "0")}`, seq, time: new Date(at + seq).toISOString() };
}

const opening = (data: object = {}): AuditEvent =>
  ({ kind: "session.opened", session, data: { identity: job(), ...data } }) as unknown as AuditEvent;
const decided = (data: Partial<DecisionData>, whose: string | undefined = session): AuditEvent => ({
  kind: "decision",
  ...(whose === undefined ? {} : { session: whose }),
  data: {
    gateway: "edge-1",
    target: "billing",
    operation: "GET /v1/health",
    host: "billing.internal",
    effect: data.outcome === "allow" || data.outcome === undefined ? "allow" : "deny",
    outcome: "allow",
    reason: "allowed",
    policy: "then",
    ...data,
  },
});
const refused = (reason: ReasonCode, more: Partial<DecisionData> = {}) => ({
  outcome: "deny" as const,
  reason,
  ...more,
});

const health = role("read", { billing: ["GET /v1/health"] });

/** The effects of the draft on the records' requests, in order, and why what is unknown is. */
async function replayed(parts: Partial<PolicyModel>, events: readonly AuditEvent[]): Promise<readonly string[]> {
  const effects: string[] = [];
  const replay = new Replay({
    draft: compile(policyModel(parts), fakeVocabulary),
    counts: { ...noCounts, count: () => undefined },
    recall: async () => [],
    onReplayed: ({ effect, judgement }) =>
      effects.push("unknown" in judgement ? `${effect}: ${judgement.unknown}` : effect),
  });
  for (const event of events) await replay.take(recordOf(event));
  expect(replay.report().requests).toBe(effects.length);
  return effects;
}

describe("what can be known is", () => {
  test.each<{ was: Partial<DecisionData>; draft: Partial<PolicyModel>; effect: ReplayEffect }>([
    { was: {}, draft: { roles: [health] }, effect: "unchanged" },
    { was: {}, draft: {}, effect: "newly_denied" },
    {
      was: {},
      draft: { roles: [health], deny: [deny("d", { operations: { billing: ["GET /v1/health"] } })] },
      effect: "newly_denied",
    },
    { was: refused("no_role"), draft: { roles: [health] }, effect: "newly_allowed" },
    { was: refused("no_role"), draft: {}, effect: "unchanged" },
    { was: refused("condition_failed"), draft: { roles: [health] }, effect: "newly_allowed" },
    { was: {}, draft: { targets: [target("billing", "http", { mode: "observe" })] }, effect: "passes_differently" },
    { was: { outcome: "would_deny", reason: "no_role" }, draft: {}, effect: "newly_denied" },
    { was: {}, draft: { targets: [] }, effect: "newly_denied" },
    { was: { host: "other.internal" }, draft: { roles: [health] }, effect: "newly_denied" },
    { was: { stream: true }, draft: { roles: [health] }, effect: "newly_denied" },
    { was: { narrowed: ["other"] }, draft: { roles: [health] }, effect: "newly_denied" },
    { was: refused("outside_narrowing"), draft: { roles: [health] }, effect: "unchanged" },
    { was: refused("outside_narrowing", { narrowed: ["read"] }), draft: { roles: [health] }, effect: "newly_allowed" },
    { was: { narrowed: ["old-name"], counted: true }, draft: { roles: [health] }, effect: "unchanged" },
    { was: refused("session_ended"), draft: { roles: [health] }, effect: "unchanged" },
    { was: refused("credential_expired"), draft: { roles: [health] }, effect: "unchanged" },
    { was: refused("session_suspended"), draft: { roles: [health] }, effect: "unchanged" },
    { was: refused("ambiguous_request", { operation: "GET /a b" }), draft: { roles: [health] }, effect: "unchanged" },
    {
      was: refused("credential_expired"),
      draft: { targets: [target("billing", "http", { mode: "observe" })] },
      effect: "newly_allowed",
    },
  ])("$was under $draft: $effect", async ({ was, draft, effect }) => {
    expect(await replayed(draft, [opening(), decided(was)])).toEqual([effect]);
  });

  test.each<{ outcome: Outcome; reason: ReasonCode; token?: string; shared: boolean; effect: ReplayEffect }>([
    { outcome: "deny", reason: "no_credential", shared: true, effect: "newly_allowed" },
    { outcome: "deny", reason: "no_credential", shared: false, effect: "unchanged" },
    { outcome: "pass", reason: "unidentified", shared: false, effect: "newly_denied" },
    { outcome: "pass", reason: "unidentified", shared: true, effect: "unchanged" },
    { outcome: "deny", reason: "credential_invalid", shared: true, effect: "newly_allowed" },
    { outcome: "deny", reason: "credential_invalid", token: "f", shared: true, effect: "unchanged" },
  ])("without a session: $reason, token $token, shared route $shared: $effect", async ({ shared, effect, ...was }) => {
    const parts = shared ? { unidentified: ["GET /v1/health"] } : {};
    const told = await replayed(
      { targets: [target("billing", "http", parts)] },
      [decided(was, "")].map(withoutSession),
    );
    expect(told).toEqual([effect]);
  });

  test("a fact that was read, or asked for and missing, says what a refusal hangs on", async () => {
    const draft = { roles: [role("read", { billing: ["GET /v1/health"] }, { when: "change.merged" })] };
    const merged = (value: boolean) => ({ "change.merged": { value, observedAt: at, staleAt: at } });
    const events = [
      opening({ missing: ["change.merged"] }),
      decided({}),
      { kind: "facts.read", session, data: { facts: merged(true) } } as AuditEvent,
      decided({}),
      decided(refused("fact_missing", { missing: "change.merged" })),
      decided({ facts: [{ name: "change.merged", value: false, ageMs: 1 }] }),
      { kind: "facts.read", session, data: { facts: merged(false) } } as AuditEvent,
      decided({}),
    ];
    expect(await replayed(draft, events)).toEqual([
      "newly_denied",
      "unchanged",
      "unchanged",
      "newly_denied",
      "newly_denied",
    ]);
  });
});

const withoutSession = ({ session: _none, ...event }: AuditEvent): AuditEvent => event as AuditEvent;
const draftWith = (when: string): Partial<PolicyModel> => ({
  roles: [role("read", { billing: ["GET /v1/health"] }, { when })],
});

describe("what cannot be known is said", () => {
  test.each<{ why: string; draft: Partial<PolicyModel>; was?: Partial<DecisionData>; opened?: boolean }>([
    { why: "the fact change.merged", draft: draftWith("change.merged") },
    { why: "the fact approval.given", draft: draftWith('job.ref == "main" && approval.given') },
    {
      why: "the fact change.draft",
      draft: {
        roles: [health],
        deny: [deny("d", { operations: { billing: ["GET /v1/health"] }, when: "change.draft" })],
      },
    },
    { why: "the job: its session's opening", draft: { roles: [health] }, opened: false },
    { why: "the whole path", draft: { roles: [health] }, was: { operation: `GET /${"x".repeat(507)}` } },
    { why: "nothing was decided: an outage", draft: { roles: [health] }, was: refused("outage") },
    {
      why: "whether the token was bound",
      draft: { roles: [health], targets: [target("billing", "http", { proof: "required" })] },
    },
    { why: "whether the token was bound", draft: { roles: [health] }, was: refused("proof_required") },
  ])("$why", async ({ why, draft, was = {}, opened = true }) => {
    const told = await replayed(draft, [...(opened ? [opening()] : []), decided(was)]);
    expect(told).toEqual([expect.stringContaining(`unknown: ${why}`)]);
  });

  test("but an allow is known, whatever facts are not; and so is a refusal that no fact has a say in", async () => {
    const conditional = role("aaa", { billing: ["GET /v1/health"] }, { when: "change.merged" });
    expect(await replayed({ roles: [conditional, health] }, [opening(), decided({})])).toEqual(["unchanged"]);
    const elsewhere = role("aaa", { billing: ["GET /v1/other"] }, { when: "change.merged" });
    expect(await replayed({ roles: [elsewhere] }, [opening(), decided({})])).toEqual(["newly_denied"]);
    expect(await replayed(draftWith('job.ref == "release" && change.merged'), [opening(), decided({})])).toEqual([
      "newly_denied",
    ]);
  });

  test("a job that a policy granted nothing was suspended: what another would have granted is unknown", async () => {
    const suspended = { kind: "session.suspended", session, data: { reason: "policy_withdrawn" } } as AuditEvent;
    const told = await replayed({ roles: [health] }, [opening(), suspended, decided(refused("session_suspended"))]);
    expect(told).toEqual([expect.stringContaining("unknown: whether it had been suspended")]);
  });

  test("a target that nobody knew was asked for by nobody knows whom", async () => {
    const event = withoutSession(decided(refused("target_unknown")));
    expect(await replayed({ roles: [health] }, [event])).toEqual([expect.stringContaining("unknown: who asked")]);
    expect(await replayed({ targets: [] }, [event])).toEqual(["unchanged"]);
  });
});

describe("messages over NATS", () => {
  const events = { targets: [target("events", "nats")] };
  const place = { gateway: "jobs", connection: "nc_a", target: "events", account: "CI" };
  const sent = (...messages: readonly string[]): AuditEvent =>
    ({
      kind: "nats.published",
      session,
      data: { ...place, first: 1, messages, bytes: 0, policy: "then" },
    }) as AuditEvent;
  const publish = (...allow: readonly string[]) => ({ ...events, roles: [role("talk", { events: allow })] });

  test.each<{ message: string; allow: string; effects: readonly string[] }>([
    { message: "talk build.1 - 0 10", allow: "pub build.*", effects: ["unchanged"] },
    { message: "talk build.1 - 0 10", allow: "req build.*", effects: ["newly_denied"] },
    { message: "talk ask.1 _INBOX.x 0 10", allow: "req ask.*", effects: ["unchanged"] },
    { message: "talk ask.1 _INBOX.x 0 10", allow: "pub ask.*", effects: ["unchanged"] },
    { message: "talk ask.1 _INBOX.x 0 10", allow: "sub ask.*", effects: ["newly_denied"] },
    { message: "- build.1 - 0 10", allow: "pub build.*", effects: ["passes_differently"] },
    { message: "- build.1 - 0 10", allow: "pub other.*", effects: ["newly_denied"] },
    { message: "reply _INBOX.y - 0 10", allow: "pub other.*", effects: [] },
    { message: "talk $JS.API.INFO _INBOX.x 0 10", allow: "pub other.*", effects: [] },
    {
      message: "talk $JS.API.CONSUMER.MSG.NEXT.S.worker _INBOX.x 0 10",
      allow: "pull S.worker",
      effects: ["unchanged"],
    },
    {
      message: "talk $JS.API.CONSUMER.MSG.NEXT.S.worker _INBOX.x 0 10",
      allow: "pull S.other",
      effects: ["newly_denied"],
    },
    { message: "talk $JS.ACK.S.worker.1.2.3.4.5 - 0 0", allow: "pull S.worker", effects: ["unchanged"] },
  ])("$message under $allow: $effects", async ({ message, allow, effects }) => {
    expect(await replayed(publish(allow), [opening(), sent(message)])).toEqual(effects);
  });

  test("a subscription is one, its queue group with it; a denial that was observed is not counted twice", async () => {
    const subscribed = {
      kind: "nats.subscribed",
      session,
      data: { ...place, sid: "1", subject: "deploy.x", queue: "workers", rule: "talk", policy: "then" },
    };
    const observed = decided({ target: "events", operation: "pub build.1", outcome: "would_deny", reason: "no_role" });
    const draft = publish("sub deploy.* workers", "pub build.*");
    expect(await replayed(draft, [opening(), subscribed as AuditEvent, observed])).toEqual(["unchanged"]);
    expect(await replayed(publish("sub deploy.* others"), [opening(), subscribed as AuditEvent])).toEqual([
      "newly_denied",
    ]);
  });
});

test("a session that ended, or was forgotten to make room, is read again", async () => {
  const asked: string[] = [];
  const replay = new Replay({
    draft: compile(policyModel({ roles: [health] }), fakeVocabulary),
    counts: { ...noCounts, count: () => undefined },
    recall: async (id) => {
      asked.push(id);
      return id === session ? [recordOf(opening())] : [];
    },
  });
  const other = "ses_0000000000000002";
  for (const whose of [session, session, other, other]) await replay.take(recordOf(decided({}, whose)));
  expect(asked).toEqual([session, other]);
  expect(replay.report().effects).toMatchObject({ unchanged: 2, unknown: 2 });
});

test("limits are counted as the draft has them", async () => {
  const used: string[] = [];
  const limit = { max: 2, windowMs: 60_000, per: "session", scope: "global" } as const;
  const draft = compile(
    policyModel({ roles: [role("read", { billing: ["GET /v1/health"] }, { limit })] }),
    fakeVocabulary,
  );
  const effects: string[] = [];
  const replay = new Replay({
    draft,
    counts: { used: () => used.length, count: ({ key }) => used.push(key) },
    recall: async () => [],
    onReplayed: ({ effect }) => effects.push(effect),
  });
  const events = [
    opening(),
    decided({}),
    decided({ counted: true }),
    decided({}),
    decided({}),
    decided({ counted: true }),
  ];
  for (const event of events) await replay.take(recordOf(event));
  expect(effects).toEqual(["unchanged", "unchanged", "unchanged", "newly_denied", "unchanged"]);
});
