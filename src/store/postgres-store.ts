import { Kysely, PostgresDialect, sql } from "kysely";
import { Pool } from "pg";
import { clientConfig, type DatabaseAddress } from "./database.ts";
import type { IndexSchema } from "./migrations.ts";
import type { RecordStore } from "./ports.ts";
import { type FeedSchema, migrateFeed } from "./postgres-migrations.ts";
import { seqOfId } from "./record-id.ts";
import { recordQueries, type TextQuery } from "./record-queries.ts";

/** Questions wait for each other beyond this; what is written has a connection of its own. */
const readers = 3;

/**
 * What is asked of the records of a PostgreSQL database. Connects when it is first asked; a connection that is lost fails
 * the questions that were on it, and the next one has another. Every promise rejects with what the database or network said.
 */
export function openPostgresStore(address: DatabaseAddress): RecordStore {
  const pool = new Pool({ ...clientConfig(address, "wayleave questions"), max: readers, idleTimeoutMillis: 10_000 });
  pool.on("error", () => undefined); // an idle connection that broke is replaced
  const db = new Kysely<FeedSchema>({ dialect: new PostgresDialect({ pool }) });
  // What is asked of the index's tables is asked of these: they have the same names and columns, and `place` is not asked for.
  const index = db as unknown as Kysely<IndexSchema>;
  return {
    ...recordQueries(index, { texts: textsOf(index), seqOf: (id) => seqOf(db, id), own: async () => true }),
    migrate: () => migrateFeed(db),
    close: () => db.destroy(),
  };
}

/** Every text is whole. */
function textsOf(db: Kysely<IndexSchema>): TextQuery {
  return db
    .selectFrom("record")
    .select(["record.seq", "record.json"])
    .select([
      sql<string | null>`null`.as("segment"),
      sql<number | null>`null`.as("offset"),
      sql<number | null>`null`.as("length"),
    ]);
}

async function seqOf(db: Kysely<FeedSchema>, id: string): Promise<number | undefined> {
  const number = seqOfId(id);
  if (number === undefined) return undefined;
  const entry = db.selectFrom("entry").select("seq").where("log", "=", id.slice(4, 8)).where("number", "=", number);
  return (await entry.executeTakeFirst())?.seq;
}
