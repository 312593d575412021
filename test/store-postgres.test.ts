import { afterAll, beforeAll, expect, test } from "vitest";
import { randomBytes } from "node:crypto";
import { openPostgresLog, type PostgresLog } from "../src/store/postgres-log.ts";
import { openPostgresStore } from "../src/store/postgres-store.ts";
import { canonicalJson } from "../src/audit/canonical-json.ts";
import { recordIds } from "../src/audit/record-number.ts";
import { type PostgresServer, startPostgres } from "./postgres-server.ts";
import { stateEvent, entries } from "../src/store/store.fake.ts";

let server: PostgresServer;
beforeAll(async () => { server = await startPostgres(); });
afterAll(() => server.remove());
test("x", async () => {
  const { url, password, name } = await server.createDatabase("one");
  const address = { host: "127.0.0.1", port: server.port, database: name, user: name, password };
  const store = openPostgresStore(address);
  await Promise.all([store.migrate(), openPostgresStore(address).migrate()]);
  const log = await openPostgresLog({ address, clock: { now: Date.now, monotonic: () => performance.now() }, random: randomBytes, line: canonicalJson, idsOf: recordIds, staleAfterMs: 5000, onOutage: (e) => console.log("outage", e) });
  const t = performance.now();
  for (const e of entries) await log.append([e]);
  console.log(performance.now() - t);
  const id = log.note(entries[3]!);
  await log.settled();
  console.log(await store.get(id), (await store.query({ limit: 100 })).length, await store.stateRecords({ nowMs: 0, afterSeq: 0, uptoSeq: 1e9, limit: 10 }));
  await log.close(); await store.close();
});
