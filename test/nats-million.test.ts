import { expect, onTestFinished, test } from "vitest";
import { type Accstatz, monitored } from "./nats-proof-admin.ts";
import { connectionsOf, journalOf, type Told } from "./nats-proof-journal.ts";
import {
  askAll,
  bulk,
  type ClientCount,
  fetchAll,
  LoadClients,
  listenInOrder,
  Meter,
  makeStreams,
  storeAll,
} from "./nats-proof-load.ts";
import { type NatsProof, startProof, until } from "./nats-proof-world.ts";

const policy = `version: 1
targets: { events: { nats: { account: CI, records: durable } } }
who: { load: { gitlab: { project: acme/load } } }
roles:
  load:
    for: [load]
    allow:
      events: ["pub load.>", "sub load.>", "req svc.*", "sub svc.* workers", "pub event.*", pull LOAD.worker, pull PYTHON.python]
`;

const plan = { plain: 540_000, headers: 190_000, queue: 170_000, requests: 20_000, events: 10_000, python: 40_000 };

test("1,000,000 messages of unmodified clients: clients, records and servers count the same", {
  timeout: 180_000,
}, async () => {
  const proof = await startProof({ policy, projects: ["acme/load"], process: true });
  onTestFinished(proof.close);
  const clients = new LoadClients(proof);
  await clients.open("first"); // makes the account known to the server
  const administrator = await proof.admin.connect("CI");
  await makeStreams(administrator);
  await administrator.close();
  const before = await accountOf(proof);

  const began = performance.now();
  const wrong = await load(proof, clients);
  const seconds = (performance.now() - began) / 1000;
  expect(wrong).toEqual([]);
  await clients.close();

  await until(async () => (await openClients(proof)) === 0);
  const after = await accountOf(proof);
  await proof.world.process?.stop();
  const records = await journalOf(proof.world);
  const told = connectionsOf(records);
  const sum = sumOf([...clients.counts.values()]);
  print(
    `${sum.published.toLocaleString("en")} published, ${sum.delivered.toLocaleString("en")} delivered by ${told.length} connections in ${seconds.toFixed(1)} s, every one recorded before it was forwarded`,
  );

  expect(sum.published).toBeGreaterThanOrEqual(1_000_000);
  expect(told.map(({ name }) => name).toSorted()).toEqual([...clients.counts.keys()].toSorted());
  for (const one of told) expectAgreement(one, clients.counts.get(one.name));
  expect(records.filter(({ kind }) => kind === "nats.mismatch")).toEqual([]);
  expect(records.filter(({ kind }) => kind === "decision")).toEqual([]);
  expect(after.received.msgs - before.received.msgs).toBe(sum.published);
});

/** Everything at once, each kind by clients of its own. Gives what went wrong. */
async function load(proof: NatsProof, clients: LoadClients): Promise<readonly string[]> {
  const wrong: (readonly string[])[] = [];
  const listened = async (name: string, subject: string) => {
    const heard = new Meter();
    const client = await clients.open(name);
    wrong.push(listenInOrder(client, subject, heard));
    await client.flush();
    return heard;
  };
  const plain = await listened("plain-listener", "load.plain.>");
  const withHeaders = await listened("header-listener", "load.headers.*");
  const queue = new Meter();
  for (const name of ["worker-1", "worker-2", "worker-3"]) {
    const worker = await clients.open(name);
    worker.subscribe("load.queue", { queue: "workers", callback: () => queue.add() });
    await worker.flush();
  }
  for (const name of ["responder-1", "responder-2"]) {
    const responder = await clients.open(name);
    responder.subscribe("svc.echo", {
      queue: "workers",
      callback: (_, message) => void message.respond(`${message.string()}!`),
    });
    await responder.flush();
  }
  const [plainly, headed, queued, asking, storing, fetching] = [
    await clients.open("plain"),
    await clients.open("headers"),
    await clients.open("queue"),
    await clients.open("asking"),
    await clients.open("storing"),
    await clients.open("fetching"),
  ];
  await Promise.all([
    bulk(plainly, plan.plain, (number) => `load.plain.${number % 100}`, plain),
    bulk(headed, plan.headers, (number) => `load.headers.${number % 10}`, withHeaders, true),
    bulk(queued, plan.queue, () => "load.queue", queue),
    askAll(asking, "svc.echo", plan.requests),
    storeAll(storing, "event.load", plan.events),
    fetchAll(fetching, plan.events).then((seen) => expect(seen).toBe(plan.events)),
    clients.python("python", plan.python).then((said) => {
      expect(said).toEqual({ heard: plan.python, answered: 500, fetched: 500 });
    }),
  ]);
  expect(queue.count).toBe(plan.queue);
  void proof;
  return wrong.flat();
}

/** The client's own count, the rows of its records, the gateway's totals and the server's are one number. */
function expectAgreement({ name, published, delivered, gaps, disconnected }: Told, client: ClientCount | undefined) {
  const { server, ...gateway } = disconnected?.data ?? {};
  expect({ name, gaps, client, ...gateway, server }).toMatchObject({
    name,
    gaps: 0,
    client: { published: published.messages, delivered: delivered.messages },
    published,
    delivered,
    denied: 0,
    reason: "client_closed",
    server: { received: published, sent: delivered },
  });
}

function sumOf(counts: readonly ClientCount[]): ClientCount {
  const sum = (of: (count: ClientCount) => number) => counts.reduce((total, count) => total + of(count), 0);
  return { published: sum(({ published }) => published), delivered: sum(({ delivered }) => delivered) };
}

async function accountOf({ world }: NatsProof) {
  const { account_statz: accounts } = await monitored<Accstatz>(world, "accstatz?unused=1");
  const found = accounts.find(({ name }) => name === "CI");
  if (found === undefined) throw new Error("the server knows no account CI");
  return found;
}

async function openClients({ world }: NatsProof): Promise<number> {
  const { connections } = await monitored<{ connections: readonly { name?: string }[] }>(world, "connz");
  return connections.filter(({ name = "" }) => !name.startsWith("wayleave-")).length;
}

const print = (line: string) => process.stdout.write(`${line}\n`);
