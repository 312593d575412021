import type { Client, QueryConfig } from "pg";
import type { AuditRecord } from "../core/record.ts";
import type { FeedUnit } from "./feed-unit.ts";
import { entryRow, stateRow } from "./index-row.ts";
import { lockSpace, locks } from "./postgres-migrations.ts";

/** A record of another broker and its place in the feed. */
export interface FeedRecord {
  readonly seq: number;
  readonly record: AuditRecord;
}

export interface Written {
  /** Place of the last record that is durable now. */
  readonly head: number;
  /** State records that others wrote since `after`, in order: they were there before this batch. */
  readonly foreign: readonly FeedRecord[];
  /** Units with a subject token that was used already: they are not recorded. */
  readonly conflicting: ReadonlySet<FeedUnit>;
}

export interface FeedBatch {
  readonly log: string;
  readonly units: readonly FeedUnit[];
  /** Up to here this broker has seen what others wrote. */
  readonly after: number;
}

/** Notified after each batch with state; it only wakes whoever listens. */
export const channel = "wayleave_feed";

/**
 * Writes units in one transaction: their records, the sessions' lives and the used tokens. Places in the feed are given
 * under a lock that is held until the commit, so that nobody ever sees one before those below it. Rejects with what the
 * database or network said; unless it was the commit that failed, nothing was written then.
 */
export async function writeFeed(client: Client, { log, units, after }: FeedBatch): Promise<Written> {
  // Sent together: the server does one after the other, and the lock is the first.
  const [, head, foreign, conflicting] = await Promise.all([
    client.query(`begin isolation level read committed; select pg_advisory_xact_lock(${lockSpace}, ${locks.feed})`),
    headOf(client),
    readForeign(client, log, after),
    findConflicts(client, units),
  ]);
  const records = units.filter((unit) => !conflicting.has(unit)).flatMap((unit) => rowsOf(unit));
  const statements = [...insertions(log, head, records), { text: "commit" }];
  const results = await Promise.all(statements.map((statement) => client.query(statement)));
  // A transaction that had failed is rolled back by it, without an error.
  if (results.at(-1)?.command !== "COMMIT") throw new Error("the transaction was rolled back");
  return { head: head + records.length, foreign, conflicting };
}

/** Place of the last record; 0 where there is none. */
export async function headOf(client: Client): Promise<number> {
  const { rows } = await client.query<{ head: number }>("select coalesce(max(seq), 0) as head from entry");
  return rows[0]?.head ?? 0;
}

/** Number of a log's last record; 0 where it has none. */
export async function lastNumberOf(client: Client, log: string): Promise<number> {
  const text = "select coalesce(max(number), 0) as number from entry where log = $1";
  return (await client.query<{ number: number }>(text, [log])).rows[0]?.number ?? 0;
}

/** From now on a broker may take the log and go on after a number. */
export async function openLogRow(client: Client, log: string, number: number): Promise<void> {
  await client.query("insert into log values ($1, $2) on conflict do nothing", [log, number]);
}

/** Of units, the first numbers of those that are durable. */
export async function recordedOf(
  client: Client,
  log: string,
  units: readonly FeedUnit[],
): Promise<ReadonlySet<number>> {
  const numbers = units.map(({ records }) => records[0]?.seq ?? 0);
  const text = "select number from entry where log = $1 and number = any($2::bigint[])";
  const { rows } = await client.query<{ number: number }>(text, [log, numbers]);
  return new Set(rows.map(({ number }) => number));
}

/** State records of other logs after a place, in order. */
export async function readForeign(client: Client, log: string, after: number): Promise<readonly FeedRecord[]> {
  const { rows } = await client.query<{ seq: number; json: string }>(
    `select state.seq, record.json from state join record using (seq) join entry using (seq)
       where state.seq > $1 and entry.log <> $2 order by state.seq`,
    [after, log],
  );
  return rows.map(({ seq, json }) => ({ seq, record: JSON.parse(json) as AuditRecord }));
}

/** Subject tokens are good once, whichever broker they are brought to. */
async function findConflicts(client: Client, units: readonly FeedUnit[]): Promise<ReadonlySet<FeedUnit>> {
  const keysOf = (unit: FeedUnit) => unit.records.flatMap(tokenUse).map(({ key }) => key);
  const keys = units.flatMap(keysOf);
  if (keys.length === 0) return new Set();
  const { rows } = await client.query<{ key: string }>("select key from replay where key = any($1)", [keys]);
  const used = new Set(rows.map(({ key }) => key));
  return new Set(units.filter((unit) => keysOf(unit).some((key) => used.has(key))));
}

interface TokenUse {
  readonly key: string;
  readonly session: string;
  readonly until: number;
}

