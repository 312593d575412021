import type { AuditRecord } from "../core/record.ts";
import { count } from "./terminal.ts";

/** What a record about the policy says, in columns; undefined for other kinds. */
export function policyWords(record: AuditRecord): readonly [kind: string, ...rest: readonly string[]] | undefined {
  switch (record.kind) {
    case "policy.loaded":
    case "policy.candidate":
    case "policy.candidate_withdrawn":
    case "policy.canary":
    case "policy.promoted":
    case "policy.rolled_back":
      return [record.kind, record.data.policy, policyText(record)];
    case "policy.disagreed":
      return [record.kind, record.data.operation, record.data.target];
    case "policy.refused":
      return [record.kind, record.data.first];
    default:
      return undefined;
  }
}

type PolicyKind = "loaded" | "candidate" | "candidate_withdrawn" | "canary" | "promoted" | "rolled_back";

function policyText(record: Extract<AuditRecord, { kind: `policy.${PolicyKind}` }>): string {
  switch (record.kind) {
    case "policy.loaded":
      return count(record.data.roles, "role");
    case "policy.canary": {
      const { projects, share } = record.data;
      return [...projects, ...(share > 0 ? [`${share} %`] : [])].join(",") || "nobody";
    }
    case "policy.promoted":
    case "policy.rolled_back":
      return `replaces ${record.data.replaces}`;
    default:
      return record.data.by;
  }
}
