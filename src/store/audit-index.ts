import { extname } from "node:path";
import { Worker } from "node:worker_threads";
import { WayleaveError } from "../core/errors.ts";
import type { AuditRecord } from "../core/record.ts";
import type { Disagreement } from "./disagreement.ts";
import type { Durable, FromWorker, Question, ToWorker, WorkerStart } from "./index-protocol.ts";
import type { RecordFilter } from "./ports.ts";

/** The queryable index of the journal. Every read sees every record that was durable when it was asked. */
export interface AuditIndex {
  /**
   * In the filter's order; fewer than its limit where records are long, none only where there are none left. Rejects
   * `internal` where the index cannot be read or kept.
   */
  query(filter: RecordFilter): Promise<readonly AuditRecord[]>;
  get(id: string): Promise<AuditRecord | undefined>;
  /** State records that still matter at `nowMs`, up to a number that is indexed, oldest first. */
  stateRecords(nowMs: number, uptoSeq: number): AsyncIterable<AuditRecord>;
  /** Requests on which the candidate differed from what was active, counted; most first. */
  disagreements(candidate: string): Promise<readonly Disagreement[]>;
  /** Resolves when the record of this number, which must be durable, is indexed. */
  caughtUp(seq: number): Promise<void>;
  /** Number of the last record known to be indexed. */
  readonly appliedSeq: number;
  close(): Promise<void>;
}

/** What the index needs of the journal. */
export interface IndexedJournal {
  readonly dir: string;
  readonly log: string;
  readonly durable: Durable;
  onDurable(listener: (durable: Durable) => void): () => void;
}

const statePage = 2000;

/** The worker hears this late how far the journal has come, unless something is asked of it. */
const tellMs = 50;

/**
 * Starts the index's thread on a SQLite file, which is created where it is missing and then built from the journal.
 * Resolves as soon as questions can be asked. Rejects `internal` where the file cannot be used.
 */
export async function openAuditIndex(file: string, journal: IndexedJournal): Promise<AuditIndex> {
  const { dir: journalDir, log, durable } = journal;
  const start: WorkerStart = { file, journalDir, log, durable };
  const index = new WorkerIndex(new Worker(workerUrl(), { workerData: start }), journal);
  await index.ready;
  return index;
}

/** Source runs from `.ts` and the package from `.js`; the compiler rewrites imports, not URLs. */
function workerUrl(): URL {
  const source = new URL("./index-worker.ts", import.meta.url);
  return new URL(source.href.replace(/\.ts$/, extname(import.meta.url)));
}

interface Call {
  readonly resolve: (records: readonly string[]) => void;
  readonly reject: (error: Error) => void;
}

class WorkerIndex implements AuditIndex {
  readonly ready: Promise<void>;
  readonly #worker: Worker;
  readonly #journal: IndexedJournal;
  readonly #calls = new Map<number, Call>();
  readonly #exited: Promise<void>;
  readonly #unfollow: () => void;
  #calling = 0;
  #appliedSeq = 0;
  #telling: NodeJS.Timeout | undefined;
  #failure: WayleaveError | undefined;

  constructor(worker: Worker, journal: IndexedJournal) {
    this.#worker = worker;
    this.#journal = journal;
    const ready = Promise.withResolvers<void>();
    this.ready = ready.promise;
    worker.on("message", (message: FromWorker) => {
      if (message.type === "ready") ready.resolve();
      this.#receive(message);
    });
    worker.on("error", (cause) => this.#fail(unusable(cause.message, cause)));
    this.#exited = new Promise((resolve) => {
      worker.on("exit", () => {
        this.#fail(new WayleaveError("internal", "The audit index has stopped; restart the broker."));
        ready.reject(this.#failure);
        resolve();
      });
    });
    // Only the position goes over, and not each: the worker reads the files by itself, and rests in between anyway.
    this.#unfollow = journal.onDurable(() => {
      this.#telling ??= setTimeout(() => this.#tell(), tellMs);
    });
  }

  get appliedSeq(): number {
    return this.#appliedSeq;
  }

  async query(filter: RecordFilter): Promise<readonly AuditRecord[]> {
    return (await this.#ask({ ask: "query", filter })).map(parse);
  }

  async get(id: string): Promise<AuditRecord | undefined> {
    const [found] = await this.#ask({ ask: "get", id });
    return found === undefined ? undefined : parse(found);
  }

  async *stateRecords(nowMs: number, uptoSeq: number): AsyncGenerator<AuditRecord> {
    for (let afterSeq = 0; ; ) {
      const range = { nowMs, afterSeq, uptoSeq, limit: statePage };
      const page = (await this.#ask({ ask: "state", range }, uptoSeq)).map(parse);
      yield* page;
      const last = page.at(-1);
      if (last === undefined || page.length < statePage) return;
      afterSeq = last.seq;
    }
  }

  async disagreements(candidate: string): Promise<readonly Disagreement[]> {
    return (await this.#ask({ ask: "disagreements", candidate })).map((row) => JSON.parse(row) as Disagreement);
  }

  async caughtUp(seq: number): Promise<void> {
    await this.#ask({ ask: "caughtUp" }, seq);
  }

  async close(): Promise<void> {
    this.#unfollow();
    clearTimeout(this.#telling);
    this.#send({ type: "close" });
    await this.#exited;
  }

  async #ask(question: Question, seq = this.#journal.durable.seq): Promise<readonly string[]> {
    if (this.#failure !== undefined) throw this.#failure;
    const call = ++this.#calling;
    const { promise, resolve, reject } = Promise.withResolvers<readonly string[]>();
    this.#calls.set(call, { resolve, reject });
    this.#tell();
    this.#send({ type: "question", call, seq, question });
    return promise;
  }

  #tell(): void {
    clearTimeout(this.#telling);
    this.#telling = undefined;
    this.#send({ type: "durable", durable: this.#journal.durable });
  }

  #send(message: ToWorker): void {
    this.#worker.postMessage(message);
  }

  #receive(message: FromWorker): void {
    switch (message.type) {
      case "ready":
      case "applied":
        this.#appliedSeq = message.seq;
        return;
      case "answer":
        this.#take(message.call)?.resolve(message.records);
        return;
      case "failed":
        this.#take(message.call)?.reject(unusable(message.because));
    }
  }

  #take(call: number): Call | undefined {
    const waiting = this.#calls.get(call);
    this.#calls.delete(call);
    return waiting;
  }

  #fail(failure: WayleaveError): void {
    this.#failure ??= failure;
    for (const { reject } of this.#calls.values()) reject(this.#failure);
    this.#calls.clear();
  }
}

function parse(json: string): AuditRecord {
  return JSON.parse(json) as AuditRecord;
}

function unusable(because: string, cause?: unknown): WayleaveError {
  return new WayleaveError(
    "internal",
    `The audit index cannot be used (${because}). It is built from the journal: stop the broker, delete the index file, start again.`,
    { cause },
  );
}
