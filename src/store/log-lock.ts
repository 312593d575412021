import type { Client } from "pg";
import { WayleaveError } from "../core/errors.ts";
import { encodeBase32 } from "../core/ids.ts";
import { lastNumberOf, openLogRow } from "./feed-write.ts";
import { lockSpace, locks } from "./postgres-migrations.ts";

/** Two numbers, as PostgreSQL names advisory locks. */
type LockKey = readonly [space: number, key: number];

/** Logs are locked by name, in the space after that of everything else. */
const logKey = (name: string): LockKey => [lockSpace + 1, Buffer.from(name).readInt32BE()];

/** Held by the one broker that serves. */
const servingKey: LockKey = [lockSpace, locks.serving];

/** A log that is this connection's alone for as long as the connection lives. */
export interface TakenLog {
  readonly name: string;
  /** Number of its last record; 0 for a new one. */
  readonly lastNumber: number;
  /** Numbers up to here may have been given out. */
  readonly reserved: number;
}

/** Takes a log that nobody writes to, so that what its last writer left in doubt is accounted for; else begins a new one. */
export async function takeLog(client: Client, random: (bytes: number) => Uint8Array): Promise<TakenLog> {
  for (;;) {
    const { rows } = await client.query<{ name: string }>("select name from log order by name");
    for (const { name } of rows) {
      if (await tryLock(client, logKey(name))) return endOf(client, name);
    }
    const name = encodeBase32(random(3)).slice(0, 4);
    await openLogRow(client, name, 0);
    if (!rows.some((row) => row.name === name) && (await tryLock(client, logKey(name)))) return endOf(client, name);
  }
}

async function endOf(client: Client, name: string): Promise<TakenLog> {
  const { rows } = await client.query<{ reserved: number }>("select reserved from log where name = $1", [name]);
  return { name, lastNumber: await lastNumberOf(client, name), reserved: rows[0]?.reserved ?? 0 };
}

async function tryLock(client: Client, key: LockKey): Promise<boolean> {
  const { rows } = await client.query<{ taken: boolean }>("select pg_try_advisory_lock($1, $2) as taken", [...key]);
  return rows[0]?.taken === true;
}

/** How often a broker that stands by looks whether the other is gone, ms. */
const standByMs = 500;

/** Resolves when this connection's broker is the one that serves. Tells `onWait` once, where another does for now. */
export async function takeService(client: Client, onWait: () => void): Promise<void> {
  for (let told = false; !(await tryLock(client, servingKey)); told = true) {
    if (!told) onWait();
    await new Promise((resolve) => setTimeout(resolve, standByMs));
  }
}

/** How often the lock of a connection that is being ended is asked for, and how many times; ms. */
const askEveryMs = 50;
const askTimes = 60;

/**
 * Takes service and log again for a connection that replaces another of the same name, which is ended where the server has
 * not noticed yet that it is gone: afterwards nothing of it can still be committed. Throws `store_taken` where another
 * broker has them meanwhile.
 */
export async function retake(client: Client, log: string, connectionName: string, serves: boolean): Promise<void> {
  for (const key of serves ? [servingKey, logKey(log)] : [logKey(log)]) {
    for (let times = 0; !(await tryLock(client, key)); times++) {
      await refuseTaken(client, key, connectionName);
      if (times === askTimes) throw new Error("the earlier connection does not end");
      await client.query(
        "select pg_terminate_backend(pid) from pg_stat_activity where application_name = $1 and pid <> pg_backend_pid()",
        [connectionName],
      );
      await new Promise((resolve) => setTimeout(resolve, askEveryMs));
    }
  }
}

async function refuseTaken(client: Client, key: LockKey, connectionName: string): Promise<void> {
  const { rows } = await client.query<{ ours: boolean }>(
    `select activity.application_name = $3 as ours from pg_locks join pg_stat_activity as activity using (pid)
       where locktype = 'advisory' and classid::bigint = $1 and objid::bigint = ($2::bigint & 4294967295) and granted`,
    [...key, connectionName],
  );
  if (rows.every(({ ours }) => ours)) return;
  throw new WayleaveError(
    "store_taken",
    "Another broker took over while the database could not be reached, and this one may allow nothing any more. Restart it: it stands by then.",
  );
}
