import { closeSync, openSync } from "node:fs";
import { DatabaseSync } from "node:sqlite";
import { Kysely, sql } from "kysely";
import { entryRow, stateRow } from "./index-row.ts";
import { type IndexSchema, migrateToLatest } from "./migrations.ts";
import type { IndexedRecord, IndexPosition, KeptText, RecordFilter, StateRange, Store } from "./ports.ts";
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
        for (const table of ["entry", "record", "place", "state", "life", "position"] as const)
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
  const place = database.prepare("insert into place values (?, ?, ?, ?)");
  const state = database.prepare("insert into state values (?, ?, ?)");
  const life = database.prepare(
    `insert into life values (?, ?, ?, ?) on conflict (session) do update set job_id = coalesce(job_id, excluded.job_id),
       ended = max(ended, excluded.ended), matters_until = max(matters_until, excluded.matters_until)`,
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

async function query(db: Kysely<IndexSchema>, filter: RecordFilter): Promise<readonly KeptText[]> {
  const { job, limit } = filter;
  const from = matching(db, filter);
  if (job === undefined) return (await from.execute()).map(keptText);
  // By way of the job's sessions, so that no index by job has to be kept for every decision; one by one, so that a page
  // of a long session is not looked for among all of it.
  const sessions = await db.selectFrom("life").select("session").where("job_id", "=", job).execute();
  const parts = await Promise.all([
    from.where("entry.session", "is", null).where("entry.job_id", "=", job).execute(),
    ...sessions.map(({ session }) => from.where("entry.session", "=", session).execute()),
  ]);
  const direction = filter.order === "oldest_first" ? 1 : -1;
  return parts
    .flat()
    .sort((a, b) => (a.seq - b.seq) * direction)
    .slice(0, limit)
    .map(keptText);
}

/** Everything but the job. */
function matching(db: Kysely<IndexSchema>, filter: RecordFilter) {
  const { project, kinds, sinceMs, untilMs, before, after, subject } = filter;
  let found = texts(db).innerJoin("entry", "entry.seq", "record.seq");
  for (const column of ["session", "target", "kind", "effect", "gateway"] as const) {
    const wanted = filter[column];
    if (wanted !== undefined) found = found.where(`entry.${column}`, "=", wanted);
  }
  // As a literal: SQLite uses an index of some rows only where it can see that the rows are those.
  if (subject !== undefined) found = found.where("entry.kind", "=", sql.lit("nats.published"));
  if (kinds !== undefined) found = found.where("entry.kind", "in", kinds);
  if (project !== undefined) {
    found = found.where((or) => or.or([or("entry.project", "=", project), or("entry.project_id", "=", project)]));
  }
  if (sinceMs !== undefined) found = found.where("entry.time_ms", ">=", sinceMs);
  if (untilMs !== undefined) found = found.where("entry.time_ms", "<", untilMs);
  if (before !== undefined) found = found.where("entry.seq", "<", seqOfId(before) ?? 0);
  if (after !== undefined) found = found.where("entry.seq", ">", seqOfId(after) ?? Number.MAX_SAFE_INTEGER);
  return found.orderBy("entry.seq", filter.order === "oldest_first" ? "asc" : "desc").limit(filter.limit);
}

function texts(db: Kysely<IndexSchema>) {
  return db
    .selectFrom("record")
    .leftJoin("place", "place.seq", "record.seq")
    .select(["record.seq", "record.json", "place.segment", "place.offset", "place.length"]);
}

interface TextRow {
  readonly json: string;
  readonly segment: string | null;
  readonly offset: number | null;
  readonly length: number | null;
}

function keptText({ json, segment, offset, length }: TextRow): KeptText {
  return segment === null || offset === null || length === null
    ? { json }
    : { json, place: { segment, offset, length } };
}

async function get(db: Kysely<IndexSchema>, id: string): Promise<KeptText | undefined> {
  const seq = seqOfId(id);
  if (seq === undefined) return undefined;
  const row = await texts(db)
    .innerJoin("position", (join) => join.on("position.log", "=", id.slice(4, 8)))
    .where("record.seq", "=", seq)
    .executeTakeFirst();
  return row === undefined ? undefined : keptText(row);
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
