import { randomBytes } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { Client } from "pg";
import { pino } from "pino";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { recordLine } from "../src/audit/record-line.ts";
import { recordIds } from "../src/audit/record-number.ts";
import type { AuditEvent, AuditRecord } from "../src/core/record.ts";
import { openPostgresState } from "../src/server/postgres-state.ts";
import { openState } from "../src/server/state.ts";
import { clientConfig, type DatabaseAddress } from "../src/store/database.ts";
import { feedUnit } from "../src/store/feed-unit.ts";
import { writeFeed } from "../src/store/feed-write.ts";
import { openPostgresLog, type PostgresLog, type PostgresLogOptions } from "../src/store/postgres-log.ts";
import { openPostgresStore } from "../src/store/postgres-store.ts";
import { stateEvent } from "../src/store/store.fake.ts";
import { storeContract } from "../src/store/store-contract.fake.ts";
import { startCuttingRelay } from "./cutting-relay.ts";
import { type PostgresServer, startPostgres } from "./postgres-server.ts";

let server: PostgresServer;
let address: DatabaseAddress;
beforeAll(async () => {
  server = await startPostgres({ fsync: "off" }); // nothing is killed here
  const { name, password } = await server.createDatabase("shared");
  address = { host: "127.0.0.1", port: server.port, database: name, user: name, password };
  const stores = [1, 2, 3].map(() => openPostgresStore(address));
  await Promise.all(stores.map((store) => store.migrate())); // one of them does
  for (const store of stores) await store.close();
});
afterAll(() => server.remove());

const empty = () => server.admin("shared", "truncate entry, record, state, life, replay, log");

describe("PostgreSQL", () => {
  storeContract(async () => {
    await empty();
    return {
      store: openPostgresStore(address),
      async write(records) {
        const client = new Client(clientConfig(address, "a test"));
        await client.connect();
        try {
          const units = records.map(({ record, json }) => feedUnit([record], [json]));
          await writeFeed(client, { log: "abcd", units, after: 0 });
        } finally {
          await client.end();
        }
      },
    };
  });
});

const clock = { now: Date.now, monotonic: () => performance.now() };

async function openLog(more: Partial<PostgresLogOptions> = {}): Promise<PostgresLog> {
  const options = { address, clock, line: recordLine, idsOf: recordIds, staleAfterMs: 2_000, ...more };
  const log = await openPostgresLog({ random: (bytes) => randomBytes(bytes), onOutage: () => undefined, ...options });
  onTestFinished(() => log.close());
  return log;
}

/** Everything that is recorded, in the feed's order. */
async function allRecords(): Promise<readonly AuditRecord[]> {
  const rows = await server.admin("shared", "select json from record order by seq");
  return rows.map(({ json }) => JSON.parse(String(json)) as AuditRecord);
}

const session = (at: number) => `ses_${String(at).padStart(16, "0")}`;

/** A session of its own, with a token of its own. */
function opened(at: number, token = `token ${at}`): AuditEvent {
  const event = stateEvent.opened("a", 1e15, 1e15);
  if (event.kind !== "session.opened") throw new TypeError("it opens");
  return { ...event, session: session(at), data: { ...event.data, replay_key: token } };
}

const ended = (at: number): AuditEvent => ({
  kind: "session.ended",
  session: session(at),
  data: { reason: "client_end" },
});

