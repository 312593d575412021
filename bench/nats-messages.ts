import { connect } from "@nats-io/transport-node";
import { median, percentile, table, thousands } from "./machine.ts";
import { type NatsInstallation, subjectAt } from "./nats-installation.ts";
import { LoadClient, type LoadCredential, makeBurst } from "./nats-load.ts";
import { type MeasuredProcess, type ProcessorTime, processorTime, since, startMeasured } from "./nats-process.ts";

const rounds = 3;
const perRound = 150_000;
const burst = makeBurst(subjectAt, 128);
const everything = "build.status.1042.>";

/** A way to the server. */
interface Way {
  readonly name: string;
  readonly port: number;
  readonly credential: LoadCredential;
  /** What stands in between; nothing on the direct way. */
  readonly process?: MeasuredProcess;
}

interface Round {
  readonly perSecond: number;
  /** µs a message. */
  readonly main: number;
  readonly others: number;
}

/** Messages of 128 bytes on every way to one server, in turn: published, delivered, both; then one at a time. */
export async function measureMessages(installation: NatsInstallation): Promise<void> {
  const ways = await openWays(installation);
  const direct = ways[0] as Way;
  try {
    console.log(`published, one connection in bulk: ${rounds} × ${thousands(perRound)}, in turn`);
    await bulk(ways, direct, publishing);
    console.log("\ndelivered to one connection; the publisher is direct");
    await bulk(
      ways.filter(({ name }) => name !== "fast"),
      direct,
      (way) => delivering(way, direct),
    );
    console.log("\npublished and delivered on the same way: CPU for both");
    await bulk(ways, direct, (way) => delivering(way, way));
    console.log("\npublished by nats.js");
    await bulk(
      ways.filter(({ name }) => name !== "pipe"),
      direct,
      publishingWithLibrary,
    );
    console.log("\n100 connections, each one message at a time (PUB, PING, PONG)");
    await bulk(ways, direct, one);
    console.log("\nfrom publish to the publisher's own subscription, one at a time");
    await latencies(ways);
  } finally {
    await ways[1]?.process?.stop();
    await ways[2]?.process?.stop();
  }
}

async function openWays({ broker, gatewayPort, server, staticUser, session }: NatsInstallation): Promise<Way[]> {
  const pipe = await startMeasured("nats-proxy.ts", ["pipe", String(server.port)]);
  const parse = await startMeasured("nats-proxy.ts", ["parse", String(server.port)]);
  const job = await session();
  return [
    { name: "direct", port: server.port, credential: staticUser },
    { name: "pipe", port: pipe.port, credential: staticUser, process: pipe },
    { name: "parse", port: parse.port, credential: staticUser, process: parse },
    { name: "fast", port: gatewayPort, credential: await job.password("fast"), process: broker },
    { name: "durable", port: gatewayPort, credential: await job.password("durable"), process: broker },
  ];
}

/** Something that can be done again and again: gives how many messages it was. */
interface Work {
  run(): Promise<number>;
  close(): Promise<void>;
}

async function bulk(ways: readonly Way[], direct: Way, open: (way: Way) => Promise<Work>): Promise<void> {
  const all = [];
  for (const way of ways) all.push({ way, work: await open(way), results: [] as Round[] });
  for (let round = -1; round < rounds; round++) {
    for (const { way, work, results } of all) {
      const result = await measured(way, work);
      if (round >= 0) results.push(result); // the first warms up
    }
  }
  for (const { work } of all) await work.close();
  const of = (results: readonly Round[], what: keyof Round) => median(results.map((result) => result[what]));
  const base = of(all.find(({ way }) => way === direct)?.results ?? [], "perSecond");
  const rows = all.map(({ way, results }) => {
    const [perSecond, main, others] = [of(results, "perSecond"), of(results, "main"), of(results, "others")];
    const ofBase = `${((100 * perSecond) / base).toFixed(0)} %`;
    if (way.process === undefined) return [way.name, thousands(perSecond), ofBase, "", "", ""];
    const bound = thousands(1e6 / (main + others));
    return [way.name, thousands(perSecond), ofBase, main.toFixed(2), others.toFixed(2), bound];
  });
  console.log(table([["", "messages/s", "of direct", "CPU µs each", "other threads", "one core does"], ...rows]));
}

