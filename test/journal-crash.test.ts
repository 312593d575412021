import { spawn } from "node:child_process";
import { cpSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { expect, onTestFinished, test } from "vitest";
import { openJournal } from "../src/audit/journal.ts";
import type { AuditRecord } from "../src/core/record.ts";
import { openAuditIndex } from "../src/store/audit-index.ts";
import { seqOfId } from "../src/store/record-id.ts";

const writer = fileURLToPath(new URL("journal-crash-writer.ts", import.meta.url));

function directory(): string {
  const dir = mkdtempSync(join(tmpdir(), "wayleave-crash-"));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

interface Said {
  readonly what: string;
  readonly id: string;
  readonly word: string;
}

/** Runs a writer, kills it with -9 after it said so many lines, and resolves with all it said. */
async function writeUntilKilled(dataDir: string, round: number, afterLines: number): Promise<readonly Said[]> {
  const child = spawn(process.execPath, ["--disable-warning=ExperimentalWarning", writer, dataDir, String(round)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const said: Said[] = [];
  for await (const line of createInterface({ input: child.stdout })) {
    const [what = "", id = "", word] = line.split(" ");
    if (word !== undefined) said.push({ what, id, word }); // the last line may be cut
    if (said.length === afterLines) child.kill("SIGKILL");
  }
  return said;
}

/** What a start after the crash finds, in the journal and in the index. The crashed directory stays as it is. */
async function found(dataDir: string): Promise<{ journal: readonly AuditRecord[]; index: readonly AuditRecord[] }> {
  const copy = directory();
  cpSync(dataDir, copy, { recursive: true });
  const random = (bytes: number) => new Uint8Array(bytes);
  const journal = await openJournal({ dir: join(copy, "journal"), clock: { now: Date.now }, random });
  const records: AuditRecord[] = [];
  for await (const record of journal.replay(1)) records.push(record);
  const index = await openAuditIndex(join(copy, "index.sqlite"), journal);
  const indexed = await index.query({ limit: 1_000_000 });
  await index.close();
  await journal.close();
  return { journal: records, index: indexed.toReversed() };
}

function wordOf(record: AuditRecord): string | undefined {
  return record.kind === "session.ended" || record.kind === "decision" ? record.data.detail : undefined;
}

test("a broker killed twenty times loses no record it promised, doubles none, and accounts for every number it gave", async () => {
  const dataDir = directory();
  const said: Said[] = [];
  const moments = fc.sample(fc.integer({ min: 1, max: 600 }), { numRuns: 20, seed: 20 });
  for (const [round, afterLines] of moments.entries())
    said.push(...(await writeUntilKilled(dataDir, round, afterLines)));
  const { journal, index } = await found(dataDir);
  const promised = said.filter(({ what }) => what === "durable");
  expect(promised.length).toBeGreaterThan(1000);

  const byId = new Map(journal.map((record) => [record.id, record]));
  expect(byId.size).toBe(journal.length);
  for (const { id, word } of promised) expect([id, wordOf(byId.get(id) ?? ({} as AuditRecord))]).toEqual([id, word]);
  const words = journal.flatMap((record) => wordOf(record) ?? []);
  expect(new Set(words).size).toBe(words.length);

  const gaps = journal.flatMap((record) => (record.kind === "audit.gap" ? [record.data] : []));
  expect(gaps.length).toBeGreaterThan(0);
  const lost = said.filter(({ id, word }) => wordOf(byId.get(id) ?? ({} as AuditRecord)) !== word);
  for (const { id } of lost) {
    const seq = seqOfId(id) ?? 0;
    expect(byId.has(id)).toBe(false);
    expect(gaps.some(({ after_seq, at_most }) => seq > after_seq && seq <= after_seq + at_most)).toBe(true);
  }

  expect(index).toEqual(journal);
});
