import { existsSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { Client } from "pg";
import type { Journal } from "../audit/journal.ts";
import { openJournal } from "../audit/journal.ts";
import { recordLine } from "../audit/record-line.ts";
import type { Clock } from "../core/clock.ts";
import { WayleaveError } from "../core/errors.ts";
import type { AuditRecord } from "../core/record.ts";
import { clientConfig, type DatabaseAddress } from "../store/database.ts";
import { feedUnit } from "../store/feed-unit.ts";
import { lastNumberOf, openLogRow, writeFeed } from "../store/feed-write.ts";

const batchRecords = 1_000;

/** Where a journal lies whose records are in a database now. */
const movedName = "journal.moved";

/**
 * Takes the records of a data folder's journal into the database, under the ids they have, and puts the journal aside.
 * Goes on where it was cut short. Does nothing without a journal. Throws `journal_corrupt` and `journal_unavailable`;
 * rejects with what the database or network said.
 */
export async function moveJournal(dataDir: string, address: DatabaseAddress, clock: Clock): Promise<void> {
  const dir = join(dataDir, "journal");
  if (!existsSync(dir)) return;
  const journal = await openJournal({ dir, clock, random: () => new Uint8Array(3) });
  const client = new Client(clientConfig(address, "wayleave move"));
  client.on("error", () => undefined); // said by the query that fails of it
  try {
    await client.connect();
    await copy(journal, client);
  } finally {
    await client.end().catch(() => undefined); // it is gone either way
    await journal.close();
  }
  renameSync(dir, join(dataDir, movedName));
  for (const suffix of ["", "-wal", "-shm"]) rmSync(join(dataDir, `index.sqlite${suffix}`), { force: true });
}

async function copy(journal: Journal, client: Client): Promise<void> {
  const { log } = journal;
  let last = await lastNumberOf(client, log);
  let batch: AuditRecord[] = [];
  const write = async () => {
    const units = batch.map((record) => feedUnit([record], [recordLine(record)]));
    await writeFeed(client, { log, units, after: Number.MAX_SAFE_INTEGER });
    last = batch.at(-1)?.seq ?? last;
    batch = [];
  };
  for await (const record of journal.replay(last + 1)) {
    batch.push(record);
    if (batch.length === batchRecords) await write();
  }
  if (batch.length > 0) await write();
  await openLogRow(client, log, last);
}

/** Throws `journal_unavailable` where the folder's records are in a database: without them, ended sessions and used tokens would be unknown. */
export function refuseMoved(dataDir: string): void {
  if (!existsSync(join(dataDir, movedName))) return;
  throw new WayleaveError(
    "journal_unavailable",
    `The records of ${dataDir} are in a PostgreSQL database now. Set \`store.postgres\` again, or start with another data folder.`,
  );
}
