import { percentile, table, thousands } from "./machine.ts";
import type { NatsInstallation } from "./nats-installation.ts";
import { LoadClient, type LoadCredential } from "./nats-load.ts";
import { processorTime, since } from "./nats-process.ts";

const durationMs = 1_500;
/** A session may connect 500 times in ten seconds. */
const sessions = 60;

/** Connections a second from TCP to the first PONG, so many at once, each closed when it is there. */
export async function measureConnects(installation: NatsInstallation): Promise<void> {
  const { broker, gatewayPort, server, staticUser, session, subjectToken, authentication } = installation;
  console.log(`connects in ${authentication} mode, from TCP to PONG, ${durationMs / 1000} s each`);
  const passwords = await Promise.all(
    Array.from({ length: sessions }, async () => (await session()).password("durable")),
  );
  const rows: string[][] = [];
  for (const atOnce of [20, 100]) {
    if (authentication === "config") {
      rows.push(row("static password, direct", atOnce, await connects(server.port, atOnce, () => staticUser)));
    }
    const before = processorTime(broker.pid);
    let next = 0;
    const through = await connects(gatewayPort, atOnce, () => passwords[next++ % sessions] as LoadCredential);
    rows.push(row("password of a session, gateway", atOnce, through, since(broker.pid, before)));
    await pause();
  }
  const tokens = await Promise.all(Array.from({ length: 600 }, subjectToken));
  const before = processorTime(broker.pid);
  const opened = await connects(gatewayPort, 20, () => ({ user: "durable", pass: tokens.pop() ?? "" }), tokens.length);
  rows.push(row("CI token, which opens a session, gateway", 20, opened, since(broker.pid, before)));
  console.log(
    table([
      ["", "at once", "per second", "p50 ms", "p99 ms", "CPU µs each", "other threads", "one core does", "refused"],
      ...rows,
    ]),
  );
}

interface Connects {
  readonly perSecond: number;
  readonly count: number;
  readonly p50: number;
  readonly p99: number;
  readonly refused: readonly string[];
}

async function connects(
  port: number,
  atOnce: number,
  credential: () => LoadCredential,
  most = Number.POSITIVE_INFINITY,
): Promise<Connects> {
  const took: number[] = [];
  const refused: string[] = [];
  const start = performance.now();
  let begun = 0;
  const lane = async () => {
    while (performance.now() - start < durationMs && begun++ < most) {
      const began = performance.now();
      try {
        const client = await LoadClient.open(port, credential());
        took.push(performance.now() - began);
        client.close();
      } catch (error) {
        refused.push(error instanceof Error ? error.message : String(error));
      }
    }
  };
  await Promise.all(Array.from({ length: atOnce }, lane));
  const seconds = (performance.now() - start) / 1000;
  took.sort((a, b) => a - b);
  return {
    perSecond: took.length / seconds,
    count: took.length,
    p50: percentile(took, 0.5),
    p99: percentile(took, 0.99),
    refused,
  };
}

function row(
  name: string,
  atOnce: number,
  { perSecond, count, p50, p99, refused }: Connects,
  cpu?: { readonly main: number; readonly others: number },
): string[] {
  const each = (us: number | undefined) => (us === undefined ? "" : (us / count).toFixed(0));
  const bound = cpu === undefined ? "" : thousands((1e6 * count) / (cpu.main + cpu.others));
  if (refused[0] !== undefined) console.log(`refused: ${refused[0]}`);
  return [
    ...[name, String(atOnce), thousands(perSecond), p50.toFixed(1), p99.toFixed(1)],
    ...[each(cpu?.main), each(cpu?.others), bound, String(refused.length)],
  ];
}

/** The ends of the connections before are written down meanwhile. */
function pause(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 1_000));
}