describe("the log", () => {
  test("is taken over by whoever comes when its broker is gone, and numbers go on after a gap for what is in doubt", async () => {
    await empty();
    const first = await openLog();
    const [record] = await first.append([opened(1)]);
    await first.close();
    const second = await openLog();
    expect(second.log).toBe(first.log);
    const [next] = await second.append([opened(2)]);
    expect(next?.seq).toBeGreaterThan(record?.seq ?? 0);
    expect((await allRecords()).filter(({ kind }) => kind === "audit.gap")).toEqual([]);
  });

  test("of each of two brokers is its own, and each hears of the other's state once, in order", async () => {
    await empty();
    const [a, b] = [await openLog(), await openLog()];
    expect(a.log).not.toBe(b.log);
    const heard: string[] = [];
    const all = Promise.withResolvers<void>();
    b.onNews((record) => {
      heard.push(`${record.kind} ${record.session}`);
      if (record.session === session(20) && record.kind === "session.ended") all.resolve();
    });
    const said: string[] = [];
    for (let at = 1; at <= 20; at++) {
      for (const event of [opened(at), ended(at)]) {
        said.push(`${event.kind} ${event.session}`);
        await a.append([event]);
        if (at % 3 === 0) await b.append([opened(100 + at * 2 + (event.kind === "session.ended" ? 1 : 0))]);
      }
    }
    await all.promise;
    expect(heard).toEqual(said);
  });

  test("tells the other broker at once, without waiting for its next look", async () => {
    await empty();
    const [a, b] = [await openLog(), await openLog()];
    const began = performance.now();
    for (let at = 1; at <= 20; at++) {
      const told = Promise.withResolvers<void>();
      const unfollow = b.onNews(() => told.resolve());
      await a.append([opened(at)]);
      await told.promise;
      unfollow();
    }
    expect(performance.now() - began).toBeLessThan(10_000); // by itself it looks once a second
  });

  test("takes a token once, whichever of two brokers it is brought to, and everything else of the batch", async () => {
    await empty();
    const [a, b] = [await openLog(), await openLog()];
    const uses = Array.from({ length: 30 }, (_, at) => [
      a.append([opened(at, `used ${at}`)]),
      b.append([opened(1000 + at, `used ${at}`)]),
    ]).flat();
    const outcomes = await Promise.allSettled([...uses, a.append([opened(5000)])]);
    const refused = outcomes.flatMap((outcome) => (outcome.status === "rejected" ? [outcome.reason.code] : []));
    expect(refused).toEqual(Array(30).fill("store_conflict"));
    const rows = await server.admin("shared", "select key, session from replay");
    expect(rows.length).toBe(31);
    const recorded = (await allRecords()).filter(({ kind }) => kind === "session.opened");
    expect(recorded.length).toBe(31);
    expect(outcomes.at(-1)?.status).toBe("fulfilled");
  });

  test("gives places in the feed in the order of commits: nobody ever sees one before those below it", async () => {
    await empty();
    const faults: unknown[] = [];
    const onOutage = (error: unknown) => void (error !== undefined && faults.push(error));
    const logs = [await openLog({ onOutage }), await openLog({ onOutage }), await openLog({ onOutage })];
    let writing = true;
    const reader = (async () => {
      let [head, count] = [0, 0];
      while (writing) {
        const [row] = await server.admin("shared", "select max(seq)::int as head, count(*)::int as count from entry");
        [head, count] = [Number(row?.head), Number(row?.count)];
        expect(count).toBe(head);
      }
      return count;
    })();
    const many = Array.from({ length: 60 }, (_, at) => logs.map((log, which) => log.append([opened(at * 10 + which)])));
    await Promise.all(many.flat());
    writing = false;
    expect(await reader).toBeGreaterThan(0);
    expect(faults).toEqual([]); // without the lock two would want one place
  });

  test("takes a record back that cannot be JSON, and what came with it", async () => {
    await empty();
    const log = await openLog();
    const bad = {
      kind: "session.ended",
      session: "x",
      data: { reason: "client_end", detail: 1n as unknown as string },
    };
    await expect(log.append([opened(1), bad as AuditEvent])).rejects.toThrow();
    await log.append([opened(2)]);
    const sessions = (await allRecords()).flatMap((record) => record.session ?? []);
    expect(sessions).toEqual([session(2)]);
  });
});

