import type { Clock } from "../core/clock.ts";
import { WayleaveError } from "../core/errors.ts";
import type { AuditEvent, AuditRecord, Recorder, RecordKind } from "../core/record.ts";
import { Batch, type Waiter } from "./batch.ts";
import { checkJournal, type JournalEnd } from "./check-journal.ts";
import { logName, makeDirectory, makeReserve, removeTorn, spendReserve } from "./journal-files.ts";
import { lockDirectory } from "./journal-lock.ts";
import { recordLine } from "./record-line.ts";
import { recordIds } from "./record-number.ts";
import { replayRecords } from "./replay.ts";
import { type Disk, disk, SegmentWriter } from "./segment-writer.ts";

export interface JournalOptions {
  /** Directory of the journal alone; created with mode 0700. */
  readonly dir: string;
  readonly clock: Pick<Clock, "now">;
  readonly random: (bytes: number) => Uint8Array;
  /** A segment that has reached this is followed by a new one. Default 64 MiB. */
  readonly segmentBytes?: number;
  /** A noted record waits this long for company. Default 20 ms; it is durable one write later. */
  readonly noteDelayMs?: number;
  /**
   * More than this not yet durable, and the journal refuses records; of records of clients' operations it takes half as much, and lets
   * `append` wait. Default 8 MiB.
   */
  readonly maxPendingBytes?: number;
  /** Numbers reserved at a time. Default 40,000. */
  readonly reserveNumbers?: number;
  readonly disk?: Disk;
}

/** Everything up to here survives a power cut. */
export interface DurablePosition {
  /** File name; empty while there is no record. */
  readonly segment: string;
  /** Bytes. */
  readonly offset: number;
  readonly seq: number;
}

/** The durable log of one broker. */
export interface Journal extends Recorder {
  readonly dir: string;
  /** The four characters every record id of this log begins with. */
  readonly log: string;
  readonly durable: DurablePosition;
  /** Number of the last durable record; 0 where there is none. */
  readonly lastSeq: number;
  /** Why nothing more is taken; undefined while all is well. */
  readonly failure: WayleaveError | undefined;
  /** Durable records from a number on, in order, up to those durable now; of some kinds, or all. Rejects `journal_corrupt`. */
  replay(fromSeq: number, kinds?: ReadonlySet<RecordKind>): AsyncIterable<AuditRecord>;
  /** Each record once, in order, as soon as it is durable. A listener must not throw. Returns what stops it. */
  onRecord(listener: (record: AuditRecord) => void): () => void;
  /** Called after every durable write, before its records are. Returns what stops it. */
  onDurable(listener: (position: DurablePosition) => void): () => void;
  /** Writes what waits, closes the files and gives the directory back. */
  close(): Promise<void>;
}

/**
 * Opens a journal, checking every line of it first. Throws `journal_corrupt` where it is not what was written, and
 * `journal_unavailable` where another process has it or the disk is full. A torn last line is removed; numbers that an
 * unclean end left in doubt are never used again, and an `audit.gap` says how many they are.
 */
export async function openJournal(options: JournalOptions): Promise<Journal> {
  makeDirectory(options.dir);
  const unlock = lockDirectory(options.dir);
  try {
    const end = await checkJournal(options.dir);
    const log = logName(options.dir, options.random, end.lastSeq > 0);
    if (end.torn !== undefined) removeTorn(options.dir, end.torn);
    makeReserve(options.dir);
    const journal = new FileJournal(options, log, end, unlock);
    await journal.begin(end);
    return journal;
  } catch (error) {
    unlock();
    throw error;
  }
}

/** What ends or narrows may still be recorded when nothing else can. */
const closingKinds: ReadonlySet<RecordKind> = new Set([
  "session.ended",
  "job.over",
  "credential.revoked",
  "key.revoked",
]);

/** Records of what a client sends come by the megabyte; they leave room for decisions, and wait where they can. */
const bulkKinds: ReadonlySet<RecordKind> = new Set([
  "nats.published",
  "nats.delivered",
  "nats.subscribed",
  "nats.unsubscribed",
]);

const isBulk = ({ kind }: Pick<AuditEvent, "kind">): boolean => bulkKinds.has(kind);

/** `closing`: the disk is full, and only what ends or narrows is taken. */
type Mode = "open" | "closing" | "failed" | "closed";

const defaults = { segmentBytes: 64 << 20, noteDelayMs: 20, maxPendingBytes: 8 << 20, reserveNumbers: 40_000 };

/** A batch this large does not wait for company. */
const fullBatchBytes = 1 << 18;

/** A larger buffer was for a burst, and is not kept. */
const keptBytes = 1 << 20;

