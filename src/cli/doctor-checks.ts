import type { Check, DoctorFacts, Finding } from "./doctor-facts.ts";
import { fileChecks } from "./doctor-files.ts";
import { natsChecks } from "./doctor-nats.ts";
import { runningChecks } from "./doctor-running.ts";

/** Every check, in the order they are told. Documentation is held against this table by a test. */
export const checks: readonly Check[] = [...runningChecks, ...fileChecks, ...natsChecks];

/** Worst first. */
const levels = ["fail", "warn", "note"] as const satisfies readonly Finding["level"][];

export interface CheckResult {
  readonly name: string;
  readonly result: "ok" | "note" | "warn" | "fail" | "skipped";
  readonly findings: readonly Finding[];
  /** For one that was skipped: what it needs. */
  readonly needs?: string;
}

/** What each check says of the facts: pure, so that the same facts always give the same answer. */
export function examine(facts: DoctorFacts): readonly CheckResult[] {
  return checks.map(({ name, needs, run }) => {
    const findings = run(facts);
    if (findings === undefined) return { name, result: "skipped", findings: [], needs };
    const worst = levels.find((level) => findings.some((finding) => finding.level === level));
    return { name, result: worst ?? "ok", findings };
  });
}
