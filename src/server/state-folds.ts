import type { Clock } from "../core/clock.ts";
import { isEventRecord } from "../core/event-record.ts";
import { isOperatorRecord } from "../core/operator-record.ts";
import type { AuditRecord } from "../core/record.ts";
import { KeyHistory } from "../credential/key-history.ts";
import { CauseTable } from "../events/cause-table.ts";
import { SignInTable } from "../people/sign-in-table.ts";
import { PolicyHistory } from "../rollout/policy-history.ts";
import { SessionTable } from "../session/table.ts";

/** Everything the broker remembers, as folds over the records. */
export interface StateFolds {
  readonly table: SessionTable;
  /** What the records say about every signing key. */
  readonly keyHistory: KeyHistory;
  /** Messages that started pipelines, and those that did not. */
  readonly causes: CauseTable;
  /** Who is signed in as an operator. */
  readonly signIns: SignInTable;
  /** Which policy is in force by whose word, and what is tried beside it. */
  readonly policyHistory: PolicyHistory;
}

/** Empty folds, and what tells all of them of a record; wherever records are kept, this replays them. */
export function stateFolds(clock: Clock): { readonly folds: StateFolds; apply(record: AuditRecord): void } {
  const folds: StateFolds = {
    table: new SessionTable(clock.monotonic),
    keyHistory: new KeyHistory(),
    causes: new CauseTable(),
    signIns: new SignInTable(),
    policyHistory: new PolicyHistory(),
  };
  return {
    folds,
    apply(record) {
      folds.table.apply(record);
      folds.keyHistory.apply(record);
      folds.policyHistory.apply(record);
      if (isEventRecord(record)) folds.causes.apply(record);
      if (isOperatorRecord(record)) folds.signIns.apply(record);
    },
  };
}
