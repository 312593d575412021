import type { Durable } from "./index-protocol.ts";
import type { IndexPosition, Store } from "./ports.ts";
import { endsWith, readPassage } from "./segment-follower.ts";

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
    const passage = await readPassage(journalDir, position, durable, passageBytes);
    await store.ingest(passage.records, passage.position);
    position = passage.position;
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
