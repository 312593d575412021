import type { Client } from "pg";
import type { Clock } from "../core/clock.ts";
import { WayleaveError } from "../core/errors.ts";
import type { AuditEvent, AuditRecord, Recorder } from "../core/record.ts";
import type { DatabaseAddress } from "./database.ts";
import { followFeed } from "./feed-follower.ts";
import { conflict, overloaded, stopping, trackFreshness, unavailable } from "./feed-outage.ts";
import { createFeedQueue, type FeedQueue } from "./feed-queue.ts";
import { type FeedUnit, isClosing } from "./feed-unit.ts";
import { type FeedRecord, headOf, recordedOf, type Written, writeFeed } from "./feed-write.ts";
import { type KeptConnection, keepConnection } from "./kept-connection.ts";
import { retake, type TakenLog, takeLog, takeService } from "./log-lock.ts";

export interface PostgresLogOptions {
  readonly address: DatabaseAddress;
  readonly clock: Clock;
  readonly random: (bytes: number) => Uint8Array;
  /** A record as canonical JSON. */
  readonly line: (record: AuditRecord) => string;
  /** Ids of a log's numbers. */
  readonly idsOf: (log: string) => (number: number) => string;
  /** Nothing heard of the database for so long, and nothing is taken any more; nobody waits longer for a record. ms. */
  readonly staleAfterMs: number;
  /**
   * Set for a broker that serves, which one does at a time: told once where it has to wait for another to be gone. Absent:
   * several write side by side, each its own log.
   */
  readonly onWait?: () => void;
  /** Told why the database is lost, each time it is asked in vain; and with undefined that it is back. Must not throw. */
  onOutage(error: unknown): void;
}

/** The records of one broker, durable in a PostgreSQL database that other brokers may write to as well. */
export interface PostgresLog extends Recorder {
  /** The four characters every record id of this broker begins with. */
  readonly log: string;
  /** Place in the feed up to which everything of other brokers was told. */
  readonly seen: number;
  /** Why nothing is taken; undefined while all is well. */
  readonly failure: WayleaveError | undefined;
  /** Each record of this broker once, as soon as it is durable. A listener must not throw. Returns what stops it. */
  onRecord(listener: (record: AuditRecord) => void): () => void;
  /**
   * State that nobody here applied: what others recorded, and own records that turned out durable after whoever asked for
   * them had been told that nobody knows. In order, and before anything later is answered. A listener must not throw.
   */
  onNews(listener: (record: AuditRecord) => void): () => void;
  close(): Promise<void>;
}

/** A noted record waits so long for company; ms. */
const noteDelayMs = 20;
/** More than this not yet durable, and records are refused. */
const maxPendingBytes = 8 << 20;
const shortestPauseMs = 50;
const longestPauseMs = 1_000;

/**
 * Takes a log of the database, whose schema must be up to date, and accounts for what its last writer left in doubt.
 * Rejects with what the database or network said.
 */
export async function openPostgresLog(options: PostgresLogOptions): Promise<PostgresLog> {
  const name = `wayleave ${Buffer.from(options.random(6)).toString("hex")}`;
  let taken: TakenLog | undefined;
  const connection = keepConnection(options.address, name, async (client: Client) => {
    if (taken !== undefined) return retake(client, taken.name, name, options.onWait !== undefined);
    if (options.onWait !== undefined) await takeService(client, options.onWait);
    taken = await takeLog(client, options.random);
  });
  try {
    const head = await headOf(await connection.get());
    if (taken === undefined) throw new TypeError("a connection that is prepared has taken a log");
    const log = new FeedLog(options, taken, head, connection);
    await log.begin(taken);
    return log;
  } catch (error) {
    await connection.close();
    throw error;
  }
}

