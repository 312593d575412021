import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import type { AuditEvent } from "../src/core/record.ts";
import { openPostgresState } from "../src/server/postgres-state.ts";
import { type BrokerState, openState } from "../src/server/state.ts";
import { stateEvent } from "../src/store/store.fake.ts";
import { startPostgres } from "../test/postgres-server.ts";
import { machine, percentile, table, thousands } from "./machine.ts";

/** What it costs to make an exchange and a decision durable, in the data folder and in a PostgreSQL on the same machine. */
const roundMs = 3_000;
const clock = { now: Date.now, monotonic: () => performance.now() };

const token = () => randomBytes(12).toString("hex");

/** As an exchange records: the session with its used token, and the credential. */
function exchange(): readonly AuditEvent[] {
  const session = `ses_${token().slice(0, 16)}`;
  const opened = stateEvent.opened("a", Date.now() + 3_600_000, Date.now() + 3_600_000);
  if (opened.kind !== "session.opened") throw new TypeError("it opens");
  const data = { ...opened.data, replay_key: token(), refresh_hash: token() };
  return [
    { ...opened, session, data },
    { ...stateEvent.minted("a"), session },
  ];
}

const decision: AuditEvent = {
  kind: "decision",
  session: "ses_aaaaaaaaaaaaaaaa",
  data: {
    ...{ gateway: "edge-1", target: "billing", operation: "GET /v1/invoices/42", host: "billing.internal" },
    ...{ effect: "allow", outcome: "allow", reason: "allowed", rule: "read-billing", policy: "41c0aa1122334455" },
  },
};

async function lanes(count: number, work: () => Promise<unknown>): Promise<readonly string[]> {
  const took: number[] = [];
  const start = performance.now();
  const lane = async () => {
    for (let began = performance.now(); began - start < roundMs; began = performance.now()) {
      await work();
      took.push(performance.now() - began);
    }
  };
  await Promise.all(Array.from({ length: count }, lane));
  const perSecond = (took.length / (performance.now() - start)) * 1000;
  took.sort((a, b) => a - b);
  return [thousands(perSecond), percentile(took, 0.5).toFixed(2), percentile(took, 0.99).toFixed(2)];
}

/** Decisions that are answered before they are durable, as fast as the store keeps up with. */
async function noted({ recorder }: BrokerState): Promise<readonly string[]> {
  let count = 0;
  const start = performance.now();
  while (performance.now() - start < roundMs) {
    for (let at = 0; at < 500; at++, count++) recorder.note(decision);
    await recorder.settled();
  }
  return [thousands((count / (performance.now() - start)) * 1000), "", ""];
}

async function measure(name: string, state: BrokerState): Promise<readonly (readonly string[])[]> {
  const { recorder } = state;
  const rows = [
    [`${name}: exchanges, one at a time`, ...(await lanes(1, () => recorder.append(exchange())))],
    [`${name}: exchanges, 64 at once`, ...(await lanes(64, () => recorder.append(exchange())))],
    [
      `${name}: decisions durable before the answer, 64 at once`,
      ...(await lanes(64, () => recorder.append([decision]))),
    ],
    [`${name}: decisions durable within 50 ms`, ...(await noted(state))],
  ];
  await state.close();
  return rows;
}

const dataDir = mkdtempSync(join(tmpdir(), "wayleave-bench-"));
const server = await startPostgres();
try {
  console.log(`records made durable, ${roundMs / 1000} s each\n${machine()}\n`);
  const { name, password } = await server.createDatabase("bench");
  const address = { host: "127.0.0.1", port: server.port, database: name, user: name, password };
  const log = pino({ level: "silent" });
  const embedded = await measure("SQLite", await openState(join(dataDir, "a"), clock));
  const store = { postgres: { address, staleAfterMs: 5_000 } };
  const scaled = await measure(
    "PostgreSQL",
    await openPostgresState(store, { dataDir: join(dataDir, "b"), clock, log }),
  );
  console.log(table([["", "per second", "p50 ms", "p99 ms"], ...embedded, ...scaled]));
} finally {
  await server.remove();
  rmSync(dataDir, { recursive: true });
}
