import { closeSync, openSync } from "node:fs";
import { DatabaseSync } from "node:sqlite";
import { Kysely } from "kysely";
import { entryRow, stateRow } from "./index-row.ts";
import { type IndexSchema, migrateToLatest } from "./migrations.ts";
import type { IndexedRecord, IndexPosition, RecordFilter, StateRange, Store } from "./ports.ts";
import { seqOfId } from "./record-id.ts";
import { sqliteDialect } from "./sqlite-dialect.ts";

const pragmas = [
  "page_size = 8192",
  "journal_mode = WAL",
  "synchronous = FULL",
  "cache_size = -32768", // KiB
  "wal_autocheckpoint = 4000", // pages
];

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
    migrate: () => migrateToLatest(db),
    position: () => db.selectFrom("position").select(["log", "segment", "offset", "seq"]).executeTakeFirst(),
    ingest: async (records, position) => {
      ingest ??= prepareIngest(database);
      ingest(records, position);
    },
    query: (filter) => query(db, filter),
    get: (id) => get(db, id),
    stateRecords: (range) => stateRecords(db, range),
    clear: () =>
      db.transaction().execute(async (all) => {
        for (const table of ["entry", "record", "state", "life", "position"] as const)
          await all.deleteFrom(table).execute();
      }),
    close: () => db.destroy(),
  };
}

type Ingest = (records: readonly IndexedRecord[], position: IndexPosition) => void;

/** The one hot path of the store, in plain SQL: everything in one transaction, or nothing. */
function prepareIngest(database: DatabaseSync): Ingest {
  const entry = database.prepare("insert into entry values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
  const text = database.prepare("insert into record values (?, ?)");
  const state = database.prepare("insert into state values (?, ?, ?)");
  const life = database.prepare(
    `insert into life values (?, ?, ?, ?) on conflict (session) do update set job_id = coalesce(job_id, excluded.job_id),
       ended = max(ended, excluded.ended), matters_until = max(matters_until, excluded.matters_until)`,
  );
  const move = database.prepare("insert or replace into position values (1, ?, ?, ?, ?)");
  const one = ({ record, json }: IndexedRecord) => {
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

async function query(db: Kysely<IndexSchema>, filter: RecordFilter): Promise<readonly string[]> {
  const { job, project, sinceMs, untilMs, before } = filter;
  let found = db.selectFrom("entry").innerJoin("record", "record.seq", "entry.seq").select("record.json");
  for (const column of ["session", "target", "kind", "effect", "gateway"] as const) {
    const wanted = filter[column];
    if (wanted !== undefined) found = found.where(`entry.${column}`, "=", wanted);
  }
  if (job !== undefined) found = found.where("entry.seq", "in", seqsOfJob(db, job));
  if (project !== undefined) {
    found = found.where((or) => or.or([or("entry.project", "=", project), or("entry.project_id", "=", project)]));
  }
  if (sinceMs !== undefined) found = found.where("entry.time_ms", ">=", sinceMs);
  if (untilMs !== undefined) found = found.where("entry.time_ms", "<", untilMs);
  if (before !== undefined) found = found.where("entry.seq", "<", seqOfId(before) ?? 0);
  const rows = await found.orderBy("entry.seq", "desc").limit(filter.limit).execute();
  return rows.map((row) => row.json);
}

/** By way of the job's sessions, so that no index by job has to be kept for every decision. */
function seqsOfJob(db: Kysely<IndexSchema>, job: string) {
  const sessions = db.selectFrom("life").select("session").where("job_id", "=", job);
  const inSessions = db.selectFrom("entry").select("seq").where("session", "in", sessions);
  const outside = db.selectFrom("entry").select("seq").where("session", "is", null).where("job_id", "=", job);
  return inSessions.unionAll(outside);
}

async function get(db: Kysely<IndexSchema>, id: string): Promise<string | undefined> {
  const seq = seqOfId(id);
  if (seq === undefined) return undefined;
  const row = await db
    .selectFrom("record")
    .innerJoin("position", (join) => join.on("position.log", "=", id.slice(4, 8)))
    .select("record.json")
    .where("record.seq", "=", seq)
    .executeTakeFirst();
  return row?.json;
}

async function stateRecords(db: Kysely<IndexSchema>, range: StateRange): Promise<readonly string[]> {
  const { nowMs, afterSeq, uptoSeq, limit } = range;
  const open = db.selectFrom("life").select("session").where("ended", "=", 0);
  const late = db.selectFrom("life").select("session").where("matters_until", ">=", nowMs);
  const rows = await db
    .selectFrom("state")
    .innerJoin("record", "record.seq", "state.seq")
    .select("record.json")
    .where("state.seq", ">", afterSeq)
    .where("state.seq", "<=", uptoSeq)
    .where((or) =>
      or.or([
        or("state.session", "in", open.union(late)),
        or.and([
          or("state.session", "is", null),
          or.or([or("state.until", "is", null), or("state.until", ">=", nowMs)]),
        ]),
      ]),
    )
    .orderBy("state.seq")
    .limit(limit)
    .execute();
  return rows.map((row) => row.json);
}