class FeedLog implements PostgresLog {
  readonly log: string;
  readonly #options: PostgresLogOptions;
  readonly #connection: KeptConnection;
  readonly #queue: FeedQueue;
  readonly #freshness: ReturnType<typeof trackFreshness>;
  readonly #recordListeners = new Set<(record: AuditRecord) => void>();
  readonly #newsListeners = new Set<(record: AuditRecord) => void>();
  #seen: number;
  /** What may or may not have been committed when the connection was lost. */
  #doubtful: readonly FeedUnit[] = [];
  #outage: unknown;
  #taken: WayleaveError | undefined;
  #closed = false;
  #writer: Promise<void> | undefined;
  #timer: NodeJS.Timeout | undefined;
  #unfollow: (() => Promise<void>) | undefined;

  constructor(options: PostgresLogOptions, taken: TakenLog, head: number, connection: KeptConnection) {
    const { clock, line, idsOf, staleAfterMs } = options;
    this.#options = options;
    this.#connection = connection;
    this.log = taken.name;
    const firstNumber = Math.max(taken.lastNumber, taken.reserved) + 1;
    this.#queue = createFeedQueue({ firstNumber, now: clock.now, line, idOf: idsOf(taken.name) });
    this.#freshness = trackFreshness(clock, staleAfterMs);
    this.#seen = head;
  }

