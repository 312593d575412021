import { type Kysely, type SelectQueryBuilder, sql } from "kysely";
import type { IndexSchema } from "./migrations.ts";
import type { KeptState, KeptText, RecordFilter, RecordStore, StateRange } from "./ports.ts";

/** What differs between databases: where a record's text is, and where in the order its id stands. */
export interface RecordTables {
  /** `record`, with the places of texts that are not whole. */
  readonly texts: TextQuery;
  /** Where in the order a page that begins or ends with an id stands. Undefined for no id, or one that nobody can place. */
  seqOf(id: string): Promise<number | undefined>;
  /** False for ids of another log. */
  own(id: string): Promise<boolean>;
}

/** All that is asked of records, the same for every database. */
export function recordQueries(
  db: Kysely<IndexSchema>,
  tables: RecordTables,
): Pick<RecordStore, "query" | "get" | "stateRecords"> {
  return {
    query: (filter) => query(db, tables, filter),
    get: (id) => get(tables, id),
    stateRecords: (range) => stateRecords(db, range),
  };
}

interface TextRow {
  readonly seq: number;
  readonly json: string;
  readonly segment: string | null;
  readonly offset: number | null;
  readonly length: number | null;
}

export type TextQuery = SelectQueryBuilder<IndexSchema, "record", TextRow>;

async function query(
  db: Kysely<IndexSchema>,
  tables: RecordTables,
  filter: RecordFilter,
): Promise<readonly KeptText[]> {
  const { job, limit } = filter;
  const from = await matching(tables, filter);
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
async function matching({ texts, seqOf }: RecordTables, filter: RecordFilter) {
  const { project, kinds, sinceMs, untilMs, before, after, subject } = filter;
  let found = texts.innerJoin("entry", "entry.seq", "record.seq");
  for (const column of ["session", "target", "kind", "effect", "gateway"] as const) {
    const wanted = filter[column];
    if (wanted !== undefined) found = found.where(`entry.${column}`, "=", wanted);
  }
  // As a literal: SQLite uses an index of some rows only where it can see that the rows are those.
  if (subject !== undefined) found = found.where("entry.kind", "=", sql.lit("nats.published"));
  if (kinds !== undefined) {
    // SQLite takes an empty list, PostgreSQL does not.
    found = kinds.length > 0 ? found.where("entry.kind", "in", kinds) : found.where(sql<boolean>`1 = 0`);
  }
  if (project !== undefined) {
    found = found.where((or) => or.or([or("entry.project", "=", project), or("entry.project_id", "=", project)]));
  }
  if (sinceMs !== undefined) found = found.where("entry.time_ms", ">=", sinceMs);
  if (untilMs !== undefined) found = found.where("entry.time_ms", "<", untilMs);
  if (before !== undefined) found = found.where("entry.seq", "<", (await seqOf(before)) ?? 0);
  if (after !== undefined) found = found.where("entry.seq", ">", (await seqOf(after)) ?? Number.MAX_SAFE_INTEGER);
  return found.orderBy("entry.seq", filter.order === "oldest_first" ? "asc" : "desc").limit(filter.limit);
}

function keptText({ json, segment, offset, length }: TextRow): KeptText {
  return segment === null || offset === null || length === null
    ? { json }
    : { json, place: { segment, offset, length } };
}

async function get({ texts, seqOf, own }: RecordTables, id: string): Promise<KeptText | undefined> {
  const seq = await seqOf(id);
  if (seq === undefined || !(await own(id))) return undefined;
  const row = await texts.where("record.seq", "=", seq).executeTakeFirst();
  return row === undefined ? undefined : keptText(row);
}

async function stateRecords(db: Kysely<IndexSchema>, range: StateRange): Promise<readonly KeptState[]> {
  const { nowMs, afterSeq, uptoSeq, limit } = range;
  const open = db.selectFrom("life").select("session").where("ended", "=", 0);
  const late = db.selectFrom("life").select("session").where("matters_until", ">=", nowMs);
  return db
    .selectFrom("state")
    .innerJoin("record", "record.seq", "state.seq")
    .select(["state.seq", "record.json"])
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
}
