import { percentile, table } from "./machine.ts";
import type { NatsInstallation, NatsJob } from "./nats-installation.ts";
import { LoadClient } from "./nats-load.ts";
import { memoryOf } from "./nats-process.ts";

const trials = 500;
const idle = 2_000;
/** A session has 256 connections at most. */
const perSession = 200;

/** From the request that ends a session to the end of its client's socket. */
export async function measureEnds(installation: NatsInstallation): Promise<void> {
  const closed = await ends(installation);
  console.log(`session end → client's socket closed, ${trials} trials; the request over HTTP is part of it`);
  console.log(
    table([
      ["", "p50 ms", "p99 ms", "most"],
      ["socket closed", ...[0.5, 0.99, 1].map((part) => percentile(closed.socket, part).toFixed(2))],
      ["end answered (durable)", ...[0.5, 0.99, 1].map((part) => percentile(closed.answer, part).toFixed(2))],
    ]),
  );
}

/** What an idle connection weighs in the gateway's process; the system's own buffers are not in it. */
export async function measureMemory(installation: NatsInstallation): Promise<void> {
  const { broker } = installation;
  for (const client of await open(installation, perSession)) client.close(); // what is made once is made now
  const before = memoryOf(broker.pid);
  const clients = await open(installation, idle);
  const each = (memoryOf(broker.pid) - before) / idle / 1024;
  console.log(`idle connection: ${each.toFixed(0)} KiB of the gateway's resident memory (${idle} of them)`);
  for (const client of clients) client.close();
}

async function open({ gatewayPort, session }: NatsInstallation, count: number): Promise<LoadClient[]> {
  const clients: LoadClient[] = [];
  for (let password = await (await session()).password("durable"); clients.length < count; ) {
    const opening = Array.from({ length: 50 }, () => LoadClient.open(gatewayPort, password));
    clients.push(...(await Promise.all(opening)));
    if (clients.length % perSession === 0) password = await (await session()).password("durable");
  }
  return clients;
}

async function ends({ gatewayPort, session }: NatsInstallation) {
  const socket: number[] = [];
  const answer: number[] = [];
  for (let at = 0; at < trials; at++) {
    const job: NatsJob = await session();
    const client = await LoadClient.open(gatewayPort, await job.password("durable"));
    const start = performance.now();
    const closed = client.closed.then(() => socket.push(performance.now() - start));
    await job.end();
    answer.push(performance.now() - start);
    await closed;
  }
  const ascending = (a: number, b: number) => a - b;
  return { socket: socket.sort(ascending), answer: answer.sort(ascending) };
}
