import type { Decision } from "../core/decision.ts";
import { can } from "./can.ts";
import { imagineFacts, imagineIdentity } from "./imagine.ts";
import type { Diagnostic, PolicyModel, TestLine, TestModel } from "./model.ts";
import type { Policy } from "./policy.ts";

/** When the tests' imagined requests are made: fixed, so that the same policy gives the same findings. */
const testTime = Date.UTC(2026, 0, 1);

/** The failures of a policy's own tests, as diagnostics that point at the line; empty when all pass. */
export function runTests(
  policy: Policy,
  model: PolicyModel,
): readonly Diagnostic[] {
  return model.tests.flatMap((each) => [
    ...each.can.flatMap((line) => check(policy, each, line, "allow")),
    ...each.cannot.flatMap((line) => check(policy, each, line, "deny")),
  ]);
}

function check(
  policy: Policy,
  each: TestModel,
  line: TestLine,
  wanted: Decision["effect"],
): readonly Diagnostic[] {
  const identity = imagineIdentity(each.issuer, each.issuer === "buildkite" ? "buildkite" : "gitlab", each.as);
  const decision = can(policy, identity, imagineFacts(each.with, testTime), line, testTime);
  if (decision.effect === wanted) return [];
  const says = wanted === "allow" ? `it is denied: ${reasonText(decision)}` : `role ${decision.rule} allows it`;
  return [
    {
      severity: "error",
      code: "test_failed",
      message: `test "${each.name}" fails: ${line.source}`,
      place: line.place,
      label: says,
      help:
        wanted === "allow" ? "widen a role for this job, or correct the test" : "narrow the role, or correct the test",
    },
  ];
}

function reasonText({ reason, closest, missing }: Decision): string {
  if (missing !== undefined) return `${missing} is missing`;
  if (closest === undefined) return reason.replaceAll("_", " ");
  return `role ${closest.role} is closest, and fails at ${closest.failed}`;
}
