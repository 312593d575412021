import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { startWayleave, type WayleaveProcess } from "../demo/wayleave-process.ts";
import { comingBack, compare, jobConnections, Publisher, Reached, rowsOf } from "./nats-proof-crash-load.ts";
import { journalOf } from "./nats-proof-journal.ts";
import { type NatsProof, startProof, until } from "./nats-proof-world.ts";

/** A gateway that is a process of its own, and everything that can die around it. */
const policy = `version: 1
targets: { events: { nats: { account: CI, records: durable } } }
who: { load: { gitlab: { project: acme/load } } }
roles:
  load: { for: [load], allow: { events: ["pub load.*", "sub news.*"] } }
`;

async function startApart(mode: "operator" | "config") {
  const proof = await startProof({
    ...{ policy, projects: ["acme/load"], process: true, mode },
    gateway: { standalone: true },
  });
  onTestFinished(proof.close);
  const own = { gateway: await startGateway(proof) };
  onTestFinished(() => own.gateway.stop());
  return { proof, own };
}

async function startGateway({ world }: NatsProof): Promise<WayleaveProcess> {
  const secret = join(world.directory, "bus.secret");
  const args = ["nats-gateway", "--gateway", "bus", "--broker", world.brokerUrl, "--secret-file", secret];
  const gateway = startWayleave(args, world.directory);
  await gateway.said(/takes jobs at/);
  return gateway;
}

test.each(["operator", "config"] as const)(
  "%s mode: the broker is killed, then the gateway: nothing is forwarded unrecorded, and clients come back",
  { timeout: 180_000 },
  async (mode) => {
    const { proof, own } = await startApart(mode);
    const job = await proof.startJob("acme/load");
    const client = await job.connect(comingBack);
    const told: string[] = [];
    void (async () => {
      for await (const status of client.status()) if (status.type === "error") told.push(status.error.message);
    })();
    const witness = await proof.admin.connect("CI");
    const reached = new Reached(witness);
    await witness.flush();
    const publisher = new Publisher(client, "load.x");
    onTestFinished(() => publisher.stop());

    await reached.more(5_000);
    await proof.world.killBroker();
    // Without the broker there is no record, and without a record no message: the connection ends as an outage.
    await until(() => told.some((text) => /outage/.test(text)));
    const before = reached.count;
    await expect(job.connect()).rejects.toThrow(/the broker at \S+ does not answer|outage|Gateway Unavailable/);
    await witness.flush();
    expect(reached.count).toBe(before);
    await proof.world.startBroker();
    await reached.more(5_000);

    await own.gateway.kill();
    await until(async () => (await jobConnections(proof)).length === 0);
    own.gateway = await startGateway(proof);
    await reached.more(5_000);
    await publisher.stop();
    await witness.flush();
    await until(async () => (await jobConnections(proof)).length === 0);
    await witness.close();
    await own.gateway.stop();
    await proof.world.process?.stop();

    const records = await journalOf(proof.world);
    const { unrecorded, ahead } = compare(rowsOf(records), reached);
    expect(unrecorded).toEqual([]);
    expect(reached.twice).toBe(0);
    process.stdout.write(
      `${mode}: ${reached.count.toLocaleString("en")} messages reached the server, each recorded once; at most ${ahead} of one connection were recorded and had not reached it\n`,
    );
    expect(ahead * 128).toBeLessThan(8 * 1_048_576);
  },
);
