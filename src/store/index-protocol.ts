import type { RecordFilter, StateRange } from "./ports.ts";

/** What the index's worker is started with. */
export interface WorkerStart {
  /** The SQLite file. */
  readonly file: string;
  /** Directory of the journal's segments. */
  readonly journalDir: string;
  readonly log: string;
  readonly durable: Durable;
}

/** The journal's segments up to here may be read. */
export interface Durable {
  readonly segment: string;
  readonly offset: number;
  readonly seq: number;
}

/** A question about records; answered when everything up to `seq` is indexed. */
export type Question =
  | { readonly ask: "query"; readonly filter: RecordFilter }
  | { readonly ask: "get"; readonly id: string }
  | { readonly ask: "state"; readonly range: StateRange }
  | { readonly ask: "disagreements"; readonly candidate: string }
  | { readonly ask: "caughtUp" };

export type ToWorker =
  | { readonly type: "durable"; readonly durable: Durable }
  | { readonly type: "question"; readonly call: number; readonly seq: number; readonly question: Question }
  | { readonly type: "close" };

export type FromWorker =
  | { readonly type: "ready"; readonly seq: number }
  | { readonly type: "applied"; readonly seq: number }
  /** Records as the journal's text, or rows as JSON: parsing is left to whoever needs them parsed. */
  | { readonly type: "answer"; readonly call: number; readonly records: readonly string[] }
  | { readonly type: "failed"; readonly call: number; readonly because: string };
