import { describe, expect, test } from "vitest";
import type { Counts, ReasonCode } from "../core/decision.ts";
import { facts, job, openedAt, policyModel, role, session } from "./policy.fake.ts";
import { decide, http, nats, type Question, shopPolicy } from "./shop-policy.fake.ts";

const merged = facts({ "change.merged": true, "change.approvals": 1 });
const ended = (state: "active" | "suspended" | "ended", hardEndAt = openedAt + 3_600_000) => ({
  session: session(job(), { state, hardEndAt }),
});

describe("allowed", () => {
  test.each<[string, Question, string]>([
    ["by a role's operation", { operation: http("GET /v1/invoices/42") }, "read"],
    ["by a condition that holds", { operation: http("POST /v1/releases"), parts: { facts: merged } }, "release"],
    ["within a limit", { operation: http("POST /v1/runs"), counts: { used: () => 1 } }, "limited"],
    ["by a filled template", { operation: http("GET /v1/projects/1042/x") }, "own"],
    ["as a stream where it says so", { operation: http("GET /v1/stream", undefined, true) }, "watch"],
    ["without the stream too", { operation: http("GET /v1/stream") }, "watch"],
    [
      "at a host of one's own",
      { target: "review", operation: http("GET /", "production.review.acme.example") },
      "read",
    ],
    ["at a mesh service, by any host", { target: "ledger", operation: http("GET /x", "") }, "read"],
    ["to publish", nats("pub", "build.status.1042.x"), "publish"],
    ["to subscribe in its queue group", nats("sub", "deploy.events.a", "workers"), "publish"],
    ["to fetch from its consumer", nats("pull", "DEPLOY.worker"), "publish"],
    [
      "to read a secret",
      { target: "db", operation: { kind: "verb", verb: "read" }, parts: { facts: merged } },
      "release",
    ],
    [
      "%2F where the target opens it",
      { target: "slashed", operation: http("GET /v1/a%2Fb/x", "slashed.internal") },
      "slashes",
    ],
    [
      "within a narrowing",
      { operation: http("GET /v1/health"), parts: { narrowing: { targets: ["billing"], roles: ["read"] } } },
      "read",
    ],
    [
      "where a deny's condition is false",
      { operation: http("GET /v1/invoices/draft"), parts: { facts: facts({ "change.draft": false }) } },
      "read",
    ],
  ])("%s", (_, given, rule) => {
    expect(decide(given)).toMatchObject({ effect: "allow", reason: "allowed", mode: "enforce", rule });
  });
});

