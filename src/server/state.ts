import { randomBytes } from "node:crypto";
import { statfs } from "node:fs/promises";
import { join } from "node:path";
import type { Health } from "../api/health.ts";
import { type Journal, openJournal } from "../audit/journal.ts";
import { recover } from "../audit/recover.ts";
import type { Clock } from "../core/clock.ts";
import type { Recorder } from "../core/record.ts";
import { type AuditIndex, openAuditIndex } from "../store/audit-index.ts";
import { refuseMoved } from "./move-journal.ts";
import { type StateFolds, stateFolds } from "./state-folds.ts";
import type { RecordReader } from "./surface.ts";

/** The journal, its index and the session table folded from them. */
export interface BrokerState extends StateFolds {
  readonly recorder: Recorder;
  readonly records: RecordReader;
  readonly health: Health;
  close(): Promise<void>;
}

/**
 * Opens `<data>/journal` and `<data>/index.sqlite` and replays what still matters into a session table, before anything
 * listens. Throws `journal_corrupt` or `journal_unavailable`; the index, being derived, is rebuilt where it is missing.
 */
export async function openState(dataDir: string, clock: Clock): Promise<BrokerState> {
  refuseMoved(dataDir);
  const journal = await openJournal({ dir: join(dataDir, "journal"), clock, random: (bytes) => randomBytes(bytes) });
  let index: AuditIndex | undefined;
  try {
    index = await openAuditIndex(join(dataDir, "index.sqlite"), journal);
    const { folds, apply } = stateFolds(clock);
    for await (const record of recover({ journal, index, now: clock.now() })) apply(record);
    folds.table.prune(clock.now());
    return { ...assemble(dataDir, journal, index), ...folds };
  } catch (error) {
    await index?.close();
    await journal.close();
    throw error;
  }
}

function assemble(dataDir: string, journal: Journal, index: AuditIndex): Omit<BrokerState, keyof StateFolds> {
  const disk = watchDisk(dataDir);
  return {
    recorder: journal,
    records: {
      query: (filter) => current(journal, () => index.query(filter)),
      get: (id) => current(journal, () => index.get(id)),
      follow: (listener) => journal.onRecord(listener),
      disagreements: (candidate) => current(journal, () => index.disagreements(candidate)),
    },
    health: {
      problems: () => (journal.failure === undefined ? [] : [journal.failure.message]),
      warnings: disk.warnings,
    },
    async close() {
      disk.stop();
      await index.close();
      await journal.close();
    },
  };
}

/** Reads after what was noted so far is durable, so that a decision can be explained as soon as it was made. */
async function current<T>(journal: Journal, read: () => Promise<T>): Promise<T> {
  await journal.settled().catch(() => undefined); // a journal that cannot write can still be read
  return read();
}

const diskCheckMs = 30_000;
const lowBytes = 512 * 1024 * 1024;

/** Looks at the free space now and then: a full disk is announced before it is one. */
function watchDisk(dataDir: string): { warnings(): readonly string[]; stop(): void } {
  let warnings: readonly string[] = [];
  const look = async () => {
    const { bavail, bsize } = await statfs(dataDir);
    const free = bavail * bsize;
    warnings =
      free < lowBytes
        ? [
            `${Math.round(free / 1024 / 1024)} MiB free for ${dataDir}; make room, or records stop and everything is refused`,
          ]
        : [];
  };
  const quietly = () => void look().catch(() => undefined); // the journal itself reports what truly fails
  quietly();
  const timer = setInterval(quietly, diskCheckMs);
  timer.unref();
  return { warnings: () => warnings, stop: () => clearInterval(timer) };
}
