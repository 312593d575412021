import { WayleaveError } from "../core/errors.ts";
import { encodeNumber } from "../core/ids.ts";
import type { AuditEvent, AuditRecord } from "../core/record.ts";
import { type KeyChain, openKeyChain } from "./key-chain.ts";
import type { StoredKey } from "./key-file.ts";
import { KeyHistory } from "./key-history.ts";
import type { KeyClass } from "./key-life.ts";
import type { KeyRing } from "./keys.ts";

/** Where the process stops: at its n-th write from now, before or after that write became durable. */
export interface Crash {
  readonly at: number;
  readonly durable: boolean;
}

/** A data folder in memory: key file, journal and clock. The process on it can be stopped at any write. */
export class KeyFolder {
  readonly class: KeyClass;
  now = Date.parse("2026-11-24T09:30:00Z");
  readonly windowMs = 120_000;
  lifeMs = 300_000;
  /** How long a record takes to be durable. */
  recordMs = 0;
  file: readonly StoredKey[] | undefined;
  /** Every content the file ever had. */
  readonly backups: (readonly StoredKey[])[] = [];
  records: AuditRecord[] = [];
  readonly faults: unknown[] = [];
  /** What cannot be written, though the process goes on. */
  broken: { file?: boolean; journal?: boolean } = {};
  crash: Crash | undefined;
  #writes = 0;
  #process = 0;

  constructor(keyClass: KeyClass = "access-token") {
    this.class = keyClass;
  }

  /** Starts a process on what is durable; the one before, if any, is dead. */
  open(): Promise<KeyChain> {
    this.stop();
    const process = this.#process;
    const history = new KeyHistory();
    for (const record of this.records) history.apply(record);
    return openKeyChain({
      class: this.class,
      history: history.of(this.class),
      windowMs: this.windowMs,
      lifeMs: this.lifeMs,
      clock: { now: () => this.now },
      onFault: (error) => this.faults.push(error),
      recorder: {
        append: (events) => this.#write(process, () => this.#append(events)),
      },
      file: {
        read: async () => this.file,
        write: (keys) => this.#write(process, () => this.#save(keys)),
      },
    });
  }

  /** Whatever the process still does, none of it reaches the disk. */
  stop(): void {
    this.#process++;
    this.#writes = 0;
    this.crash = undefined;
  }

  /** Stops the process at a later write. */
  crashAt(crash: Crash): void {
    this.#writes = 0;
    this.crash = crash;
  }

  get crashed(): boolean {
    return this.crash !== undefined && this.#writes >= this.crash.at;
  }

  async #write<T>(process: number, effect: () => T): Promise<T> {
    const dead = process !== this.#process || this.crashed;
    this.#writes++;
    if (dead || (this.crashed && this.crash?.durable !== true)) throw new TypeError("the process is gone");
    const done = effect();
    await Promise.resolve();
    if (this.crashed) throw new TypeError("the process is gone");
    return done;
  }

  #save(keys: readonly StoredKey[]): void {
    if (this.broken.file === true) throw new WayleaveError("key_unavailable", "The disk is full.");
    this.file = structuredClone(keys) as readonly StoredKey[];
    this.backups.push(this.file);
  }

  #append(events: readonly AuditEvent[]): readonly AuditRecord[] {
    if (this.broken.journal === true) throw new WayleaveError("journal_unavailable", "The disk is full.");
    const written = events.map((event, at) => {
      const seq = this.records.length + at + 1;
      return { ...event, v: 1, id: `rec_test${encodeNumber(seq, 8)}`, seq, time: new Date(this.now).toISOString() };
    }) as readonly AuditRecord[];
    this.records.push(...written);
    this.now += this.recordMs;
    return written;
  }

  /** `kind kid` of every record, oldest first. */
  told(): readonly string[] {
    return this.records.map((record) => `${record.kind} ${"kid" in record.data ? record.data.kid : ""}`);
  }
}

/** A ring with one key of its own, nothing of which is on a disk. */
export async function testKeyRing(keyClass: KeyClass): Promise<KeyRing> {
  return (await new KeyFolder(keyClass).open()).ring;
}

/** What a promise came to: `done`, or the code of what it failed with. */
export function codeOf(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    () => "done",
    (error: unknown) => (error instanceof WayleaveError ? error.code : String(error)),
  );
}

export async function opened(): Promise<{ folder: KeyFolder; chain: KeyChain }> {
  const folder = new KeyFolder();
  return { folder, chain: await folder.open() };
}

export function states(chain: KeyChain): readonly string[] {
  return chain.list().map(({ state }) => state);
}

/** A chain whose second key has just taken over from the first. */
export async function rotated() {
  const { folder, chain } = await opened();
  const first = chain.ring.kid;
  await chain.prepare();
  folder.now += folder.windowMs;
  const { kid } = await chain.activate();
  return { folder, chain, first, second: kid };
}
