import fc from "fast-check";
import { expect, test } from "vitest";
import { isOperatorRecord } from "../core/operator-record.ts";
import type { AuditRecord, RecordKind } from "../core/record.ts";
import { collect, testJournal } from "./journal.fake.ts";
import { operatorDataSchemas } from "./operator-record-schema.ts";
import { anyEvent } from "./record.fake.ts";
import { recover, type StateIndex, stateKinds } from "./recover.ts";

/** An index that holds every state record up to a number, and that goes on while it is read. */
function indexUpto(applied: number, records: readonly AuditRecord[]): StateIndex {
  let reached = applied;
  return {
    get appliedSeq() {
      return reached;
    },
    async *stateRecords(_nowMs, uptoSeq) {
      reached = records.at(-1)?.seq ?? reached;
      yield* records.filter(({ kind, seq }) => stateKinds.has(kind) && seq <= uptoSeq);
    },
  };
}

test("everything that says who is signed in is state", () => {
  const folded = Object.keys(operatorDataSchemas).filter((kind) => isOperatorRecord({ kind }));
  expect(folded).toHaveLength(4);
  expect(folded.filter((kind) => !stateKinds.has(kind as RecordKind))).toEqual([]);
});

test("wherever the index stands, every state record comes once, in order, and nothing else does", async () => {
  const journal = await testJournal({ segmentBytes: 2000 });
  await journal.append(fc.sample(anyEvent, { numRuns: 60, seed: 3 }));
  const all = await collect(journal.replay(1));
  const state = all.filter(({ kind }) => stateKinds.has(kind));
  expect(state.length).toBeGreaterThan(10);
  for (let applied = 0; applied <= journal.lastSeq; applied++) {
    const index = indexUpto(applied, all);
    expect(await collect(recover({ journal, index, now: 0 }))).toEqual(state);
  }
});

test("the index is asked about the time it is recovered at", async () => {
  const journal = await testJournal();
  const asked: number[] = [];
  const index = indexUpto(0, []);
  const stateRecords: StateIndex["stateRecords"] = (nowMs, uptoSeq) => {
    asked.push(nowMs);
    return index.stateRecords(nowMs, uptoSeq);
  };
  await collect(recover({ journal, index: { appliedSeq: 0, stateRecords }, now: 77 }));
  expect(asked).toEqual([77]);
});
