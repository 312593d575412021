import { type Kysely, sql } from "kysely";
import { type Migration, Migrator } from "kysely/migration";
import type { Disagreement } from "./disagreement.ts";

/** The index of one journal, as Kysely sees it. Times are ms since the epoch. */
export interface IndexSchema {
  /** Narrow, so that looking through all of it stays quick; the text is beside it. */
  entry: {
    seq: number;
    time_ms: number;
    kind: string;
    session: string | null;
    job_id: string | null;
    project_id: string | null;
    project: string | null;
    target: string | null;
    effect: string | null;
    gateway: string | null;
  };
  record: { seq: number; json: string };
  /** Where the journal has the whole text of records that `record` has without their long list. */
  place: { seq: number; segment: string; offset: number; length: number };
  /** State records: of a session, or needed until a time (null: for ever). */
  state: { seq: number; session: string | null; until: number | null };
  /** How long each session's records are needed. */
  life: { session: string; job_id: string | null; ended: number; matters_until: number };
  /** Requests on which the active policy and a candidate differ, counted as they are taken in. */
  disagreement: Disagreement;
  /** One row. */
  position: { id: number; log: string; segment: string; offset: number; seq: number };
}

/** In order. A migration that was released is never changed. */
const migrations: Readonly<Record<string, Migration>> = {
  "001_index": {
    async up(db: Kysely<unknown>) {
      const tables = [
        sql`create table entry (seq integer primary key, time_ms integer not null, kind text not null, session text,
              job_id text, project_id text, project text, target text, effect text, gateway text)`,
        // Few: every other index is a random write for each record. The rest is found by looking through `entry`.
        sql`create index entry_session on entry (session, seq) where session is not null`,
        sql`create index entry_job on entry (job_id, seq) where session is null and job_id is not null`,
        sql`create table record (seq integer primary key, json text not null)`,
        sql`create table state (seq integer primary key, session text, until integer)`,
        sql`create index state_session on state (session, seq) where session is not null`,
        sql`create index state_until on state (until) where session is null`,
        sql`create table life (session text primary key, job_id text, ended integer not null, matters_until integer not null) without rowid`,
        sql`create index life_job on life (job_id)`,
        sql`create index life_open on life (session) where ended = 0`,
        sql`create index life_until on life (matters_until)`,
        sql`create table position (id integer primary key, log text not null, segment text not null,
              "offset" integer not null, seq integer not null)`,
      ];
      for (const table of tables) await table.execute(db);
    },
  },
  "002_place": {
    async up(db: Kysely<unknown>) {
      const tables = [
        sql`create table place (seq integer primary key, segment text not null, "offset" integer not null,
              length integer not null)`,
        // Who published to a subject is asked of these alone; no other record pays for it.
        sql`create index entry_published on entry (seq) where kind = 'nats.published'`,
      ];
      for (const table of tables) await table.execute(db);
    },
  },
  "003_disagreement": {
    async up(db: Kysely<unknown>) {
      await sql`create table disagreement (active text not null, candidate text not null, effect text not null,
              target text not null, role text not null, reason text not null, count integer not null,
              first_ms integer not null, last_ms integer not null, last_seq integer not null,
              primary key (candidate, active, effect, target, role, reason)) without rowid`.execute(db);
    },
  },
};

/** Brings a database to the newest schema. Throws what the database said. */
export async function migrateToLatest(db: Kysely<IndexSchema>): Promise<void> {
  const migrator = new Migrator({ db, provider: { getMigrations: async () => ({ ...migrations }) } });
  const { error } = await migrator.migrateToLatest();
  if (error !== undefined) throw error;
}