class FileJournal implements Journal {
  readonly dir: string;
  readonly log: string;
  readonly #options: Required<Omit<JournalOptions, "random" | "disk">>;
  readonly #writer: SegmentWriter;
  readonly #unlock: () => void;
  readonly #idOf: (seq: number) => string;
  readonly #recordListeners = new Set<(record: AuditRecord) => void>();
  readonly #durableListeners = new Set<(position: DurablePosition) => void>();
  #mode: Mode = "open";
  #failure: WayleaveError | undefined;
  #durable: DurablePosition;
  #nextSeq: number;
  /** Numbers up to here may be given out by `note`. */
  #reservedUpto = 0;
  /** Numbers up to here are reserved or about to be. */
  #reservingUpto = 0;
  /** What is added goes here. */
  #batch = new Batch();
  /** What is being written. */
  #writing: Batch | undefined;
  #spareBuffer: Buffer | undefined;
  #timer: NodeJS.Timeout | undefined;
  #scheduled: NodeJS.Immediate | undefined;
  #cachedMs = Number.NaN;
  #cachedTime = "";
  #closing: Promise<void> | undefined;

  constructor(options: JournalOptions, log: string, end: JournalEnd, unlock: () => void) {
    this.#options = { ...defaults, ...options };
    this.dir = options.dir;
    this.log = log;
    this.#idOf = recordIds(log);
    this.#writer = new SegmentWriter(options.dir, end.tail, this.#options.segmentBytes, options.disk ?? disk);
    this.#unlock = unlock;
    this.#durable = { ...this.#writer.position, seq: end.lastSeq };
    this.#nextSeq = Math.max(end.lastSeq, end.reservedUpto) + 1;
  }

  /** Makes what was found durable, accounts for what may be missing, and reserves the first numbers. */
  async begin(end: JournalEnd): Promise<void> {
    try {
      await this.#writer.sync();
      this.#addGap(end.lastSeq);
      this.#reserve();
      await this.settled();
    } catch (error) {
      this.#writer.close();
      throw error instanceof WayleaveError ? error : unwritable(error);
    }
  }

  get durable(): DurablePosition {
    return this.#durable;
  }

  get lastSeq(): number {
    return this.#durable.seq;
  }

  get failure(): WayleaveError | undefined {
    return this.#failure;
  }

  async append(events: readonly AuditEvent[]): Promise<readonly AuditRecord[]> {
    const closing = events.every((event) => closingKinds.has(event.kind));
    const bulk = events.some(isBulk);
    while (bulk && this.#mode === "open" && this.#refusal(false, bulk) !== undefined) await this.#wait(undefined);
    const refusal = this.#refusal(closing);
    if (refusal !== undefined) throw refusal;
    const records = this.#add(events);
    this.#reserveIfDue();
    return this.#wait(records);
  }

  note(event: AuditEvent): string {
    const refusal = this.#refusal(false, isBulk(event));
    if (refusal !== undefined) throw refusal;
    if (this.#nextSeq > this.#reservedUpto) throw overloaded();
    const record = this.#record(event, this.#nextSeq);
    this.#take(record, recordLine(record));
    this.#reserveIfDue();
    if (this.#batch.bytes >= fullBatchBytes) this.#schedule();
    else this.#waitForCompany();
    return record.id;
  }

  async settled(): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#batch.empty && this.#writing === undefined) return;
    await this.#wait(undefined);
  }

  replay(fromSeq: number, kinds?: ReadonlySet<RecordKind>): AsyncIterable<AuditRecord> {
    return replayRecords(this.dir, fromSeq, this.#durable, kinds);
  }

  onRecord(listener: (record: AuditRecord) => void): () => void {
    this.#recordListeners.add(listener);
    return () => this.#recordListeners.delete(listener);
  }

  onDurable(listener: (position: DurablePosition) => void): () => void {
    this.#durableListeners.add(listener);
    return () => this.#durableListeners.delete(listener);
  }

  close(): Promise<void> {
    this.#closing ??= this.#finish();
    return this.#closing;
  }

  async #finish(): Promise<void> {
    const clean = this.#mode === "open";
    this.#mode = "closed";
    if (clean) this.#add([{ kind: "audit.reserved", data: { upto: this.#nextSeq } }]); // up to itself: nothing is in doubt
    const written = this.#wait(undefined);
    this.#failure ??= new WayleaveError("journal_unavailable", "The broker is stopping; ask again when it is back.");
    try {
      await written;
    } finally {
      clearTimeout(this.#timer);
      this.#writer.close();
      this.#unlock();
    }
  }

  #refusal(closing: boolean, bulk = false): WayleaveError | undefined {
    if (this.#mode !== "open" && !(closing && this.#mode === "closing")) return this.#failure;
    const pending = this.#batch.bytes + (this.#writing?.bytes ?? 0);
    const most = this.#options.maxPendingBytes / (bulk ? 2 : 1);
    return pending > most && !closing ? overloaded() : undefined;
  }

  /** Takes all of them or, where one cannot be written as JSON, none. */
  #add(events: readonly AuditEvent[]): readonly AuditRecord[] {
    const first = this.#nextSeq;
    const records = events.map((event, at) => this.#record(event, first + at));
    const lines = records.map(recordLine);
    for (const [at, record] of records.entries()) this.#take(record, lines[at] ?? "");
    return records;
  }

  #record(event: AuditEvent, seq: number): AuditRecord {
    return { ...event, v: 1, id: this.#idOf(seq), seq, time: this.#time() };
  }

  #take(record: AuditRecord, line: string): void {
    this.#batch.add(record, line);
    this.#nextSeq = record.seq + 1;
  }

  /** Ahead of need: half of the last reservation is still to be used. */
  #reserveIfDue(): void {
    const due = this.#nextSeq + this.#options.reserveNumbers / 2 > this.#reservingUpto;
    if (due && this.#mode === "open") this.#reserve();
  }

  #reserve(): void {
    this.#reservingUpto = this.#nextSeq + this.#options.reserveNumbers;
    this.#add([{ kind: "audit.reserved", data: { upto: this.#reservingUpto } }]);
    this.#schedule();
  }

  /** Numbers after `lastSeq` may have been given out, and their records will never come. */
  #addGap(lastSeq: number): void {
    const missing = this.#nextSeq - 1 - lastSeq;
    if (missing > 0) this.#add([{ kind: "audit.gap", data: { after_seq: lastSeq, at_most: missing } }]);
  }

