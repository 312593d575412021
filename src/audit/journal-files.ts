import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { WayleaveError } from "../core/errors.ts";
import { encodeBase32 } from "../core/ids.ts";
import type { JournalEnd } from "./check-journal.ts";
import { syncDirectory } from "./segment-writer.ts";

const metaName = "journal.meta.json";
const reserveName = "journal.reserve";
const reserveBytes = 1 << 20;

/** Creates the journal's directory where it is missing, for its owner only. */
export function makeDirectory(dir: string): void {
  mkdirSync(dir, { recursive: true, mode: 0o700 });
}

/**
 * The log's four characters, which every record id of this directory carries; made once, with the directory. Throws
 * `journal_corrupt` where records exist but their log's name is gone.
 */
export function logName(dir: string, random: (bytes: number) => Uint8Array, hasRecords: boolean): string {
  const path = join(dir, metaName);
  if (existsSync(path)) {
    const log = logOf(readFileSync(path, "utf8"));
    if (log !== undefined) return log;
  } else if (!hasRecords) {
    const log = encodeBase32(random(3)).slice(0, 4);
    writeDurably(dir, metaName, Buffer.from(`${JSON.stringify({ v: 1, log })}\n`));
    return log;
  }
  throw new WayleaveError(
    "journal_corrupt",
    `${metaName} is missing or unreadable, and record ids cannot be made without it: restore it from a backup, or start with another data directory.`,
  );
}

function logOf(text: string): string | undefined {
  try {
    const { log }: { log?: unknown } = JSON.parse(text);
    return typeof log === "string" && /^[0-9a-hjkmnp-tv-z]{4}$/.test(log) ? log : undefined;
  } catch {
    return undefined; // said by the caller: the file is unreadable
  }
}

/** Sets disk space aside, so that ends can be recorded on a full disk. Throws `journal_unavailable` on a full one. */
export function makeReserve(dir: string): void {
  if (existsSync(join(dir, reserveName))) return;
  try {
    writeDurably(dir, reserveName, Buffer.alloc(reserveBytes));
  } catch (cause) {
    throw new WayleaveError(
      "journal_unavailable",
      `There is no room for the journal in ${dir}, not even to record the end of a session. Free some disk space, then start again.`,
      { cause },
    );
  }
}

/** Gives the space back to whoever writes next. False where it was used up already. */
export function spendReserve(dir: string): boolean {
  const path = join(dir, reserveName);
  if (!existsSync(path)) return false;
  rmSync(path);
  return true;
}

/** Removes what a crash left half written. */
export function removeTorn(dir: string, torn: NonNullable<JournalEnd["torn"]>): void {
  const path = join(dir, torn.segment);
  if (torn.offset === 0) rmSync(path);
  else truncateSync(path, torn.offset);
  syncDirectory(dir);
}

function writeDurably(dir: string, name: string, bytes: Buffer): void {
  const path = join(dir, `${name}.new`);
  const fd = openSync(path, "w", 0o600);
  try {
    for (let done = 0; done < bytes.length; ) done += writeSync(fd, bytes, done);
    fsyncSync(fd);
  } catch (error) {
    rmSync(path, { force: true });
    throw error;
  } finally {
    closeSync(fd);
  }
  renameSync(path, join(dir, name));
  syncDirectory(dir);
}
