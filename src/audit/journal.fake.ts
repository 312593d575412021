import { cpSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import type { AuditEvent, AuditRecord } from "../core/record.ts";
import { type Journal, type JournalOptions, openJournal } from "./journal.ts";
import { type Disk, disk } from "./segment-writer.ts";

/** A directory that goes with the test. */
export function testDirectory(): string {
  const dir = mkdtempSync(join(tmpdir(), "wayleave-journal-"));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

export const testTime = Date.parse("2026-11-24T09:30:12.114Z");

/** A journal that is closed when the test ends. Its clock stands still. */
export async function testJournal(options: Partial<JournalOptions> = {}): Promise<Journal> {
  const journal = await openJournal({
    dir: testDirectory(),
    clock: { now: () => testTime },
    random: (bytes) => new Uint8Array(bytes).fill(7),
    ...options,
  });
  onTestFinished(() => journal.close().catch(() => undefined)); // some tests break it
  return journal;
}

/** What a crash now would leave behind. */
export function afterCrash(journal: Pick<Journal, "dir">): string {
  const dir = testDirectory();
  cpSync(journal.dir, dir, { recursive: true });
  return dir;
}

export function ended(session = "ses_aaaaaaaaaaaaaaaa"): AuditEvent {
  return { kind: "session.ended", session, data: { reason: "client_end" } };
}

export function decided(operation = "GET /v1/health"): AuditEvent {
  const data = { gateway: "edge-1", target: "billing", operation, policy: "41c0", reason: "allowed" } as const;
  return { kind: "decision", data: { ...data, effect: "allow", outcome: "allow" } };
}

export const stopped: AuditEvent = { kind: "broker.stopped", data: {} };

/** Kinds the journal writes for itself. */
const ownKinds = new Set(["audit.reserved", "audit.gap"]);

export async function collect<T>(items: AsyncIterable<T>): Promise<readonly T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

export async function recordsOf(journal: Journal, fromSeq = 1): Promise<readonly AuditRecord[]> {
  const all = await collect(journal.replay(fromSeq));
  return all.filter(({ kind }) => !ownKinds.has(kind));
}

/** A real disk that counts, fails and stalls when told to. */
export class TestDisk implements Disk {
  writes = 0;
  syncs = 0;
  /** Error code of every write from now on. */
  failWrites: string | undefined;
  failSyncs: string | undefined;
  #stalled: PromiseWithResolvers<void> | undefined;

  /** Every sync from now on waits for `resume`. */
  stall(): void {
    this.#stalled = Promise.withResolvers();
  }

  resume(): void {
    this.#stalled?.resolve();
    this.#stalled = undefined;
  }

  async write(fd: number, buffer: Buffer, offset: number, length: number, position: number): Promise<number> {
    this.writes++;
    if (this.failWrites === undefined) return disk.write(fd, buffer, offset, length, position);
    await disk.write(fd, buffer, offset, length >> 1, position); // half of it arrives
    throw Object.assign(new Error("write failed"), { code: this.failWrites });
  }

  async sync(fd: number): Promise<void> {
    this.syncs++;
    await this.#stalled?.promise;
    if (this.failSyncs !== undefined) throw Object.assign(new Error("sync failed"), { code: this.failSyncs });
    return disk.sync(fd);
  }
}
