import type { Client } from "pg";
import { WayleaveError } from "../core/errors.ts";
import { encodeBase32 } from "../core/ids.ts";
import { lockSpace } from "./postgres-migrations.ts";

/** Logs are locked by name, in the space after that of everything else. */
const logLocks = lockSpace + 1;

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
      if (await tryLock(client, name)) return endOf(client, name);
    }
    const name = encodeBase32(random(3)).slice(0, 4);
    await client.query("insert into log values ($1, 0) on conflict do nothing", [name]);
    if (!rows.some((row) => row.name === name) && (await tryLock(client, name))) return endOf(client, name);
  }
}

async function endOf(client: Client, name: string): Promise<TakenLog> {
  const { rows } = await client.query<{ number: number; reserved: number }>(
    `select coalesce((select max(number) from entry where log = $1), 0) as number, reserved from log where name = $1`,
    [name],
  );
  return { name, lastNumber: rows[0]?.number ?? 0, reserved: rows[0]?.reserved ?? 0 };
}

async function tryLock(client: Client, name: string): Promise<boolean> {
  const text = "select pg_try_advisory_lock($1, hashtext($2)) as taken";
  const { rows } = await client.query<{ taken: boolean }>(text, [logLocks, name]);
  return rows[0]?.taken === true;
}

/** How often the lock of a connection that is being ended is asked for, and how many times; ms. */
const askEveryMs = 50;
const askTimes = 60;

/**
 * Takes the log again for a connection that replaces another of the same name, which is ended where the server has not
 * noticed yet that it is gone: afterwards nothing of it can still be committed. Throws `store_taken` where another
 * broker has taken the log meanwhile.
 */
export async function retakeLog(client: Client, log: string, connectionName: string): Promise<void> {
  for (let times = 0; !(await tryLock(client, log)); times++) {
    const { rows } = await client.query<{ ours: boolean }>(
      `select activity.application_name = $3 as ours from pg_locks join pg_stat_activity as activity using (pid)
         where locktype = 'advisory' and classid::bigint = $1 and objid::bigint = (hashtext($2)::bigint & 4294967295) and granted`,
      [logLocks, log, connectionName],
    );
    if (rows.some(({ ours }) => !ours)) {
      throw new WayleaveError(
        "store_taken",
        "Another broker took over this one's log while the database could not be reached. Restart this broker.",
      );
    }
    if (times === askTimes) throw new Error("the earlier connection does not end");
    await client.query(
      "select pg_terminate_backend(pid) from pg_stat_activity where application_name = $1 and pid <> pg_backend_pid()",
      [connectionName],
    );
    await new Promise((resolve) => setTimeout(resolve, askEveryMs));
  }
}
