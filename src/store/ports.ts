import type { AuditRecord } from "../core/record.ts";
import type { Disagreement } from "./disagreement.ts";

/** Up to where the index has taken in the journal. */
export interface IndexPosition {
  /** Name of the log, the four characters its record ids begin with. */
  readonly log: string;
  /** Segment file; empty before the first. */
  readonly segment: string;
  /** Bytes of that file. */
  readonly offset: number;
  readonly seq: number;
}

/** Where the journal has a record's JSON. */
export interface TextPlace {
  readonly segment: string;
  /** Bytes of that file before it. */
  readonly offset: number;
  /** Bytes. */
  readonly length: number;
}

/** The exact text the journal has of a record. With a place its long list is left out: the whole is read there. */
export interface KeptText {
  readonly json: string;
  readonly place?: TextPlace;
}

/** A record as it is kept, and parsed. */
export interface IndexedRecord extends KeptText {
  readonly record: AuditRecord;
}

/** Which records a reader wants; all that is given must hold. */
export interface RecordFilter {
  readonly session?: string;
  /** The CI's job id. */
  readonly job?: string;
  /** Path or id. */
  readonly project?: string;
  readonly target?: string;
  readonly kind?: string;
  /** Any of these kinds. */
  readonly kinds?: readonly string[];
  /** `allow` or `deny`, as policy said; only decisions have it. */
  readonly effect?: string;
  readonly gateway?: string;
  /** Inclusive, ms since the epoch. */
  readonly sinceMs?: number;
  /** Exclusive, ms since the epoch. */
  readonly untilMs?: number;
  /** Only records before the one with this id: the next page. */
  readonly before?: string;
  /** Only records after the one with this id: the next page of those that come oldest first. */
  readonly after?: string;
  /** Default: newest first. */
  readonly order?: "oldest_first";
  /** True where long lists (`messages`, `each`) may be left out: they are empty then, which no whole record has. */
  readonly brief?: boolean;
  /**
   * Of records with NATS messages only those with one on a subject that this pattern matches. The last record that was
   * looked at is always among them, brief where it does not match: the next page begins there.
   */
  readonly subject?: string;
  /** The most records to answer with, or with `subject` to look at. */
  readonly limit: number;
}

/** State records after one number and up to another. */
export interface StateRange {
  /** ms since the epoch: what mattered only before is left out. */
  readonly nowMs: number;
  readonly afterSeq: number;
  readonly uptoSeq: number;
  readonly limit: number;
}

/** A state record and where it stands in the order of all. */
export interface KeptState {
  readonly seq: number;
  readonly json: string;
}

/** Where records are kept and asked for, in the order in which they became durable. */
export interface RecordStore {
  /** Brings the schema up to date. */
  migrate(): Promise<void>;
  /** In the filter's order; texts as they are kept. `subject` and `brief` are left to whoever reads the whole ones. */
  query(filter: RecordFilter): Promise<readonly KeptText[]>;
  get(id: string): Promise<KeptText | undefined>;
  /** Records of sessions that have not ended or still matter, of live tombstones and revocations, and pins; oldest first. */
  stateRecords(range: StateRange): Promise<readonly KeptState[]>;
  close(): Promise<void>;
}

/** Where the index of the journal is kept. Derived: it may be deleted at any time and is built again. */
export interface Store extends RecordStore {
  position(): Promise<IndexPosition | undefined>;
  /** Takes in records, in order, and the position after them: all or nothing. */
  ingest(records: readonly IndexedRecord[], position: IndexPosition): Promise<void>;
  /** What was counted for a candidate, most first. */
  disagreements(candidate: string): Promise<readonly Disagreement[]>;
  /** Forgets everything. */
  clear(): Promise<void>;
}
