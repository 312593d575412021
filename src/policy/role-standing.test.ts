import { expect, test } from "vitest";
import { compileRules } from "./compiled-rules.ts";
import { findReach } from "./find-reach.ts";
import { deny, facts, job, openedAt, policyModel, role, selector, target } from "./policy.fake.ts";
import { roleStandings } from "./role-standing.ts";
import { fakeVocabulary } from "./vocabulary.fake.ts";

const billing = { billing: ["GET /v1/**"] };
const others = [target("billing"), target("ledger")];
const agents = [selector({}, { anyIssuer: true, fork: true, kind: "agent" })];

type Case = {
  readonly of: string;
  readonly roles: Parameters<typeof policyModel>[0]["roles"];
  readonly denies?: Parameters<typeof policyModel>[0]["deny"];
  readonly known?: Readonly<Record<string, string | number | boolean>>;
  readonly standing: string;
};

test.each<Case>([
  { of: "no condition", roles: [role("r", billing)], standing: "stands" },
  {
    of: "a condition of the job that holds",
    roles: [role("r", billing, { when: "job.ref == 'main'" })],
    standing: "stands",
  },
  {
    of: "a condition of the job that fails",
    roles: [role("r", billing, { when: "job.ref == 'x'" })],
    standing: "condition_failed",
  },
  {
    of: "a fact that holds",
    roles: [role("r", billing, { when: "change.merged" })],
    known: { "change.merged": true },
    standing: "stands",
  },
  {
    of: "a fact that is false",
    roles: [role("r", billing, { when: "change.merged" })],
    known: { "change.merged": false },
    standing: "condition_failed",
  },
  { of: "a missing fact", roles: [role("r", billing, { when: "change.merged" })], standing: "fact_missing" },
  {
    of: "a condition that looks at the request",
    roles: [role("r", billing, { when: "request.method == 'GET'" })],
    standing: "needs_request",
  },
  {
    of: "a condition that looks at the request beside the job",
    roles: [role("r", billing, { when: "job.ref == 'main' || request.method == 'GET'" })],
    standing: "needs_request",
  },
  {
    of: "a condition that cannot be read",
    roles: [role("r", billing, { when: "job.ref ==" })],
    standing: "condition_failed",
  },
  {
    of: "an absent claim",
    roles: [role("r", billing, { when: "job.user == 'u'" })],
    standing: "condition_failed",
  },
  { of: "a deny of everything", roles: [role("r", billing)], denies: [deny("no")], standing: "denied" },
  {
    of: "a deny of one operation of its target",
    roles: [role("r", billing)],
    denies: [deny("no", { operations: { billing: ["DELETE /x"] } })],
    standing: "denied",
  },
  {
    of: "a deny of another target",
    roles: [role("r", billing)],
    denies: [deny("no", { targets: ["ledger"] })],
    standing: "stands",
  },
  {
    of: "a deny whose condition is false",
    roles: [role("r", billing)],
    denies: [deny("no", { when: "job.ref == 'x'" })],
    standing: "stands",
  },
  {
    of: "a deny whose condition hangs on a missing fact",
    roles: [role("r", billing)],
    denies: [deny("no", { when: "change.merged" })],
    standing: "denied",
  },
  {
    of: "a deny whose condition looks at the request",
    roles: [role("r", billing)],
    denies: [deny("no", { when: "request.method == 'PUT'" })],
    standing: "denied",
  },
  { of: "a deny of agents", roles: [role("r", billing)], denies: [deny("no", { for: agents })], standing: "stands" },
  {
    of: "a deny of agents, of a role that makes one",
    roles: [role("r", billing, { for: [selector({ project: "acme/shop" }, { kind: "agent" })] })],
    denies: [deny("no", { for: agents })],
    standing: "denied",
  },
])("a role with $of: $standing", ({ roles = [], denies = [], known = {}, standing }) => {
  const rules = compileRules(policyModel({ targets: others, roles, deny: denies }), fakeVocabulary);
  const [found] = roleStandings(findReach(rules, job()), facts(known), openedAt);
  expect(found?.stands === true ? "stands" : found?.reason).toBe(standing);
});

test("a fact that went stale is missing", () => {
  const rules = compileRules(policyModel({ roles: [role("r", billing, { when: "change.merged" })] }), fakeVocabulary);
  const read = facts({ "change.merged": true });
  expect(roleStandings(findReach(rules, job()), read, openedAt + 60_000)[0]).toMatchObject({
    stands: false,
    reason: "fact_missing",
    detail: "change.merged",
  });
});
