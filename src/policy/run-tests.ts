import { type Decision, reasonCodes } from "../core/decision.ts";
import { type IssuerType, issuerTypes } from "../core/identity.ts";
import { can } from "./can.ts";
import { imagineFacts, imagineIdentity } from "./imagine.ts";
import type { Diagnostic, PolicyModel, TestLine, TestModel } from "./model.ts";
import type { Policy } from "./policy.ts";

/** When the tests' imagined requests are made: fixed, so that the same policy gives the same findings. */
const testTime = Date.UTC(2026, 0, 1);

/**
 * The failures of a policy's own tests, as diagnostics that point at the line; empty when all pass. What counts is what
 * policy says: an observed denial is a denial. `issuers`: types by name, where an issuer's name is not its type.
 */
export function runTests(
  policy: Policy,
  model: PolicyModel,
  issuers: ReadonlyMap<string, IssuerType> = new Map(),
): readonly Diagnostic[] {
  return model.tests.flatMap((test) => {
    const ask = asker(policy, test, model.pins, issuers);
    return [
      ...test.can.flatMap((line) => verdict(test, line, ask(line), "allow")),
      ...test.cannot.flatMap((line) => verdict(test, line, ask(line), "deny")),
    ];
  });
}

function asker(
  policy: Policy,
  test: TestModel,
  pins: PolicyModel["pins"],
  issuers: ReadonlyMap<string, IssuerType>,
): (line: TestLine) => Decision {
  const type = issuers.get(test.issuer) ?? issuerTypes.find((known) => known === test.issuer) ?? "gitlab";
  const pin = `${test.issuer}/${String(test.as.project ?? test.as.repository)}`;
  const id = type === "github" ? "repository_id" : "project_id";
  const pinned = Object.hasOwn(pins, pin) && pins[pin] !== undefined ? { [id]: pins[pin] } : {};
  const identity = imagineIdentity(test.issuer, type, { ...pinned, ...test.as });
  const facts = imagineFacts(test.with, testTime);
  return (line) => can(policy, identity, facts, line, testTime);
}

function verdict(
  test: TestModel,
  line: TestLine,
  decision: Decision,
  wanted: Decision["effect"],
): readonly Diagnostic[] {
  if (decision.effect === wanted) return [];
  const denied = decision.effect === "deny";
  return [
    {
      severity: "error",
      code: "test_failed",
      message: `test "${test.name}" fails: ${line.source}`,
      place: line.place,
      label: denied ? `it is denied: ${denialText(decision)}` : `role ${decision.rule} allows it`,
      help: denied ? "widen a role for this job, or correct the test" : "narrow the role, or correct the test",
    },
  ];
}

function denialText({ reason, rule, closest, missing }: Decision): string {
  if (reason === "denied") return `deny ${rule} forbids it`;
  if (reason === "fact_missing") return `${missing} is missing; say under with what it is`;
  if (closest === undefined) return reasonCodes[reason];
  const found = closest.found === undefined ? "" : ` (found ${closest.found})`;
  return `role ${closest.role} is closest, and fails at ${closest.failed}${found}`;
}
