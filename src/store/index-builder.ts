import type { Durable } from "./index-protocol.ts";
import type { IndexedRecord, IndexPosition, Store } from "./ports.ts";
import { endsWith, type Passage, readPassage } from "./segment-follower.ts";

/** Brings a store up to what is durable in the journal, one transaction at a time. */
export interface IndexBuilder {
  readonly appliedSeq: number;
  /** How many durable records are not in the store yet. */
  readonly backlog: number;
  /** Takes in the next passage. False when there was nothing to take in. */
  step(): Promise<boolean>;
  /** The journal has come this far. */
  durableTo(durable: Durable): void;
  /** Resolves when everything up to `seq`, which must be durable, is in the store. */
  catchUp(seq: number): Promise<void>;
}

/** About 400 records: a transaction of a few milliseconds, long enough to be worth its sync. */
const passageBytes = 1 << 18;

/** Of long records, of which little is kept, a transaction takes more: they come when there is most to follow. */
const longPassageBytes = 1 << 23;

/**
 * Takes up where the store stands. A store of another log, or one whose last record is not where it was in the journal
 * (which came from a backup, say), is of no use and begins again from nothing.
 */
export async function createIndexBuilder(deps: {
  readonly store: Store;
  readonly journalDir: string;
  readonly log: string;
  readonly durable: Durable;
  /** Told after each transaction. */
  readonly onApplied: (seq: number) => void;
}): Promise<IndexBuilder> {
  const { store, journalDir } = deps;
  let { durable } = deps;
  let position = await takeUp(deps);

  const step = async () => {
    if (position.seq >= durable.seq) return false;
    const { records, position: next } = await gather(journalDir, position, durable);
    await store.ingest(records, next);
    position = next;
    deps.onApplied(position.seq);
    return true;
  };

  return {
    get appliedSeq() {
      return position.seq;
    },
    get backlog() {
      return durable.seq - position.seq;
    },
    step,
    durableTo(next) {
      if (next.seq > durable.seq) durable = next;
    },
    async catchUp(seq) {
      while (position.seq < seq && (await step()));
    },
  };
}

/** As much of what comes next as one transaction takes. */
async function gather(dir: string, from: IndexPosition, durable: Durable): Promise<Passage> {
  const records: IndexedRecord[] = [];
  let position = from;
  for (let read = 0, kept = 0; kept < passageBytes / 2 && read < longPassageBytes && position.seq < durable.seq; ) {
    const passage = await readPassage(dir, position, durable, passageBytes);
    position = passage.position;
    for (const record of passage.records) {
      records.push(record);
      kept += record.json.length;
      read += record.place?.length ?? record.json.length;
    }
  }
  return { records, position };
}

async function takeUp({
  store,
  journalDir,
  log,
  durable,
}: Parameters<typeof createIndexBuilder>[0]): Promise<IndexPosition> {
  const position = await store.position();
  const [last] = await store.query({ limit: 1 });
  if (position?.log === log && last !== undefined && (await endsWith(journalDir, position, last, durable)))
    return position;
  await store.clear();
  return { log, segment: "", offset: 0, seq: 0 };
}
