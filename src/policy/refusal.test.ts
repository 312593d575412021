import { describe, expect, test } from "vitest";
import { type ReasonCode, reasonCodes } from "../core/decision.ts";
import type { AuditRecord, DecisionData } from "../core/record.ts";
import type { SessionView } from "../core/session.ts";
import { job, session } from "./policy.fake.ts";
import { refusalLines } from "./refusal.ts";

const minute = 60_000;
const now = 1_000_000;

const recordOf = (data: Partial<DecisionData>): AuditRecord => ({
  v: 1,
  id: "rec_01jd7q8m3k00",
  seq: 1,
  time: "2026-11-24T09:30:12.114Z",
  kind: "decision",
  session: "ses_8f2k000000000000",
  job: {
    issuer: "gitlab",
    project_id: "1042",
    project: "acme/shop",
    pipeline_id: "5101",
    job_id: "7712",
    job_name: "release",
    ref: "feature/x",
  },
  data: {
    gateway: "edge-1",
    target: "billing",
    operation: "POST /v1/releases",
    effect: "deny",
    outcome: "deny",
    reason: "condition_failed",
    policy: "0123456789ab",
    ...data,
  },
});

const closest = {
  role: "release",
  file: "policy/shop.yaml",
  line: 24,
  met: 2,
  of: 3,
  failed: "change.merged",
  found: "false",
};
const used = [
  { name: "change.iid", value: 77, ageMs: 4200 },
  { name: "change.merged", value: false, ageMs: 4200 },
  { name: "change.state", value: "opened", ageMs: 4200 },
];
const view = (parts: Partial<SessionView> = {}) => session(job(), { hardEndAt: now + 52 * minute + 500, ...parts });

const linesOf = (data: Partial<DecisionData>, by?: SessionView) =>
  Object.fromEntries(
    refusalLines({ record: recordOf(data), now, ...(by === undefined ? {} : { session: by }) }).lines.map(
      ({ label, text }) => [label, text],
    ),
  );

test("a refusal says who, which role, what failed, what next and where to look", () => {
  expect(refusalLines({ record: recordOf({ closest, facts: used }), session: view(), now })).toEqual({
    title: "denied  POST billing /v1/releases",
    lines: [
      { label: "you are", text: "acme/shop · job release #7712 · feature/x (!77) · session ses_8f2k000000000000" },
      { label: "closest", text: "role release (policy/shop.yaml:24), 1 of 3 conditions not met" },
      { label: "failed", text: "change.merged is false: merge request !77 is open (asked gitlab 4 s ago)" },
      { label: "next", text: "merge !77; this job may then go on with what it holds, for another 52 min" },
      { label: "details", text: "wayleave explain rec_01jd7q8m3k00" },
    ],
  });
});

