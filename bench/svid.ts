import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openJournal } from "../src/audit/journal.ts";
import { makeCsr } from "../src/credential/ca.fake.ts";
import { caFile } from "../src/credential/ca-file.ts";
import { openOwnCa } from "../src/credential/ca-own.ts";
import { createCaSigner } from "../src/credential/ca-signer.ts";
import { KeyFolder } from "../src/credential/key-chain.fake.ts";
import { mintJwtSvid } from "../src/credential/svid-jwt.ts";
import { createX509Signer } from "../src/credential/svid-x509.ts";
import { harness } from "../src/session/harness.fake.ts";
import { createSessionSvids, type SessionSvids } from "../src/session/svid.ts";
import type { Session } from "../src/session/table.ts";
import { machine, percentile, table, thousands } from "./machine.ts";

/** SVIDs a second and how long one takes, from CSR to chain with a durable record, and what that leaves of the broker's thread. */
const total = 1_000;
const lanes = [1, 2, 4, 8];

async function main(): Promise<void> {
  console.log(`SVIDs minted, each with its own durable record, ${thousands(total)} at a time\n${machine()}\n`);
  const world = await open();
  const csr = await makeCsr();
  const rows = [["", "in flight", "per second", "p50 ms", "p99 ms", "CPU ms each", "broker's thread busy"]];
  await timed(50, 4, () => world.svids.x509(world.session, { csr })); // the library compiles
  for (const inFlight of lanes)
    rows.push(
      row("X.509-SVID", inFlight, await timed(total, inFlight, () => world.svids.x509(world.session, { csr }))),
    );
  const audience = ["billing.internal"];
  for (const inFlight of lanes)
    rows.push(
      row("JWT-SVID", inFlight, await timed(total, inFlight, () => world.svids.jwt(world.session, { audience }))),
    );
  console.log(table(rows));
  await world.close();
}

interface Timed {
  readonly perSecond: number;
  readonly p50: number;
  readonly p99: number;
  /** Of all threads. */
  readonly cpuMs: number;
  /** 0 to 1. */
  readonly busy: number;
}

function row(what: string, inFlight: number, { perSecond, p50, p99, cpuMs, busy }: Timed): string[] {
  const times = [p50, p99, cpuMs].map((ms) => ms.toFixed(2));
  return [what, String(inFlight), thousands(perSecond), ...times, `${Math.round(busy * 100)} %`];
}

async function timed(count: number, inFlight: number, work: () => Promise<unknown>): Promise<Timed> {
  const took: number[] = [];
  let left = count;
  const before = performance.eventLoopUtilization();
  const cpuBefore = process.cpuUsage();
  const start = performance.now();
  const lane = async () => {
    while (left-- > 0) {
      const began = performance.now();
      await work();
      took.push(performance.now() - began);
    }
  };
  await Promise.all(Array.from({ length: inFlight }, lane));
  const seconds = (performance.now() - start) / 1000;
  const { utilization } = performance.eventLoopUtilization(before);
  const { user, system } = process.cpuUsage(cpuBefore);
  took.sort((a, b) => a - b);
  return {
    perSecond: count / seconds,
    p50: percentile(took, 0.5),
    p99: percentile(took, 0.99),
    cpuMs: (user + system) / 1000 / count,
    busy: utilization,
  };
}

interface World {
  readonly svids: SessionSvids;
  readonly session: Session;
  close(): Promise<void>;
}

/** A CA on disk, its thread, and a journal that syncs. */
async function open(): Promise<World> {
  const dir = mkdtempSync(join(tmpdir(), "wayleave-bench-svid-"));
  const sessions = harness();
  const { clock } = sessions;
  const { session } = await sessions.exchange("token:7712:1");
  const recorder = await openJournal({ dir: join(dir, "journal"), clock, random: (bytes) => randomBytes(bytes) });
  const signer = createCaSigner();
  const random = (bytes: number) => randomBytes(bytes);
  const file = caFile(join(dir, "keys"), randomBytes(32));
  const authority = await openOwnCa({ trustDomain: "acme.example", file, signer, recorder, clock, random });
  const { ring } = await new KeyFolder("jwt-svid").open();
  const svids = createSessionSvids({
    trustDomain: "acme.example",
    prefixes: [],
    x509TtlMs: 900_000,
    clock,
    recorder,
    random,
    roles: () => [{ role: { id: "release" }, stands: true }],
    signX509: createX509Signer({ authority, signer, clock, random }),
    signJwt: (input) => mintJwtSvid(ring, input),
    reservedAudience: () => false,
  });
  return {
    svids,
    session: sessions.session(session.id),
    async close() {
      await signer.close();
      await recorder.close();
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

await main();