describe("denied", () => {
  test.each<[ReasonCode, string, Question]>([
    ["session_ended", "ended", { operation: http("GET /v1/health"), parts: ended("ended") }],
    [
      "session_ended",
      "at its hard end",
      { operation: http("GET /v1/health"), parts: ended("active", openedAt + 1000) },
    ],
    [
      "session_ended",
      "suspended past its hard end",
      { operation: http("GET /v1/health"), parts: ended("suspended", openedAt) },
    ],
    [
      "session_ended",
      "with an end that is no time",
      { operation: http("GET /v1/health"), parts: ended("active", Number.NaN) },
    ],
    [
      "session_ended",
      "before an unknown target is",
      { target: "nope", operation: http("GET /"), parts: ended("ended") },
    ],
    ["session_suspended", "suspended", { operation: http("GET /v1/health"), parts: ended("suspended") }],
    ["target_unknown", "a target policy has not", { target: "nope", operation: http("GET /v1/health") }],
    ["target_unknown", "a name of every object", { target: "constructor", operation: http("GET /v1/health") }],
    [
      "outside_narrowing",
      "another target",
      { operation: http("GET /v1/health"), parts: { narrowing: { targets: ["db"] } } },
    ],
    ["outside_narrowing", "no target", { operation: http("GET /v1/health"), parts: { narrowing: { targets: [] } } }],
    [
      "outside_narrowing",
      "another role",
      { operation: http("GET /v1/health"), parts: { narrowing: { roles: ["own"] } } },
    ],
    ["host_mismatch", "another host", { operation: http("GET /v1/health", "evil.example") }],
    ["host_mismatch", "a longer host", { operation: http("GET /v1/health", "billing.internal.evil.example") }],
    ["host_mismatch", "a trailing dot", { operation: http("GET /v1/health", "billing.internal.") }],
    ["host_mismatch", "no host", { operation: http("GET /v1/health", "") }],
    ["host_mismatch", "another job's host", { target: "review", operation: http("GET /", "pr-7.review.acme.example") }],
    [
      "host_mismatch",
      "a host whose template is unfilled",
      {
        target: "review",
        operation: http("GET /", ".review.acme.example"),
        parts: { session: session(job({ variables: {} })) },
      },
    ],
    ["ambiguous_path", "a parent segment", { operation: http("GET /v1/invoices/../releases") }],
    ["ambiguous_path", "two slashes", { operation: http("GET //v1/health") }],
    ["ambiguous_path", "an escaped slash", { operation: http("GET /v1/invoices%2F42") }],
    ["ambiguous_path", "a query", { operation: http("GET /v1/health?x") }],
    ["ambiguous_path", "nothing", { operation: http("GET ") }],
    ["no_role", "another path", { operation: http("GET /v2/health") }],
    ["no_role", "a trailing slash", { operation: http("GET /v1/health/") }],
    ["no_role", "HEAD, which GET does not imply", { operation: http("HEAD /v1/health") }],
    ["no_role", "another project's role", { operation: http("GET /v1/other") }],
    ["no_role", "a role for another branch", { operation: http("DELETE /v1/runs") }],
    ["no_role", "another project's path", { operation: http("GET /v1/projects/1043/x") }],
    ["no_role", "a verb at an http target", { operation: { kind: "verb", verb: "read" } }],
    ["no_role", "http at a secret", { target: "db", operation: http("GET /") }],
    ["no_role", "another verb", { target: "db", operation: { kind: "verb", verb: "write" } }],
    [
      "no_role",
      "another subject",
      { target: "events", operation: { kind: "nats", verb: "pub", subject: "build.status.7.x" } },
    ],
    [
      "no_role",
      "more than the pattern",
      { target: "events", operation: { kind: "nats", verb: "sub", subject: "deploy.events.>", queue: "workers" } },
    ],
    ["no_role", "a queue group that a role does not name", nats("sub", "deploy.events.a", "others")],
    ["no_role", "no queue group, where a role names one", nats("sub", "deploy.events.a")],
    ["no_role", "a request, where a role lets it publish", nats("req", "build.status.1042.x")],
    ["no_role", "a fetch from another consumer", nats("pull", "DEPLOY.others")],
    ["no_role", "nats at an http target", { operation: { kind: "nats", verb: "pub", subject: "a.b" } }],
    ["subject_refused", "a subject that is none", nats("pub", "build..x")],
    ["subject_refused", "all inboxes", nats("sub", ">")],
    ["subject_refused", "another job's inbox", nats("sub", "_INBOX_0123456789abcdef.>")],
    ["subject_refused", "an answer into another job's inbox", nats("pub", "_INBOX_0123456789abcdef.1")],
    ["subject_refused", "JetStream's API", nats("req", "$JS.API.CONSUMER.CREATE.DEPLOY.x")],
    ["subject_refused", "several subjects at once", nats("pub", "build.status.1042.*")],
    ["subject_refused", "several consumers at once", nats("pull", "DEPLOY.*")],
    ["no_role", "a fork", { operation: http("GET /v1/health"), parts: { session: session(job({ fork: "unknown" })) } }],
    ["stream_refused", "a stream", { operation: http("GET /v1/health", undefined, true) }],
    [
      "condition_failed",
      "a false condition",
      { operation: http("POST /v1/releases"), parts: { facts: facts({ "change.merged": false }) } },
    ],
    ["fact_missing", "a missing fact", { operation: http("POST /v1/releases") }],
    [
      "fact_missing",
      "a stale fact",
      { operation: http("POST /v1/releases"), parts: { facts: merged, now: openedAt + 60_000 } },
    ],
    ["template_unfilled", "a template", { operation: http("GET /v1/refs/x") }],
    ["limit_exceeded", "a limit", { operation: http("POST /v1/runs"), counts: { used: () => 2 } }],
    [
      "limit_exceeded",
      "a count that is no number",
      { operation: http("POST /v1/runs"), counts: { used: () => Number.NaN } },
    ],
    ["denied", "a deny", { operation: http("GET /v1/invoices/legal") }],
    ["denied", "a deny, with a trailing slash", { operation: http("GET /v1/invoices/legal/") }],
    ["denied", "a deny whose fact is missing", { operation: http("GET /v1/invoices/draft") }],
    [
      "denied",
      "a deny whose condition holds",
      { operation: http("GET /v1/invoices/draft"), parts: { facts: facts({ "change.draft": true }) } },
    ],
    ["denied", "a subscription that touches a deny", nats("sub", "secret.>")],
    ["denied", "one in a queue group", nats("sub", "secret.x", "workers")],
    ["denied", "a message, where requests are denied", nats("pub", "ask.x")],
    [
      "outage",
      "counts that fail",
      {
        operation: http("POST /v1/runs"),
        counts: {
          used: () => {
            throw new Error("gone");
          },
        },
      },
    ],
  ])("%s: %s", (reason, _, given) => {
    expect(decide(given)).toMatchObject({ effect: "deny", reason, mode: "enforce" });
  });

  test("a missing fact is named", () => {
    const partly = facts({ "change.merged": true });
    const decision = decide({ operation: http("POST /v1/releases"), parts: { facts: partly } });
    expect(decision).toMatchObject({
      missing: "change.approvals",
      closest: { role: "release", failed: "change.approvals >= 1" },
    });
  });

  test("a template is named", () => {
    expect(decide({ operation: http("GET /v1/refs/x") }).missing).toBe("${job.ref_slug}");
  });

  test("a limit says when to come back, and what was counted", () => {
    const keys: unknown[] = [];
    const counts = { used: (...asked: unknown[]) => keys.push(asked) + 1 };
    const decision = decide({ operation: http("POST /v1/runs"), counts });
    expect(decision).toMatchObject({ reason: "limit_exceeded", retryAfterSeconds: 60 });
    expect(keys[0]).toEqual(["limited/project/gitlab/1042", 60_000]);
  });

  test("a deny gives its id", () => {
    expect(decide({ operation: http("GET /v1/invoices/legal") }).rule).toBe("no-legal");
  });
});