describe("what failed", () => {
  test.each<[string, Partial<DecisionData>, string]>([
    [
      "a condition, with the value found",
      { closest: { ...closest, failed: "change.approvals >= 2", found: "1" } },
      "change.approvals >= 2: change.approvals is 1",
    ],
    [
      "a condition over several values",
      { closest: { ...closest, failed: "a.b == c.d", found: "a.b is 1, c.d is 2" } },
      "a.b == c.d: a.b is 1, c.d is 2",
    ],
    [
      "a missing fact",
      { reason: "fact_missing", closest: { role: "r", file: "f", line: 1, met: 1, of: 2, failed: "change.merged" } },
      "change.merged: not known",
    ],
    [
      "an operation",
      { reason: "no_role", closest: { role: "r", file: "f", line: 1, met: 0, of: 1, failed: "operation" } },
      "no role of this job names POST /v1/releases",
    ],
    [
      "a selector",
      { reason: "no_role", closest: { ...closest, failed: "ref: main", found: "feature/x" } },
      "the role wants ref: main; this job has feature/x",
    ],
    [
      "an absent claim",
      {
        reason: "no_role",
        closest: { role: "r", file: "f", line: 1, met: 1, of: 2, failed: "environment: production" },
      },
      "the role wants environment: production",
    ],
    [
      "a limit",
      { reason: "limit_exceeded", closest: { ...closest, failed: "limit", found: "30 of 30" } },
      "the rate limit is used up (30 of 30)",
    ],
    [
      "a template",
      {
        reason: "template_unfilled",
        closest: { role: "r", file: "f", line: 1, met: 0, of: 1, failed: "${environment.slug}" },
      },
      "${environment.slug} cannot be filled for this job",
    ],
    ["a deny", { reason: "denied", rule: "no-agents" }, "deny no-agents forbids it"],
    [
      "a deny, with its reason",
      { reason: "denied", rule: "no-agents", detail: "agents get results" },
      "deny no-agents forbids it: agents get results",
    ],
    [
      "a request, with the detail",
      { reason: "ambiguous_request", detail: "two Host headers" },
      `${reasonCodes.ambiguous_request}: two Host headers`,
    ],
    ["nothing of a role", { reason: "host_mismatch" }, reasonCodes.host_mismatch],
  ])("is %s", (_, data, text) => {
    expect(linesOf(data).failed).toBe(text);
  });

  test("is the session's end, with its reason", () => {
    const by = view({ state: "ended", endReason: "job_finished" });
    expect(linesOf({ reason: "session_ended" }, by).failed).toBe("the session is over: job finished");
  });
});

describe("what to do next", () => {
  const denials = (Object.keys(reasonCodes) as ReasonCode[]).filter(
    (reason) => reason !== "allowed" && reason !== "unidentified",
  );

  test.each(denials)("is said for %s, and differs from other reasons", (reason) => {
    const next = linesOf({ reason }).next ?? "";
    expect(next.length).toBeGreaterThan(10);
    expect(denials.filter((other) => linesOf({ reason: other }).next === next)).toEqual([reason]);
  });

  test.each<[string, Partial<DecisionData>, SessionView | undefined, string]>([
    [
      "approve",
      { closest: { ...closest, failed: "change.approvals >= 2", found: "1" }, facts: used },
      undefined,
      "get !77 approved at its head commit; this job may then go on with what it holds",
    ],
    [
      "merge an unnamed request",
      { closest },
      undefined,
      "merge the merge request; this job may then go on with what it holds",
    ],
    [
      "make it true",
      { closest: { ...closest, failed: 'job.ref == "main"', found: "x" } },
      view(),
      'make job.ref == "main" true; this job may then go on with what it holds, for another 52 min',
    ],
    [
      "merge, with no promise of time to an ended session",
      { closest, facts: used },
      view({ state: "ended" }),
      "merge !77; this job may then go on with what it holds",
    ],
    [
      "ask for another token",
      { reason: "outside_narrowing" },
      undefined,
      "get a token for it: wayleave token --target billing",
    ],
  ])("%s", (_, data, by, next) => {
    expect(linesOf(data, by).next).toBe(next);
  });
});

test("what was observed is said so", () => {
  expect(refusalLines({ record: recordOf({ outcome: "would_deny" }), now }).title).toBe(
    "would deny  POST billing /v1/releases",
  );
});

test("an allowed request needs no explanation", () => {
  const lines = linesOf({ effect: "allow", outcome: "allow", reason: "allowed", rule: "release", closest });
  expect(Object.keys(lines)).toEqual(["you are", "role", "details"]);
});

test("a shared route has nobody and nothing to fix", () => {
  const { job: _, session: __, ...record } = recordOf({ outcome: "pass", reason: "unidentified" });
  const { title, lines } = refusalLines({ record: record as AuditRecord, now });
  expect(title).toBe("passed  POST billing /v1/releases");
  expect(lines.map(({ label }) => label)).toEqual(["you are", "details"]);
});

test("any other record is titled by its kind", () => {
  const record = { ...recordOf({}), kind: "session.suspended", data: { reason: "lease_missed" } } as AuditRecord;
  expect(refusalLines({ record, now }).title).toBe("session.suspended  2026-11-24T09:30:12.114Z");
});
