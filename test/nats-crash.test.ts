import fc from "fast-check";
import { expect, onTestFinished, test } from "vitest";
import { comingBack, compare, jobConnections, Publisher, Reached, rowsOf } from "./nats-proof-crash-load.ts";
import { journalOf } from "./nats-proof-journal.ts";
import { type NatsJob, type NatsProof, startProof, until } from "./nats-proof-world.ts";

const policy = `version: 1
targets: { events: { nats: { account: CI, records: durable } } }
who: { load: { gitlab: { project: acme/load } } }
roles:
  load: { for: [load], allow: { events: ["pub load.*", "sub ask.*", "pub event.*"] } }
`;

/** Messages that reach the server between two kills. */
const rounds = fc.sample(fc.integer({ min: 1, max: 30_000 }), { numRuns: 5, seed: 4 });

test("killed with -9 under load, the gateway has forwarded nothing that is not in the journal", {
  timeout: 180_000,
}, async () => {
  const proof = await startProof({ policy, projects: ["acme/load"], process: true });
  onTestFinished(proof.close);
  const jobs = await Promise.all([1, 2, 3].map(() => proof.startJob("acme/load")));
  const over = await endedJob(proof);
  const clients = await Promise.all(jobs.map((job, at) => job.connect({ ...comingBack, name: `job-${at}` })));
  const witness = await proof.admin.connect("CI");
  const reached = new Reached(witness);
  await witness.flush();
  const publishers = clients.map((client, at) => new Publisher(client, `load.${at}`));
  onTestFinished(async () => void (await Promise.allSettled(publishers.map((each) => each.stop()))));

  const gone: string[] = [];
  for (const messages of rounds) {
    await reached.more(messages);
    const doomed = await endedJob(proof);
    gone.push(...(await jobConnections(proof)));
    await proof.world.killBroker();
    await until(async () => (await jobConnections(proof)).length === 0);
    const [connects, seen] = [publishers.map((each) => each.connects), reached.byConnection.size];
    await proof.world.startBroker();
    await until(() => publishers.every((each, at) => each.connects > (connects[at] ?? 0)));
    await until(() => reached.byConnection.size >= seen + publishers.length);
    // An end that was accepted holds, also one of the last moment.
    for (const job of [over, doomed]) await expect(job.connect()).rejects.toThrow(/session ended: the job ended it/);
  }
  expect(new Set(gone).size).toBe(gone.length); // each left the server for good
  await Promise.all(publishers.map((each) => each.stop()));
  await witness.flush();
  await until(async () => (await jobConnections(proof)).length === 0);
  await witness.close();
  await proof.world.process?.stop();

  const records = await journalOf(proof.world);
  const { unrecorded, ahead } = compare(rowsOf(records), reached);
  expect(unrecorded).toEqual([]);
  expect(reached.twice).toBe(0);
  expect(reached.count).toBeGreaterThan(rounds.reduce((sum, each) => sum + each, 0));
  print(
    `${rounds.length} kills: ${reached.count.toLocaleString("en")} messages reached the server, each recorded; of one connection at most ${ahead} were recorded and had not reached it`,
  );
  // What one connection holds back while it is written, and what its socket takes.
  expect(ahead * 128).toBeLessThan(8 * 1_048_576);
  // After each crash it is the same sessions that come back.
  const sessions = records.flatMap((record) =>
    record.kind === "nats.connected" && reached.byConnection.has(record.data.connection) ? [record.session] : [],
  );
  expect(new Set(sessions).size).toBe(jobs.length);
});

/** A job whose session has ended. */
async function endedJob(proof: NatsProof): Promise<NatsJob> {
  const job = await proof.startJob("acme/load");
  await job.connect().then((client) => client.close());
  await job.ask("end");
  return job;
}

const print = (line: string) => process.stdout.write(`${line}\n`);
