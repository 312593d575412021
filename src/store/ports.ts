import type { AuditRecord } from "../core/record.ts";

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

/** A record and the exact text the journal has of it. */
export interface IndexedRecord {
  readonly record: AuditRecord;
  readonly json: string;
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
  /** `allow` or `deny`, as policy said; only decisions have it. */
  readonly effect?: string;
  readonly gateway?: string;
  /** Inclusive, ms since the epoch. */
  readonly sinceMs?: number;
  /** Exclusive, ms since the epoch. */
  readonly untilMs?: number;
  /** Only records before the one with this id: the next page. */
  readonly before?: string;
  /** The most records to answer with. */
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

/** Where the index of the journal is kept. Derived: it may be deleted at any time and is built again. Records come back as the journal's text. */
export interface Store {
  /** Brings the schema up to date. */
  migrate(): Promise<void>;
  position(): Promise<IndexPosition | undefined>;
  /** Takes in records, in order, and the position after them: all or nothing. */
  ingest(records: readonly IndexedRecord[], position: IndexPosition): Promise<void>;
  /** Newest first. */
  query(filter: RecordFilter): Promise<readonly string[]>;
  get(id: string): Promise<string | undefined>;
  /** Records of sessions that have not ended or still matter, of live tombstones and revocations, and pins; oldest first. */
  stateRecords(range: StateRange): Promise<readonly string[]>;
  /** Forgets everything. */
  clear(): Promise<void>;
  close(): Promise<void>;
}