  #time(): string {
    const now = this.#options.clock.now();
    if (now !== this.#cachedMs) {
      this.#cachedMs = now;
      this.#cachedTime = new Date(now).toISOString();
    }
    return this.#cachedTime;
  }

  async #wait(records: readonly AuditRecord[] | undefined): Promise<readonly AuditRecord[]> {
    const { promise, resolve, reject } = Promise.withResolvers<readonly AuditRecord[]>();
    this.#batch.waiters.push({ records, resolve, reject });
    this.#schedule();
    return promise;
  }

  /** Writes at the end of this turn of the event loop, so that what is asked in one turn goes together. */
  #schedule(): void {
    this.#batch.urgent = true;
    if (this.#writing !== undefined || this.#scheduled !== undefined) return;
    this.#scheduled = setImmediate(() => void this.#write());
  }

  #waitForCompany(): void {
    this.#timer ??= setTimeout(() => this.#schedule(), this.#options.noteDelayMs);
  }

  async #write(): Promise<void> {
    this.#scheduled = undefined;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const batch = this.#batch;
    const [first] = batch.records;
    this.#writing = batch;
    this.#batch = new Batch(this.#spareBuffer);
    this.#spareBuffer = undefined;
    try {
      if (first !== undefined) await this.#writer.write(batch.buffer, batch.bytes, first.seq);
    } catch (error) {
      this.#writing = undefined;
      this.#fail(batch, error);
      return;
    }
    this.#writing = undefined;
    if (batch.buffer.length <= keptBytes) this.#spareBuffer = batch.buffer;
    if (this.#batch.urgent) this.#schedule();
    this.#announce(batch);
  }

  #announce(batch: Batch): void {
    const last = batch.records.at(-1);
    if (last !== undefined) this.#durable = { ...this.#writer.position, seq: last.seq };
    if (batch.reservedUpto > 0) this.#reservedUpto = batch.reservedUpto;
    for (const { records, resolve } of batch.waiters) resolve(records ?? []);
    if (last !== undefined) for (const listener of this.#durableListeners) listener(this.#durable);
    for (const listener of this.#recordListeners) for (const record of batch.records) listener(record);
  }

  /** What could not be written was not recorded: everybody who waits hears it, and nothing more is taken. */
  #fail(batch: Batch, error: unknown): void {
    const waiters = [...batch.waiters, ...this.#batch.waiters];
    this.#batch = new Batch();
    this.#failure = unwritable(error);
    const undone = this.#undo();
    const saved = this.#mode === "open" && codeOf(error) === "ENOSPC" && undone && spendReserve(this.dir);
    if (this.#mode !== "closed") this.#mode = saved ? "closing" : "failed";
    if (saved) this.#addGap(this.#durable.seq);
    for (const waiter of waiters) {
      if (saved && isClosing(waiter)) this.#again(waiter);
      else waiter.reject(this.#failure);
    }
    if (this.#batch.waiters.length > 0) this.#schedule();
  }

  #undo(): boolean {
    try {
      this.#writer.undo();
      return true;
    } catch {
      return false; // the disk does not even take that: as failed as it can be
    }
  }

  /** The same records under new numbers: the old ones were given to nobody, and the gap accounts for them. */
  #again({ records = [], resolve, reject }: Waiter): void {
    const events = records.map(({ id: _id, seq: _seq, time: _time, v: _v, ...event }) => event);
    this.#batch.waiters.push({ records: this.#add(events), resolve, reject });
  }
}

function isClosing({ records }: Waiter): boolean {
  return records?.every((record) => closingKinds.has(record.kind)) ?? false;
}

function codeOf(error: unknown): string {
  return error instanceof Error && "code" in error ? String(error.code) : "unknown error";
}

function unwritable(error: unknown): WayleaveError {
  return new WayleaveError(
    "journal_unavailable",
    `The journal cannot be written (${codeOf(error)}), so nothing more is allowed or minted. Free or repair the disk, then restart the broker.`,
    { cause: error },
  );
}

function overloaded(): WayleaveError {
  return new WayleaveError(
    "journal_unavailable",
    "Records come faster than the disk takes them, and nothing is answered unrecorded. Ask again shortly; a faster disk helps.",
  );
}