describe("the state of a broker", () => {
  const log = pino({ level: "silent" });
  const store = () => ({ postgres: { address, staleAfterMs: 2_000 } });

  test("moves from the data folder with every id, session, token and tombstone, once", async () => {
    await empty();
    const dataDir = mkdtempSync(join(tmpdir(), "wayleave-move-"));
    onTestFinished(() => rmSync(dataDir, { recursive: true }));
    const before = await openState(dataDir, clock);
    for (let at = 1; at <= 30; at++) await before.recorder.append([opened(at)]);
    const over = await before.recorder.append([ended(7), stateEvent.over(1e15)]);
    await before.close();
    for (const round of [1, 2]) {
      const after = await openPostgresState(store(), { dataDir, clock, log });
      expect([...after.table.all()].length).toBe(29 + round);
      expect(after.table.find(session(7))?.view.state).toBe("ended");
      expect(after.table.find(session(8))?.view.state).toBe("active");
      expect(after.table.replay("token 8")?.sessionId).toBe(session(8));
      expect(after.table.tombstone("gitlab", "1042", "7712")?.status).toBe("success");
      expect(await after.records.get(over[0]?.id ?? "")).toEqual(over[0]);
      const [next] = await after.recorder.append([opened(100 + round)]);
      expect(next?.id.slice(0, 8)).toBe(over[0]?.id.slice(0, 8));
      await after.recorder.append([ended(100 + round)]);
      await after.close();
    }
    await expect(openState(dataDir, clock)).rejects.toMatchObject({ code: "journal_unavailable" });
  });

  test("knows no session after what the guide says of a restore, and takes no token again", async () => {
    await empty();
    const dataDir = mkdtempSync(join(tmpdir(), "wayleave-restore-"));
    onTestFinished(() => rmSync(dataDir, { recursive: true }));
    const before = await openPostgresState(store(), { dataDir, clock, log });
    await before.recorder.append([opened(1), stateEvent.over(1e15), stateEvent.pinned]);
    await before.close();
    const guide = readFileSync(new URL("../docs/guides/postgresql.md", import.meta.url), "utf8");
    const [, sql = ""] = /```sql\n(begin;[^`]*)```/.exec(guide) ?? [];
    await server.admin("shared", sql);
    const after = await openPostgresState(store(), { dataDir, clock, log });
    expect([...after.table.all()]).toEqual([]);
    expect(after.table.tombstone("gitlab", "1042", "7712")).toBeDefined();
    expect(after.table.pin("gitlab", "acme/shop")).toBe("1042");
    await expect(after.recorder.append([opened(2, "token 1")])).rejects.toMatchObject({ code: "store_conflict" });
    await after.close();
  });

  test("is one broker's at a time: another stands by, and takes over with every session", async () => {
    await empty();
    const dirs = [1, 2].map(() => mkdtempSync(join(tmpdir(), "wayleave-standby-")));
    onTestFinished(() => {
      for (const dir of dirs) rmSync(dir, { recursive: true });
    });
    const first = await openPostgresState(store(), { dataDir: dirs[0] ?? "", clock, log });
    await first.recorder.append([opened(1), opened(2), ended(1)]);
    const standing = Promise.withResolvers<void>();
    const told = pino({}, { write: (line: string) => void (line.includes("standing by") && standing.resolve()) });
    const second = openPostgresState(store(), { dataDir: dirs[1] ?? "", clock, log: told });
    await Promise.race([standing.promise, second.then(() => Promise.reject(new Error("two serve")))]);
    await first.recorder.append([ended(2)]);
    await first.close();
    const { table, close, recorder } = await second;
    expect([1, 2].map((at) => table.find(session(at))?.view.state)).toEqual(["ended", "ended"]);
    await expect(recorder.append([opened(3, "token 1")])).rejects.toMatchObject({ code: "store_conflict" });
    await close();
  });
});

describe("a connection that breaks in mid-transaction", () => {
  const seed = Number(process.env.WAYLEAVE_POSTGRES_SEED ?? 5);
  const numRuns = Number(process.env.WAYLEAVE_POSTGRES_TRIALS ?? 4) * 4;

  /** What was answered is there once; what was refused is there at most once, and then told as news. */
  test(`loses nothing that was answered and doubles nothing (seed ${seed})`, async () => {
    await empty();
    const relay = await startCuttingRelay(server.port);
    onTestFinished(() => relay.close());
    const log = await openLog({ address: { ...address, port: relay.port }, staleAfterMs: 60_000 });
    let next = 0;
    const answered: string[] = [];
    const noted: string[] = [];
    const cut = fc.record({ at: fc.integer({ min: 1, max: 16 }), lost: fc.constantFrom("question", "answer") });
    for (const { at, lost } of fc.sample(cut, { numRuns, seed })) {
      relay.cutAt(at, lost);
      const appends = Array.from({ length: 5 }, () => log.append([opened(++next), ended(next)]));
      noted.push(log.note({ kind: "session.ended", session: session(90_000 + next), data: { reason: "operator" } }));
      for (const records of await Promise.all(appends)) answered.push(...records.map(({ id }) => id));
      await log.settled();
    }
    const ids = (await allRecords()).map(({ id }) => id);
    expect(new Set(ids).size).toBe(ids.length);
    const known = new Set(ids);
    expect([...answered, ...noted].filter((id) => !known.has(id))).toEqual([]);
    expect(answered.length).toBe(numRuns * 10);
  });
});