async function measured({ process: measuredOne }: Way, work: Work): Promise<Round> {
  const before = measuredOne && processorTime(measuredOne.pid);
  const start = performance.now();
  const messages = await work.run();
  const ms = performance.now() - start;
  const used: ProcessorTime =
    measuredOne && before ? since(measuredOne.pid, before) : { main: Number.NaN, others: Number.NaN };
  return { perSecond: (messages / ms) * 1000, main: used.main / messages, others: used.others / messages };
}

async function publishing({ port, credential }: Way): Promise<Work> {
  const client = await LoadClient.open(port, credential);
  return { run: () => client.publish(burst, perRound), close: async () => client.close() };
}

async function delivering({ port, credential }: Way, from: Way): Promise<Work> {
  const publisher = await LoadClient.open(from.port, from.credential);
  const subscriber = await LoadClient.open(port, credential);
  return {
    async run() {
      subscriber.write(`SUB ${everything} 1\r\n`);
      await subscriber.settled();
      const arrived = subscriber.burst();
      const messages = await publisher.publish(burst, perRound);
      publisher.end(subjectAt(0));
      await arrived;
      subscriber.write("UNSUB 1\r\n");
      await subscriber.settled();
      return messages + 1;
    },
    async close() {
      publisher.close();
      subscriber.close();
    },
  };
}

async function publishingWithLibrary({ port, credential }: Way): Promise<Work> {
  const connection = await connect({ port, ...credential });
  const payload = new TextEncoder().encode("x".repeat(128));
  return {
    async run() {
      for (let at = 0; at < perRound; at++) {
        connection.publish(subjectAt(at % 8), payload);
        // It takes whatever it is given, and sends it later: an unbounded loop would measure its memory.
        if (at % 10_000 === 0) await connection.flush();
      }
      await connection.flush();
      return perRound;
    },
    close: () => connection.close(),
  };
}

/** Messages of `one`, over all connections. */
const small = 6_000;

async function one({ port, credential }: Way): Promise<Work> {
  const clients = await Promise.all(Array.from({ length: 100 }, () => LoadClient.open(port, credential)));
  const message = Buffer.from(`PUB ${subjectAt(1)} 128\r\n${"x".repeat(128)}\r\n`);
  return {
    async run() {
      let left = small;
      const lane = async (client: LoadClient) => {
        while (left-- > 0) {
          await client.settled(message);
        }
      };
      await Promise.all(clients.map(lane));
      return small;
    },
    async close() {
      for (const client of clients) client.close();
    },
  };
}

const samples = 600;

async function latencies(ways: readonly Way[]): Promise<void> {
  const all = [];
  for (const way of ways) {
    const client = await LoadClient.open(way.port, way.credential);
    client.write(`SUB ${subjectAt(1)} 1\r\n`);
    await client.settled();
    all.push({ way, client, took: [] as number[] });
  }
  const message = `PUB ${subjectAt(1)} 128\r\n${"x".repeat(128)}\r\n`;
  for (let at = -100; at < samples; at++) {
    for (const { client, took } of all) {
      const start = performance.now();
      const arrived = client.message("xx");
      client.write(message);
      await arrived;
      if (at >= 0) took.push((performance.now() - start) * 1000);
    }
  }
  const rows = all.map(({ way, client, took }) => {
    client.close();
    took.sort((a, b) => a - b);
    return { name: way.name, p50: percentile(took, 0.5), p99: percentile(took, 0.99) };
  });
  const [base] = rows;
  const added = (value: number, than = 0) => (value - than).toFixed(0);
  console.log(
    table([
      ["", "p50 µs", "p99 µs", "added p50", "added p99"],
      ...rows.map(({ name, p50, p99 }) => [
        name,
        ...[added(p50), added(p99), added(p50, base?.p50), added(p99, base?.p99)],
      ]),
    ]),
  );
}
