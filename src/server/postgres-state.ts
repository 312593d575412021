import { randomBytes } from "node:crypto";
import { mkdirSync } from "node:fs";
import type { Logger } from "pino";
import { recordLine } from "../audit/record-line.ts";
import { recordIds } from "../audit/record-number.ts";
import type { StoreConfig } from "../config/config.ts";
import type { Clock } from "../core/clock.ts";
import { WayleaveError } from "../core/errors.ts";
import type { AuditRecord } from "../core/record.ts";
import { countDisagreements } from "../store/count-disagreements.ts";
import type { RecordFilter, RecordStore } from "../store/ports.ts";
import { openPostgresLog, type PostgresLog } from "../store/postgres-log.ts";
import { openPostgresStore } from "../store/postgres-store.ts";
import { wholeTexts } from "../store/whole-texts.ts";
import { moveJournal } from "./move-journal.ts";
import type { BrokerState } from "./state.ts";
import { type StateFolds, stateFolds } from "./state-folds.ts";

/**
 * The same state in a PostgreSQL database: session, used token and record are durable in one transaction. Brings the
 * schema up to date and replays what still matters, before anything listens. Throws `store_unavailable`.
 */
export async function openPostgresState(
  { postgres: { address, staleAfterMs } }: StoreConfig,
  deps: { readonly dataDir: string; readonly clock: Clock; readonly log: Logger },
): Promise<BrokerState> {
  mkdirSync(deps.dataDir, { recursive: true, mode: 0o700 });
  const where = `${address.host.startsWith("/") ? address.host : `${address.host}:${address.port}`}/${address.database}`;
  const store = openPostgresStore(address);
  let log: PostgresLog | undefined;
  try {
    await store.migrate();
    await moveJournal(deps.dataDir, address, deps.clock);
    log = await openPostgresLog({
      address,
      clock: deps.clock,
      random: (bytes) => randomBytes(bytes),
      line: recordLine,
      idsOf: recordIds,
      staleAfterMs,
      onWait: () => deps.log.warn({ database: where }, "another broker serves from this database; standing by"),
      onOutage: outageLog(deps.log, where),
    });
    return { ...assemble(store, log), ...(await foldState(store, log, deps.clock)) };
  } catch (error) {
    await log?.close();
    await store.close();
    throw error instanceof WayleaveError ? error : unusable(where, error);
  }
}

const statePage = 2_000;

/** Everything up to where the log began to follow, then what it hears. */
async function foldState(store: RecordStore, log: PostgresLog, clock: Clock): Promise<StateFolds> {
  const { folds, apply } = stateFolds(clock);
  const news: AuditRecord[] = [];
  let later = (record: AuditRecord): void => void news.push(record);
  const uptoSeq = log.seen;
  log.onNews((record) => later(record));
  for (let afterSeq = 0; ; ) {
    const page = await store.stateRecords({ nowMs: clock.now(), afterSeq, uptoSeq, limit: statePage });
    for (const { json } of page) apply(JSON.parse(json) as AuditRecord);
    const last = page.at(-1);
    if (last === undefined || page.length < statePage) break;
    afterSeq = last.seq;
  }
  for (const record of news) apply(record);
  later = apply;
  folds.table.prune(clock.now());
  return folds;
}

function assemble(store: RecordStore, log: PostgresLog): Omit<BrokerState, keyof StateFolds> {
  /** After what was noted so far is durable, so that a decision can be explained as soon as it was made. */
  const current = async <T>(read: () => Promise<T>): Promise<T> => {
    try {
      await log.settled();
      return await read();
    } catch (error) {
      throw error instanceof WayleaveError ? error : unusable("its address", error);
    }
  };
  const query = (filter: RecordFilter) =>
    current(async () => (await wholeTexts("", await store.query(filter), filter)).map(parse));
  return {
    recorder: log,
    records: {
      query,
      get: (id) =>
        current(async () => {
          const found = await store.get(id);
          return found === undefined ? undefined : parse(found.json);
        }),
      follow: (listener) => log.onRecord(listener),
      disagreements: (candidate) => countDisagreements(query, candidate),
    },
    health: {
      problems: () => (log.failure === undefined ? [] : [log.failure.message]),
      warnings: () => [],
    },
    async close() {
      await log.close();
      await store.close();
    },
  };
}

function parse(json: string): AuditRecord {
  return JSON.parse(json) as AuditRecord;
}

/** Once for each outage, and when it is over. */
function outageLog(log: Logger, where: string): (error: unknown) => void {
  let away = false;
  return (error) => {
    if (error !== undefined && !away)
      log.error({ err: error, database: where }, "the database gives no answer; it is asked again");
    if (error === undefined && away) log.info({ database: where }, "the database answers again");
    away = error !== undefined;
  };
}

function unusable(where: string, cause: unknown): WayleaveError {
  const code = cause instanceof Error && "code" in cause ? String(cause.code) : "no answer";
  return new WayleaveError(
    "store_unavailable",
    `The database at ${where} cannot be used (${code}). Check that it runs, \`store.postgres\`, and the role's rights.`,
    { cause },
  );
}
