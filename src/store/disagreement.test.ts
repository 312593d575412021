import { describe, expect, onTestFinished, test } from "vitest";
import type { Beside, Outcome } from "../core/decision.ts";
import type { AuditEvent, DecisionData } from "../core/record.ts";
import { disagreementOf } from "./disagreement.ts";
import { openSqliteStore } from "./sqlite-store.ts";
import { recordOf } from "./store.fake.ts";

const beside = (outcome: Outcome, more: Partial<Beside> = {}): Beside => ({
  policy: "new",
  outcome,
  reason: outcome === "allow" ? "allowed" : "no_role",
  ...(outcome === "allow" ? { rule: "fresh" } : {}),
  ...more,
});
const decided = (outcome: Outcome, data: Partial<DecisionData>): AuditEvent => ({
  kind: "decision",
  data: {
    gateway: "edge-1",
    target: "billing",
    operation: "GET /",
    effect: outcome === "allow" ? "allow" : "deny",
    outcome,
    reason: outcome === "allow" ? "allowed" : "denied",
    policy: "old",
    ...(outcome === "allow" ? { rule: "read" } : {}),
    ...data,
  },
});

describe("what a record says of a disagreement", () => {
  test.each([
    { is: "allow", other: "deny", effect: "newly_denied", role: "read", reason: "no_role" },
    { is: "deny", other: "allow", effect: "newly_allowed", role: "fresh", reason: "denied" },
    { is: "would_deny", other: "allow", effect: "passes_differently", role: "fresh", reason: "denied" },
    { is: "allow", other: "would_deny", effect: "passes_differently", role: "read", reason: "no_role" },
    { is: "would_deny", other: "deny", effect: "newly_denied", role: "", reason: "no_role" },
    { is: "pass", other: "deny", effect: "newly_denied", role: "", reason: "no_role" },
    { is: "deny", other: "pass", effect: "newly_allowed", role: "", reason: "denied" },
  ] as const)("$is, and the candidate $other: $effect", ({ is, other, ...expected }) => {
    const found = disagreementOf(recordOf(decided(is, { beside: beside(other) }), 1, 1000));
    expect(found).toMatchObject({ active: "old", candidate: "new", target: "billing", count: 1, ...expected });
  });

  test("of a canary's request the candidate is the one that decided", () => {
    const data = { policy: "new", canary: true, beside: beside("allow", { policy: "old", rule: "read" }) } as const;
    expect(disagreementOf(recordOf(decided("deny", data), 1, 1000))).toMatchObject({
      active: "old",
      candidate: "new",
      effect: "newly_denied",
      role: "read",
      reason: "denied",
    });
  });

  test("nothing where the two agree, and of other records", () => {
    expect(disagreementOf(recordOf(decided("allow", {}), 1, 1000))).toBeUndefined();
    expect(disagreementOf(recordOf({ kind: "broker.stopped", data: {} }, 1, 1000))).toBeUndefined();
  });
});

test("the store adds them up by candidate, whatever the batches, and forgets them when it forgets all", async () => {
  const store = openSqliteStore(":memory:");
  onTestFinished(() => store.close());
  await store.migrate();
  const disagreed = {
    gateway: "jobs",
    target: "events",
    operation: "pub a",
    outcome: "allow",
    reason: "allowed",
    rule: "talk",
    policy: "old",
    beside: beside("deny"),
    count: 5,
  } as const;
  const events: readonly AuditEvent[] = [
    decided("allow", { beside: beside("deny") }),
    decided("allow", {}),
    decided("allow", { beside: beside("deny") }),
    decided("allow", { beside: beside("deny", { policy: "other" }) }),
    { kind: "policy.disagreed", data: disagreed },
  ];
  const position = { log: "abcd", segment: "s", offset: 0 };
  for (const [at, event] of events.entries()) {
    const record = recordOf(event, at + 1, 1000 * (at + 1));
    await store.ingest([{ record, json: JSON.stringify(record) }], { ...position, seq: at + 1 });
  }
  expect(await store.disagreements("new")).toMatchObject([
    { effect: "newly_denied", target: "events", role: "talk", count: 5 },
    { effect: "newly_denied", target: "billing", role: "read", count: 2, first_ms: 1000, last_ms: 3000, last_seq: 3 },
  ]);
  expect(await store.disagreements("other")).toHaveLength(1);
  expect(await store.disagreements("unheard")).toEqual([]);
  await store.clear();
  expect(await store.disagreements("new")).toEqual([]);
});
