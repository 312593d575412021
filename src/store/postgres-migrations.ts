import { type Kysely, sql } from "kysely";
import { type Migration, Migrator } from "kysely/migration";
import type { IndexSchema } from "./migrations.ts";

/**
 * Records on PostgreSQL, as Kysely sees them: the index's tables, where `seq` is the record's place in the feed, which
 * all logs share. Times are ms since the epoch.
 */
export interface FeedSchema extends Omit<IndexSchema, "position" | "place" | "entry"> {
  /** `log` and `number` are what the record's id says. */
  entry: IndexSchema["entry"] & { log: string; number: number };
  /** The subject tokens that were used, until they expire. */
  replay: { key: string; session: string; until: number };
  /** One for each broker that writes here: its numbers up to `reserved` may have been given out. */
  log: { name: string; reserved: number };
}

/** In order. A migration that was released is never changed. */
const migrations: Readonly<Record<string, Migration>> = {
  "001_feed": {
    async up(db: Kysely<unknown>) {
      const tables = [
        sql`create table entry (seq bigint primary key, log text not null, number bigint not null, time_ms bigint not null,
              kind text not null, session text, job_id text, project_id text, project text, target text, effect text,
              gateway text, unique (log, number))`,
        sql`create index entry_session on entry (session, seq) where session is not null`,
        sql`create index entry_job on entry (job_id, seq) where session is null and job_id is not null`,
        sql`create index entry_published on entry (seq) where kind = 'nats.published'`,
        sql`create table record (seq bigint primary key, json text not null)`,
        sql`create table state (seq bigint primary key, session text, until bigint)`,
        sql`create index state_session on state (session, seq) where session is not null`,
        sql`create index state_until on state (until) where session is null`,
        sql`create table life (session text primary key, job_id text, ended integer not null, matters_until bigint not null)`,
        sql`create index life_job on life (job_id)`,
        sql`create index life_open on life (session) where ended = 0`,
        sql`create index life_until on life (matters_until)`,
        sql`create table replay (key text primary key, session text not null, until bigint not null)`,
        sql`create index replay_until on replay (until)`,
        sql`create table log (name text primary key, reserved bigint not null)`,
      ];
      for (const table of tables) await table.execute(db);
    },
  },
};

/** Any number that nothing else in the database locks: "wayl" as bytes. */
export const lockSpace = 0x7761796c;

/** What is locked in that space. */
export const locks = { migration: 1, feed: 2, serving: 3 } as const;

/**
 * Brings a database to the newest schema, under a lock that is held until it is done: of brokers that start at once, one
 * does it. Throws what the database said.
 */
export async function migrateFeed(db: Kysely<FeedSchema>): Promise<void> {
  await db.connection().execute(async (alone) => {
    await sql`select pg_advisory_lock(${sql.lit(lockSpace)}, ${sql.lit(locks.migration)})`.execute(alone);
    try {
      const migrator = new Migrator({ db: alone, provider: { getMigrations: async () => ({ ...migrations }) } });
      const { error } = await migrator.migrateToLatest();
      if (error !== undefined) throw error;
    } finally {
      await sql`select pg_advisory_unlock(${sql.lit(lockSpace)}, ${sql.lit(locks.migration)})`.execute(alone);
    }
  });
}
