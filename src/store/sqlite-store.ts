import { closeSync, openSync } from "node:fs";
import { DatabaseSync } from "node:sqlite";
import { Kysely } from "kysely";
import { disagreementOf } from "./disagreement.ts";
import { entryRow, stateRow } from "./index-row.ts";
import { type IndexSchema, migrateToLatest } from "./migrations.ts";
import type { IndexedRecord, IndexPosition, Store } from "./ports.ts";
import { seqOfId } from "./record-id.ts";
import { recordQueries, type TextQuery } from "./record-queries.ts";
import { sqliteDialect } from "./sqlite-dialect.ts";

const pragmas = [
  "page_size = 8192",
  "journal_mode = WAL",
  "synchronous = FULL",
  "cache_size = -32768", // KiB
  "wal_autocheckpoint = 4000", // pages
];

const tables = ["entry", "record", "place", "state", "life"] as const;

/**
 * The index in one SQLite file (mode 0600), or in memory for `:memory:`. Every call blocks its thread while it runs, so
 * it lives in a worker.
 */
export function openSqliteStore(file: string): Store {
  if (file !== ":memory:") closeSync(openSync(file, "a", 0o600));
  const database = new DatabaseSync(file);
  for (const pragma of pragmas) database.exec(`pragma ${pragma}`);
  const db = new Kysely<IndexSchema>({ dialect: sqliteDialect(database) });
  let ingest: Ingest | undefined;
  return {
    ...recordQueries(db, { texts: textsOf(db), seqOf: async (id) => seqOfId(id), own: (id) => own(db, id) }),
    migrate: () => migrate(database, db),
    position: () => db.selectFrom("position").select(["log", "segment", "offset", "seq"]).executeTakeFirst(),
    ingest: async (records, position) => {
      ingest ??= prepareIngest(database);
      ingest(records, position);
    },
    disagreements: (candidate) =>
      db
        .selectFrom("disagreement")
        .selectAll()
        .where("candidate", "=", candidate)
        .orderBy("count", "desc")
        .orderBy("last_seq", "desc")
        .execute(),
    clear: () =>
      db.transaction().execute(async (all) => {
        for (const table of [...tables, "disagreement", "position"] as const) await all.deleteFrom(table).execute();
      }),
    close: () => db.destroy(),
  };
}

/** All of the schema or none of it: Kysely takes SQLite for a database that cannot, and a start may be cut short. */
async function migrate(database: DatabaseSync, db: Kysely<IndexSchema>): Promise<void> {
  database.exec("begin immediate");
  try {
    await migrateToLatest(db);
    database.exec("commit");
  } catch (error) {
    if (database.isTransaction) database.exec("rollback");
    throw error;
  }
}

type Ingest = (records: readonly IndexedRecord[], position: IndexPosition) => void;

/** The one hot path of the store, in plain SQL: everything in one transaction, or nothing. */
function prepareIngest(database: DatabaseSync): Ingest {
  const entry = database.prepare("insert into entry values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
  const text = database.prepare("insert into record values (?, ?)");
  const place = database.prepare("insert into place values (?, ?, ?, ?)");
  const state = database.prepare("insert into state values (?, ?, ?)");
  const life = database.prepare(
    `insert into life values (?, ?, ?, ?) on conflict (session) do update set job_id = coalesce(job_id, excluded.job_id),
       ended = max(ended, excluded.ended), matters_until = max(matters_until, excluded.matters_until)`,
  );
  const differ = database.prepare(
    `insert into disagreement values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) on conflict do update set count = count + excluded.count,
       first_ms = min(first_ms, excluded.first_ms), last_ms = excluded.last_ms, last_seq = excluded.last_seq`,
  );
  const move = database.prepare("insert or replace into position values (1, ?, ?, ?, ?)");
  const one = ({ record, json, place: at }: IndexedRecord) => {
    const row = entryRow(record);
    entry.run(
      row.seq,
      row.time_ms,
      row.kind,
      row.session,
      row.job_id,
      row.project_id,
      row.project,
      row.target,
      row.effect,
      row.gateway,
    );
    text.run(row.seq, json);
    if (at !== undefined) place.run(row.seq, at.segment, at.offset, at.length);
    const found = disagreementOf(record);
    if (found !== undefined) {
      const { active, candidate, effect, target, role, reason, count, first_ms, last_ms, last_seq } = found;
      differ.run(active, candidate, effect, target, role, reason, count, first_ms, last_ms, last_seq);
    }
    const kept = stateRow(record);
    if (kept?.of === "nobody") state.run(row.seq, null, kept.until);
    if (kept?.of !== "session") return;
    state.run(row.seq, kept.session, null);
    life.run(kept.session, row.job_id, kept.ended ? 1 : 0, kept.mattersUntil);
  };
  return (records, position) => {
    database.exec("begin immediate");
    try {
      for (const record of records) one(record);
      move.run(position.log, position.segment, position.offset, position.seq);
      database.exec("commit");
    } catch (error) {
      if (database.isTransaction) database.exec("rollback");
      throw error;
    }
  };
}

function textsOf(db: Kysely<IndexSchema>): TextQuery {
  const texts = db
    .selectFrom("record")
    .leftJoin("place", "place.seq", "record.seq")
    .select(["record.seq", "record.json", "place.segment", "place.offset", "place.length"]);
  return texts as unknown as TextQuery; // that `place` can be asked for as well is nobody's business
}

async function own(db: Kysely<IndexSchema>, id: string): Promise<boolean> {
  const position = await db.selectFrom("position").select("log").executeTakeFirst();
  return position?.log === id.slice(4, 8);
}