  /** Accounts for what may be missing, reserves the first numbers and begins to follow the feed. */
  async begin({ lastNumber, reserved }: TakenLog): Promise<void> {
    if (reserved > lastNumber) this.#queue.gap(lastNumber, reserved - lastNumber);
    this.#queue.reserve();
    await this.settled();
    this.#unfollow = followFeed({
      address: this.#options.address,
      log: this.log,
      now: this.#options.clock.now,
      freshness: this.#freshness,
      seen: () => this.#seen,
      onFound: (foreign, head) => {
        this.#learn(foreign, head);
        this.#back();
      },
      onFault: (error) => this.#lost(error),
    });
  }

  get seen(): number {
    return this.#seen;
  }

  get failure(): WayleaveError | undefined {
    if (this.#closed) return stopping();
    return this.#taken ?? (this.#freshness.stale() ? unavailable(this.#outage) : undefined);
  }

  async append(events: readonly AuditEvent[]): Promise<readonly AuditRecord[]> {
    const closing = isClosing(events);
    if (this.#closed) throw stopping();
    if (this.#taken !== undefined) throw this.#taken;
    // What ends or narrows is kept, and recorded when the database is back.
    if (!closing) this.#refuse();
    const unit = this.#queue.add(events);
    this.#queue.reserve();
    return this.#wait(unit);
  }

  note(event: AuditEvent): string {
    this.#refuse();
    if (!this.#queue.mayNote) throw overloaded();
    const unit = this.#queue.add([event]);
    this.#queue.reserve();
    this.#timer ??= setTimeout(() => this.#start(), noteDelayMs);
    return unit.records[0]?.id ?? "";
  }

  async settled(): Promise<void> {
    if (this.failure !== undefined) throw this.failure;
    const last = this.#queue.last();
    if (last !== undefined) await this.#wait(last);
  }

  onRecord(listener: (record: AuditRecord) => void): () => void {
    this.#recordListeners.add(listener);
    return () => this.#recordListeners.delete(listener);
  }

  onNews(listener: (record: AuditRecord) => void): () => void {
    this.#newsListeners.add(listener);
    return () => this.#newsListeners.delete(listener);
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    if (this.failure === undefined) {
      this.#queue.end();
      await this.settled().catch(() => undefined); // what is not durable by now is accounted for at the next start
    }
    this.#closed = true;
    clearTimeout(this.#timer);
    await this.#connection.close();
    await Promise.all([this.#writer, this.#unfollow?.()]);
    this.#rejectAll(stopping());
  }

  #refuse(): void {
    if (this.failure !== undefined) throw this.failure;
    if (this.#queue.bytes > maxPendingBytes) throw overloaded();
  }

  /** Whoever waits too long hears that nobody knows. What is not recorded by then will not be, unless it ends or narrows. */
  async #wait(unit: FeedUnit): Promise<readonly AuditRecord[]> {
    const waiter = Promise.withResolvers<readonly AuditRecord[]>();
    unit.waiters.push(waiter);
    const timer = setTimeout(() => {
      unit.waiters.splice(unit.waiters.indexOf(waiter), 1);
      unit.abandoned ||= unit.waiters.length === 0;
      waiter.reject(unavailable(this.#outage));
    }, this.#options.staleAfterMs);
    this.#start();
    try {
      return await waiter.promise;
    } finally {
      clearTimeout(timer);
    }
  }

  #start(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#writer ??= this.#write().finally(() => {
      this.#writer = undefined;
      if (!this.#queue.empty && !this.#closed && this.#taken === undefined) this.#start();
    });
  }

  async #write(): Promise<void> {
    await new Promise(setImmediate); // what is asked in one turn of the event loop goes together
    for (let pause = shortestPauseMs; !this.#queue.empty && !this.#closed; ) {
      try {
        await this.#writeOnce();
        pause = shortestPauseMs;
      } catch (error) {
        this.#lost(error);
        if (this.#taken !== undefined) return;
        await new Promise((resolve) => setTimeout(resolve, pause));
        pause = Math.min(pause * 2, longestPauseMs);
      }
    }
  }

  async #writeOnce(): Promise<void> {
    const client = await this.#connection.get();
    await this.#settleDoubt(client);
    const units = this.#queue.batch();
    if (units.length === 0) return;
    const asked = this.#freshness.now();
    this.#doubtful = units;
    const written = await writeFeed(client, { log: this.log, units, after: this.#seen });
    this.#doubtful = [];
    this.#freshness.heardSince(asked);
    this.#announce(units, written);
    this.#back();
  }

  /** The earlier connection is gone for certain, so what of its last batch is there now is all that ever will be. */
  async #settleDoubt(client: Client): Promise<void> {
    if (this.#doubtful.length === 0) return;
    const numbers = await recordedOf(client, this.log, this.#doubtful);
    const recorded = this.#doubtful.filter(({ records }) => numbers.has(records[0]?.seq ?? 0));
    this.#doubtful = [];
    this.#announce(recorded, { foreign: [], head: this.#seen, conflicting: new Set() });
  }

  #announce(units: readonly FeedUnit[], { foreign, head, conflicting }: Written): void {
    this.#learn(foreign, head);
    this.#queue.remove(new Set(units));
    for (const unit of units) {
      if (conflicting.has(unit)) this.#refuseUnit(unit);
      else this.#announceUnit(unit);
    }
  }

  #refuseUnit({ records, waiters }: FeedUnit): void {
    this.#queue.gap((records[0]?.seq ?? 1) - 1, records.length);
    for (const { reject } of waiters) reject(conflict());
  }

  #announceUnit({ records, waiters, abandoned }: FeedUnit): void {
    for (const record of records) {
      if (record.kind === "audit.reserved") this.#queue.reserved(record.data.upto);
      if (abandoned) for (const listener of this.#newsListeners) listener(record);
    }
    for (const { resolve } of waiters) resolve(records);
    for (const listener of this.#recordListeners) for (const record of records) listener(record);
  }

  /** Each only once, whoever of writer and follower found it first. */
  #learn(foreign: readonly FeedRecord[], head: number): void {
    for (const { seq, record } of foreign) {
      if (seq <= this.#seen) continue;
      this.#seen = seq;
      for (const listener of this.#newsListeners) listener(record);
    }
    this.#seen = Math.max(this.#seen, head);
  }

  #lost(error: unknown): void {
    this.#connection.drop();
    if (error instanceof WayleaveError && error.code === "store_taken") {
      this.#taken = error;
      this.#rejectAll(error);
    }
    this.#outage = error;
    this.#options.onOutage(error);
  }

  #back(): void {
    if (this.#outage !== undefined) this.#options.onOutage(undefined);
    this.#outage = undefined;
  }

  #rejectAll(error: WayleaveError): void {
    for (const { waiters } of this.#queue.batch()) for (const { reject } of waiters) reject(error);
  }
}