function tokenUse(record: AuditRecord): readonly TokenUse[] {
  if (record.kind !== "session.opened" && record.kind !== "session.renewed") return [];
  const { replay_key: key, replay_until: until } = record.data;
  return [{ key, session: record.session ?? "", until }];
}

interface Row {
  readonly record: AuditRecord;
  readonly json: string;
}

function rowsOf({ records, lines }: FeedUnit): readonly Row[] {
  return records.map((record, at) => ({ record, json: lines[at] ?? "" }));
}

const entryColumns = [
  ["time_ms", "bigint"],
  ["kind", "text"],
  ["session", "text"],
  ["job_id", "text"],
  ["project_id", "text"],
  ["project", "text"],
  ["target", "text"],
  ["effect", "text"],
  ["gateway", "text"],
] as const;

const insertEntries = `insert into entry (seq, log, number, ${entryColumns.map(([name]) => name).join(", ")})
  select seq, $1, number, ${entryColumns.map(([name]) => name).join(", ")}
  from unnest($2::bigint[], $3::bigint[], ${entryColumns.map(([, type], at) => `$${at + 4}::${type}[]`).join(", ")})
    as row (seq, number, ${entryColumns.map(([name]) => name).join(", ")})`;

const insertRecords = "insert into record select * from unnest($1::bigint[], $2::text[])";

const insertLives = `insert into life select * from unnest($1::text[], $2::text[], $3::integer[], $4::bigint[])
  on conflict (session) do update set job_id = coalesce(life.job_id, excluded.job_id),
    ended = greatest(life.ended, excluded.ended), matters_until = greatest(life.matters_until, excluded.matters_until)`;

/** In the order in which they are done. */
function insertions(log: string, head: number, rows: readonly Row[]): readonly QueryConfig[] {
  if (rows.length === 0) return [];
  const places = rows.map((_, at) => head + at + 1);
  const entries = rows.map(({ record }) => entryRow(record));
  const columns = entryColumns.map(([name]) => entries.map((entry) => storable(entry[name])));
  const reserved = Math.max(0, ...rows.map(({ record }) => (record.kind === "audit.reserved" ? record.data.upto : 0)));
  return [
    { name: "entry", text: insertEntries, values: [log, places, rows.map(({ record }) => record.seq), ...columns] },
    { name: "record", text: insertRecords, values: [places, rows.map(({ json }) => json)] },
    ...stateInsertions(places, rows),
    ...tokenInsertions(rows),
    ...(reserved > 0 ? [{ text: "update log set reserved = $2 where name = $1", values: [log, reserved] }] : []),
  ];
}

interface Life {
  readonly jobId: string | null;
  readonly ended: boolean;
  readonly until: number;
}

function stateInsertions(places: readonly number[], rows: readonly Row[]): readonly QueryConfig[] {
  const kept = rows.flatMap(({ record }, at) => {
    const state = stateRow(record);
    return state === undefined ? [] : [{ seq: places[at] ?? 0, state, jobId: entryRow(record).job_id }];
  });
  if (kept.length === 0) return [];
  const lives = new Map<string, Life>();
  for (const { state, jobId } of kept) {
    if (state.of !== "session") continue;
    const known = lives.get(state.session);
    lives.set(state.session, {
      jobId: known?.jobId ?? storable(jobId),
      ended: known?.ended === true || state.ended,
      until: Math.max(known?.until ?? 0, state.mattersUntil),
    });
  }
  const sessions = kept.map(({ state }) => (state.of === "session" ? state.session : null));
  const untils = kept.map(({ state }) => (state.of === "session" ? null : state.until));
  const each = [...lives.values()];
  return [
    {
      name: "state",
      text: "insert into state select * from unnest($1::bigint[], $2::text[], $3::bigint[])",
      values: [kept.map(({ seq }) => seq), sessions, untils],
    },
    {
      name: "life",
      text: insertLives,
      values: [
        [...lives.keys()],
        each.map(({ jobId }) => jobId),
        each.map(({ ended }) => (ended ? 1 : 0)),
        each.map(({ until }) => until),
      ],
    },
    { text: `notify ${channel}` },
  ];
}

function tokenInsertions(rows: readonly Row[]): readonly QueryConfig[] {
  const uses = rows.flatMap(({ record }) => tokenUse(record));
  if (uses.length === 0) return [];
  return [
    {
      name: "replay",
      text: "insert into replay select * from unnest($1::text[], $2::text[], $3::bigint[])",
      values: [uses.map(({ key }) => key), uses.map(({ session }) => session), uses.map(({ until }) => until)],
    },
  ];
}

/** PostgreSQL's text has no NUL. In JSON it is an escape; in what records are found by it becomes another character. */
function storable<T extends string | number | null>(value: T): T {
  return typeof value === "string" ? (value.replaceAll("\0", "\ufffd") as T) : value;
}
