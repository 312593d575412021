import { closeSync, openSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { WayleaveError } from "../core/errors.ts";

/**
 * Takes a directory for this process alone and returns what gives it back. The lock is the operating system's, by way
 * of SQLite (Node has no flock): it goes with the process however that ends, so there is no stale lock to judge, and a
 * reused pid or a second container on the same volume cannot deceive it. Throws `journal_unavailable`.
 */
export function lockDirectory(dir: string): () => void {
  const path = join(dir, "journal.lock");
  closeSync(openSync(path, "a", 0o600));
  const lock = new DatabaseSync(path);
  try {
    lock.exec("BEGIN EXCLUSIVE");
  } catch (cause) {
    lock.close();
    const busy = cause instanceof Error && "errcode" in cause && cause.errcode === sqliteBusy;
    const because = busy
      ? "another Wayleave process has it open. Stop that one, or give this one another data directory"
      : "its file system cannot lock files. Give the broker a data directory on a local disk";
    throw new WayleaveError("journal_unavailable", `The journal in ${dir} cannot be used: ${because}.`, { cause });
  }
  return () => lock.close();
}

/** @see https://www.sqlite.org/rescode.html#busy */
const sqliteBusy = 5;