test("an allow within a limit says what to count", () => {
  expect(decide({ operation: http("POST /v1/runs") }).limit).toEqual({
    key: "limited/project/gitlab/1042",
    windowMs: 60_000,
    max: 2,
  });
});

test.each([
  ["session", "global", "r/session/ses_0000000000000001"],
  ["role", "global", "r/role"],
  ["session", "gateway", "r/session/ses_0000000000000001@edge-1"],
  ["role", "gateway", "r/role@edge-1"],
] as const)("a limit per %s of scope %s counts under %s", (per, scope, key) => {
  const roles = [role("r", { billing: ["GET /"] }, { name: "renamed", limit: { max: 1, windowMs: 1000, per, scope } })];
  expect(
    decide({ operation: http("GET /"), policy: policyModel({ roles }), parts: { gateway: "edge-1" } }).limit?.key,
  ).toBe(key);
});

test("a limit is neither asked nor counted where a gateway in front has counted the request", () => {
  const roles = [
    role("r", { billing: ["GET /"] }, { limit: { max: 1, windowMs: 1000, per: "role", scope: "global" } }),
  ];
  const decision = decide({
    operation: http("GET /"),
    policy: policyModel({ roles }),
    parts: { counted: true },
    counts: { used: () => 9 },
  });
  expect(decision.effect).toBe("allow");
  expect(decision.limit).toBeUndefined();
});

test("what is over its limit says when to come again: as the counter knows it, else after the window", () => {
  const roles = [
    role("r", { billing: ["GET /"] }, { limit: { max: 1, windowMs: 60_000, per: "role", scope: "global" } }),
  ];
  const ask = (counts: Counts) => decide({ operation: http("GET /"), policy: policyModel({ roles }), counts });
  expect(ask({ used: () => 1, freeInMs: () => 7_100 }).retryAfterSeconds).toBe(8);
  expect(ask({ used: () => 1, freeInMs: () => 0 }).retryAfterSeconds).toBe(1);
  expect(ask({ used: () => 1 }).retryAfterSeconds).toBe(60);
});

test("a role without strings is used before one with", () => {
  const roles = [
    role("a-limited", { billing: ["GET /"] }, { limit: { max: 1, windowMs: 1000, per: "role", scope: "global" } }),
    role("b-conditional", { billing: ["GET /"] }, { when: "change.merged" }),
    role("c-plain", { billing: ["GET /"] }),
  ];
  const decision = decide({ operation: http("GET /"), policy: policyModel({ roles }) });
  expect(decision.rule).toBe("c-plain");
  expect(decision.limit).toBeUndefined();
});

describe("the facts of a decision", () => {
  test("are those that conditions read, with their age", () => {
    const { facts: used } = decide({
      operation: http("POST /v1/releases"),
      parts: { facts: merged, now: openedAt + 4000 },
    });
    expect(used).toEqual([
      { name: "change.approvals", value: 1, ageMs: 4000 },
      { name: "change.merged", value: true, ageMs: 4000 },
    ]);
  });

  test("are none where no condition was asked", () => {
    expect(decide({ operation: http("GET /v1/health"), parts: { facts: merged } }).facts).toEqual([]);
  });
});

test("evil commit: what holds for a merged commit does not hold for the job of another", () => {
  // The job of commit A asks; facts are those of A's own change, which is open, whatever became of commit B.
  const own = facts({ "change.merged": false, "change.approvals": 0, "change.iid": 77 });
  const decision = decide({ operation: http("POST /v1/releases"), parts: { facts: own } });
  expect(decision).toMatchObject({ reason: "condition_failed", closest: { failed: "change.merged", found: "false" } });
});

test("a path pinned to another project's id has no roles, and denies all the same", () => {
  const policy = { ...shopPolicy, pins: { "gitlab/acme/shop": "9999" } };
  expect(decide({ operation: http("GET /v1/health"), policy }).reason).toBe("no_role");
  expect(decide({ operation: http("GET /v1/invoices/legal"), policy }).reason).toBe("denied");
});
