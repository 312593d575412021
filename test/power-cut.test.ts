import { cpSync, existsSync, fstatSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { expect, test } from "vitest";
import { collect, decided, ended, testDirectory, testTime } from "../src/audit/journal.fake.ts";
import { type Journal, openJournal } from "../src/audit/journal.ts";
import { type Disk, disk } from "../src/audit/segment-writer.ts";
import { WayleaveError } from "../src/core/errors.ts";
import type { AuditEvent, AuditRecord } from "../src/core/record.ts";
import { openAuditIndex } from "../src/store/audit-index.ts";

/** What a disk was told, in order. A power cut may come after each. */
type Told =
  | { readonly what: "write"; readonly file: string; readonly position: number; readonly bytes: Buffer }
  | { readonly what: "sync"; readonly file: string }
  /** The journal promised this record, or gave out its number. */
  | { readonly what: "promised" | "noted"; readonly id: string };

/** A disk that remembers everything, and takes a write in parts. */
class RecordingDisk implements Disk {
  readonly told: Told[] = [];
  readonly #dir: string;
  readonly #names = new Map<number, string>();

  constructor(dir: string) {
    this.#dir = dir;
  }

  async write(fd: number, buffer: Buffer, offset: number, length: number, position: number): Promise<number> {
    const part = length > 700 ? length >> 1 : length;
    const bytes = Buffer.from(buffer.subarray(offset, offset + part));
    this.told.push({ what: "write", file: this.#nameOf(fd), position, bytes });
    return disk.write(fd, buffer, offset, part, position);
  }

  async sync(fd: number): Promise<void> {
    await disk.sync(fd);
    this.told.push({ what: "sync", file: this.#nameOf(fd) });
  }

  #nameOf(fd: number): string {
    const { ino } = fstatSync(fd);
    for (const name of readdirSync(this.#dir)) this.#names.set(statSync(join(this.#dir, name)).ino, name);
    return this.#names.get(ino) ?? "";
  }
}

/** What became of a write that was not synced. */
const fate = fc.oneof(
  fc.constant({ kind: "lost" } as const),
  fc.constant({ kind: "whole" } as const),
  /** Only its beginning arrived, to the byte. */
  fc.record({ kind: fc.constant("torn" as const), part: fc.double({ min: 0, max: 1, noNaN: true }) }),
  /** The file has its length already, and zeros for the rest. */
  fc.record({ kind: fc.constant("zeros" as const), part: fc.double({ min: 0, max: 1, noNaN: true }) }),
);

type Fate = typeof fate extends fc.Arbitrary<infer T> ? T : never;

const options = { clock: { now: () => testTime }, random: (bytes: number) => new Uint8Array(bytes).fill(7) };

/** Appends, notes, and appends in parallel, over several small segments. */
async function work(journal: Journal, told: Told[], steps: number): Promise<void> {
  const promise = async (events: readonly AuditEvent[]) => {
    for (const { id } of await journal.append(events)) told.push({ what: "promised", id });
  };
  for (let step = 0; step < steps; step++) {
    told.push({ what: "noted", id: journal.note(decided(`GET /${step}`)) });
    await Promise.all([promise([ended()]), promise([ended(), decided()])]);
  }
}

type Write = Extract<Told, { what: "write" }>;

/** What a file holds for certain, and what may have come to it since. */
interface FileState {
  readonly synced: Buffer;
  readonly pending: readonly Write[];
}

/** The folder as the cut left it: everything that was synced, and of the rest what fate wants. */
function afterCut(
  before: string,
  told: readonly Told[],
  fates: readonly Fate[],
): { readonly dir: string; readonly unsynced: boolean } {
  const dir = testDirectory();
  cpSync(before, dir, { recursive: true });
  const files = filesOf(before, told);
  for (const [name, file] of files) writeFileSync(join(dir, name), withFates(file, fates));
  return { dir, unsynced: [...files.values()].some(({ pending }) => pending.length > 0) };
}

function filesOf(before: string, told: readonly Told[]): ReadonlyMap<string, FileState> {
  const files = new Map<string, FileState>();
  for (const one of told) {
    if (one.what !== "write" && one.what !== "sync") continue;
    const path = join(before, one.file);
    const first = { synced: existsSync(path) ? readFileSync(path) : Buffer.alloc(0), pending: [] };
    const { synced, pending } = files.get(one.file) ?? first;
    if (one.what === "write") files.set(one.file, { synced, pending: [...pending, one] });
    else files.set(one.file, { synced: withFates({ synced, pending }, [{ kind: "whole" }]), pending: [] });
  }
  return files;
}

function withFates({ synced, pending }: FileState, fates: readonly Fate[]): Buffer {
  let content = synced;
  for (const [at, { position, bytes }] of pending.entries()) {
    const fate = fates[at % fates.length] ?? { kind: "lost" };
    if (fate.kind === "lost") break; // what follows in a file does not arrive before it
    const arrived = "part" in fate ? Math.floor(bytes.length * fate.part) : bytes.length;
    const left = Buffer.alloc(fate.kind === "zeros" ? bytes.length : arrived);
    bytes.copy(left, 0, 0, arrived);
    content = placed(content, position, left);
    if (fate.kind !== "whole") break;
  }
  return content;
}

function placed(content: Buffer, position: number, bytes: Buffer): Buffer {
  const whole = Buffer.alloc(Math.max(content.length, position + bytes.length));
  content.copy(whole);
  bytes.copy(whole, position);
  return whole;
}

/** Everything promised is there once; what was noted and is not is accounted for; it goes on, and no number is used twice. */
async function expectKept(dir: string, told: readonly Told[], withIndex: boolean): Promise<void> {
  const journal = await openJournal({ ...options, dir });
  const [again] = await journal.append([ended()]);
  const records = await collect(journal.replay(1));
  if (withIndex) await expectIndexed(dir, journal, records);
  await journal.close();
  const byId = new Map<string, AuditRecord>(records.map((record) => [record.id, record]));
  expect(byId.size).toBe(records.length);
  const promised = told.flatMap((one) => (one.what === "promised" ? [one.id] : []));
  expect(promised.filter((id) => !byId.has(id))).toEqual([]);
  const noted = told.flatMap((one) => (one.what === "noted" ? [one.id] : []));
  expect([...promised, ...noted]).not.toContain(again?.id);
  const gaps = records.flatMap((record) => (record.kind === "audit.gap" ? [record.data] : []));
  const lost = noted.filter((id) => !byId.has(id));
  if (lost.length > 0) expect(gaps.reduce((sum, { at_most }) => sum + at_most, 0)).toBeGreaterThanOrEqual(lost.length);
}

/** The index is its own file, which the cut may have left anywhere: behind, torn, or gone. */
async function expectIndexed(dir: string, journal: Journal, records: readonly AuditRecord[]): Promise<void> {
  const index = await openAuditIndex(join(dir, "index.sqlite"), journal);
  const indexed = await index.query({ limit: 100_000, order: "oldest_first" });
  await index.close();
  expect(indexed).toEqual(records);
}

/** `WAYLEAVE_POWER_CUTS=2000` for a long night. */
const numRuns = Number(process.env.WAYLEAVE_POWER_CUTS ?? 100);

test("a power cut at any moment loses nothing that the journal promised", async () => {
  const before = testDirectory();
  await (await openJournal({ ...options, dir: before })).close(); // its name and reserve are durable from the first start on
  const dir = testDirectory();
  cpSync(before, dir, { recursive: true });
  const recorder = new RecordingDisk(dir);
  const journal = await openJournal({ ...options, dir, segmentBytes: 1_500, disk: recorder });
  await work(journal, recorder.told, 12);
  const { told } = recorder;
  expect(new Set(told.flatMap((one) => (one.what === "write" ? [one.file] : []))).size).toBeGreaterThan(3);
  let cutShort = 0;
  await fc.assert(
    fc.asyncProperty(fc.nat(told.length), fc.array(fate, { minLength: 1, maxLength: 3 }), async (at, fates) => {
      const cut = afterCut(before, told.slice(0, at), fates);
      if (cut.unsynced) cutShort++;
      await expectKept(cut.dir, told.slice(0, at), false);
    }),
    { numRuns },
  );
  expect(cutShort).toBeGreaterThan(numRuns / 20);
  await journal.close();
});

test("what a cut garbled in the middle is never taken for the end of the journal", async () => {
  const before = testDirectory();
  await (await openJournal({ ...options, dir: before })).close();
  const dir = testDirectory();
  cpSync(before, dir, { recursive: true });
  const recorder = new RecordingDisk(dir);
  const journal = await openJournal({ ...options, dir, disk: recorder });
  await work(journal, recorder.told, 3);
  await journal.close();
  const found = afterCut(before, recorder.told, [{ kind: "whole" }]);
  const write = recorder.told.findLast((one) => one.what === "write" && one.bytes.length > 300);
  if (write?.what !== "write") throw new TypeError("something long was written");
  const path = join(found.dir, write.file);
  const content = readFileSync(path);
  content.fill(0, write.position + 50, write.position + 90); // a sector that never arrived, and later ones that did
  writeFileSync(path, content);
  const failure = await openJournal({ ...options, dir: found.dir }).catch((error: unknown) => error);
  expect(failure instanceof WayleaveError ? failure.code : failure).toBe("journal_corrupt");
});

test("a power cut leaves an index that is the journal again at the next start, wherever its own files were cut", async () => {
  const before = testDirectory();
  const journal = await openJournal({ ...options, dir: before });
  const index = await openAuditIndex(join(before, "index.sqlite"), journal);
  for (let step = 0; step < 8; step++) {
    const records = await journal.append([ended(), decided()]);
    await index.caughtUp(records.at(-1)?.seq ?? 0); // a transaction each
  }
  const copy = testDirectory();
  cpSync(before, copy, { recursive: true }); // as it lies there: the log of SQLite is not yet in its file
  await index.close();
  await journal.close();
  const wal = readFileSync(join(copy, "index.sqlite-wal"));
  expect(wal.length).toBeGreaterThan(10_000);
  await fc.assert(
    fc.asyncProperty(fc.nat(wal.length), fc.boolean(), async (length, zeros) => {
      const dir = testDirectory();
      cpSync(copy, dir, { recursive: true });
      rmSync(join(dir, "index.sqlite-shm"), { force: true }); // memory that the processes shared
      const left = Buffer.alloc(zeros ? wal.length : length);
      wal.copy(left, 0, 0, length);
      writeFileSync(join(dir, "index.sqlite-wal"), left);
      await expectKept(dir, [], true);
    }),
    { numRuns: Math.ceil(numRuns / 25) },
  );
});
