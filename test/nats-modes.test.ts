import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { jetstream } from "@nats-io/jetstream";
import { type ConnectionOptions, headers, type NatsConnection } from "@nats-io/transport-node";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import type { KeysResponse } from "../src/api/contract.ts";
import { type Accstatz, type Connz, monitored } from "./nats-proof-admin.ts";
import { type AttackLab, attackPolicy, startAttackLab } from "./nats-proof-attack-lab.ts";
import { until } from "./nats-proof-world.ts";
import { askOperator } from "./operator.ts";

const projects = ["acme/shop", "acme/worker", "acme/tools", "acme/other"];

const policyOf = (mode: string) =>
  attackPolicy
    .replace(
      "targets:\n",
      mode === "operator" ? `targets:\n  own: { nats: { account: "P_\${job.project_id}" } }\n` : "targets:\n",
    )
    .replace(
      "who:\n",
      `who:
  shop-mr: { gitlab: { project: acme/shop, source: merge_request_event } }
  tools: { gitlab: { project: [acme/tools, acme/other] } }
`,
    )
    .replace(
      "roles:\n",
      `roles:
  release: { for: [shop-mr], when: change.merged, allow: { events: ["pub release.*"] } }
${mode === "operator" ? '  log: { for: [tools], allow: { own: ["pub log.*", "sub log.*"] } }\n' : ""}`,
    );

describe.each(["operator", "config"] as const)("in %s mode", { timeout: 90_000 }, (mode) => {
  let lab: AttackLab;
  const policy = policyOf(mode);
  const targets = mode === "operator" ? ["events", "own"] : ["events"];
  beforeAll(async () => {
    lab = await startAttackLab({ mode, policy, projects, gateway: { targets } });
  });
  afterAll(async () => {
    await lab?.close();
  });

  const comingBack: ConnectionOptions = {
    ...{ reconnect: true, maxReconnectAttempts: -1, reconnectTimeWait: 20, reconnectJitter: 5 },
    ignoreAuthErrorAbort: true,
  };

  /** A client with its job; what befalls the connection is kept. */
  async function joined(path: string, more: ConnectionOptions = {}) {
    const job = await lab.proof.startJob(path);
    const client = await job.connect(more);
    onTestFinished(() => client.close());
    return { job, client, session: await job.session(), told: toldTo(client) };
  }

  const connects = (session: string) => lab.records.of("nats.connected", session).length;
  const arrivesAtServer = (subject: string) =>
    until(async () => (await lab.witnessed()).some((message) => message.subject === subject));

  test("jobs publish, listen, ask, answer, store and fetch; the server counts the same at the end", async () => {
    const [shop, worker] = [await joined("acme/shop"), await joined("acme/worker")];
    const heard: string[] = [];
    worker.client.subscribe("build.status.>", {
      callback: (_, message) =>
        void heard.push(`${message.subject} ${message.headers?.get("Mine")} ${message.string()}`),
    });
    worker.client.subscribe("svc.version", { queue: "workers", callback: (_, message) => void message.respond("7") });
    await worker.client.flush();
    const said = headers();
    said.set("Mine", "1");
    shop.client.publish("build.status.1042.done", "green", { headers: said });
    expect((await shop.client.request("svc.echo", "hello")).string()).toBe("echo hello");
    const stored = await jetstream(shop.client).publish("event.shop", "stored");
    const pull = await jetstream(worker.client).consumers.get("EVENTS", "worker");
    const message = await pull.next({ expires: 5_000 });
    expect([message?.seq, message?.string()]).toEqual([stored.seq, "stored"]);
    expect(await message?.ackAck()).toBe(true);
    expect(heard).toEqual(["build.status.1042.done 1 green"]);
    await Promise.all([shop.client.drain(), worker.client.drain()]);
    for (const { session } of [shop, worker]) {
      const { data } = await lab.records.until("nats.disconnected", (record) => record.session === session);
      expect(data.server).toEqual({ received: data.published, sent: data.delivered });
    }
    expect(lab.records.of("nats.mismatch")).toEqual([]);
  });

  test("a merge widens what a connected job may do, without a reconnect", async () => {
    const { gitlab, people, projects: known } = lab.proof;
    const shop = known.get("acme/shop");
    if (shop === undefined) throw new TypeError("there is a shop");
    gitlab.pushCommit(shop, `feature/${mode}`);
    const mergeRequest = gitlab.openMergeRequest(shop, { sourceBranch: `feature/${mode}`, author: people.dana });
    const job = await lab.proof.startJob("acme/shop", { source: "merge_request_event", mergeRequest });
    const client = await job.connect();
    onTestFinished(() => client.close());
    const session = await job.session();
    client.publish(`release.${mode}`, "too early");
    const { data } = await lab.records.until("decision", (record) => record.session === session);
    expect(data).toMatchObject({
      operation: `pub release.${mode}`,
      outcome: "deny",
      reason: expect.stringMatching(/condition|fact/),
    });
    gitlab.mergeMergeRequest(mergeRequest, { user: people.lee });
    await gitlab.flush();
    await lab.records.until("facts.read", (record) => record.session === session && merged(record.data.facts));
    client.publish(`release.${mode}`, "now");
    await arrivesAtServer(`release.${mode}`);
    expect(
      (await lab.witnessed()).filter(({ subject }) => subject === `release.${mode}`).map(({ text }) => text),
    ).toEqual(["now"]);
    expect([connects(session), client.isClosed()]).toEqual([1, false]);
  });

  describe("another policy", () => {
    async function enforce(text: string): Promise<void> {
      writeFileSync(join(lab.proof.world.directory, "policy.yaml"), text);
      await lab.proof.world.broker?.reloadPolicy();
    }

    test("that gives more: connected jobs are told to come again, do, and may", async () => {
      const { client, session, told } = await joined("acme/shop", comingBack);
      const news: string[] = [];
      client.subscribe("news.*", { callback: (_, message) => void news.push(message.subject) });
      await client.flush();
      onTestFinished(() => enforce(policy));
      await enforce(policy.replace('"pub event.shop"', '"pub event.shop", "pub extra.*"'));
      await until(() => connects(session) === 2);
      await lab.records.until(
        "nats.disconnected",
        (record) => record.session === session && record.data.reason === "rights_changed",
      );
      await until(() =>
        told.some((text) => /rights changed: policy gives this job more at events than it connected with/.test(text)),
      );
      client.publish("extra.now");
      await arrivesAtServer("extra.now");
      await until(() => lab.records.of("nats.subscribed", session).length === 2);
      lab.admin.publish("news.again");
      await until(() => news.includes("news.again"));
    });

    test("that gives less: what is no longer allowed ends at once, the rest and the connection go on", async () => {
      const { client, session, told } = await joined("acme/shop");
      const listening = client.subscribe("news.*");
      client.publish("build.status.1042.before");
      await client.flush();
      onTestFinished(() => enforce(policy));
      await enforce(policy.replace('"sub news.*", ', "").replace('"pub event.shop", ', ""));
      expect(String(await listening.closed)).toContain('Permissions Violation for Subscription to "news.*"');
      client.publish("event.shop", "too late");
      client.publish("build.status.1042.after");
      await arrivesAtServer("build.status.1042.after");
      await lab.records.until(
        "decision",
        (record) => record.session === session && record.data.operation === "pub event.shop",
      );
      await until(() => told.some((text) => text.startsWith('Permissions Violation for Publish to "event.shop"')));
      lab.admin.publish("news.gone");
      await lab.admin.flush();
      expect([connects(session), client.isClosed()]).toEqual([1, false]);
      const { data } = await lab.records.until("nats.unsubscribed", (record) => record.session === session);
      expect(data.sid).toBe("1");
    });
  });

  test("an account for each project comes with its first job, and disconnects nobody, or cannot be rendered", async () => {
    if (mode === "config") return expectNotRendered();
    const before = [await joined("acme/shop"), await joined("acme/worker")];
    const heard: string[] = [];
    const logs = await Promise.all(["acme/tools", "acme/other"].map((path) => joined(path)));
    for (const { client, job } of logs) {
      client.subscribe("log.*", { callback: (_, message) => void heard.push(`${job.job.id} ${message.string()}`) });
      await client.flush();
    }
    for (const { client, job } of logs) client.publish("log.x", String(job.job.id));
    await until(() => heard.length === 2);
    expect(heard.toSorted()).toEqual(logs.map(({ job: { job } }) => `${job.id} ${job.id}`).toSorted());
    for (const { session, job } of logs) {
      const { data } = await lab.records.until("nats.connected", (record) => record.session === session);
      expect(data.account).toBe(`P_${job.job.pipeline.project.id}`);
      const kinds = lab.records.seen.map((record) => `${record.kind} ${(record.data as { account?: string }).account}`);
      expect(kinds.indexOf(`nats.account_pushed ${data.account}`)).toBeGreaterThanOrEqual(0);
      expect(kinds.indexOf(`nats.account_pushed ${data.account}`)).toBeLessThan(
        kinds.indexOf(`nats.connected ${data.account}`),
      );
    }
    for (const { client, session } of before) {
      await client.flush();
      expect(connects(session)).toBe(1);
    }
  });

  test("signing keys are rotated with clients connected: nobody is disconnected, and newcomers are the new key's", async () => {
    const old = await joined("acme/shop", comingBack);
    const oldKey = await issuerOf(old.session);
    await operate("POST", "/v1/keys/nats/prepare");
    const activate = () => operate<{ readonly code?: string }>("POST", "/v1/keys/nats/activate");
    expect((await activate()).code).toBe("key_not_ready"); // not before every server has it
    await until(async () => (await activate()).code === undefined);
    const fresh = await joined("acme/shop", comingBack);
    const newKey = await issuerOf(fresh.session);
    // In config mode the one issuer of the server's file signs, which no rotation changes.
    expect(newKey === oldKey).toBe(mode === "config");
    old.client.publish("build.status.1042.kept");
    await arrivesAtServer("build.status.1042.kept");
    expect([connects(old.session), connects(fresh.session)]).toEqual([1, 1]);
    const { keys } = await operate<KeysResponse>("GET", "/v1/keys");
    const retiring = keys.find((key) => key.class === "nats" && key.state === "retiring")?.kid;
    // Users it signed may still be connected.
    const retired = await operate<{ readonly code?: string }>("POST", `/v1/keys/nats/${retiring}/retire`);
    expect(retired.code).toBe("key_not_ready");
    await operate("POST", `/v1/keys/nats/${retiring}/revoke`);
    // Whom it signed, the server drops in operator mode; the job comes again, and is the new key's.
    if (mode === "operator") await until(() => connects(old.session) === 2);
    old.client.publish("build.status.1042.again");
    await arrivesAtServer("build.status.1042.again");
    expect(await issuerOf(old.session)).toBe(newKey);
    expect(connects(old.session)).toBe(mode === "operator" ? 2 : 1);
    expect(connects(fresh.session)).toBe(1);
  });

  test("a server that restarts: clients come back by themselves, and listen as before", async () => {
    const { client, session } = await joined("acme/worker", comingBack);
    const heard: string[] = [];
    client.subscribe("build.status.>", { callback: (_, message) => void heard.push(message.subject) });
    await client.flush();
    await lab.proof.world.stopServer();
    await lab.proof.world.restartServer();
    await until(() => lab.records.of("nats.subscribed", session).length === 2);
    await client.flush();
    await lab.admin.flush();
    lab.admin.publish("build.status.1.restarted");
    await until(() => heard.includes("build.status.1.restarted"));
    const { data } = await lab.records.until("nats.disconnected", (record) => record.session === session);
    expect(data.reason).toBe("server_closed");
  });

  test("a reload of the server's configuration: in config mode everybody is put off and comes back, else nobody", async () => {
    const { client, session } = await joined("acme/shop", comingBack);
    const before = await askedAbout();
    process.kill(lab.proof.world.server.pid, "SIGHUP");
    // In either mode the server asks about each of its clients again: in operator mode while they stay.
    await until(async () => (await askedAbout()) > before);
    if (mode === "config") await until(() => connects(session) === 2);
    client.publish("build.status.1042.reloaded");
    await client.flush();
    await arrivesAtServer("build.status.1042.reloaded");
    const newest = lab.records.of("nats.connected", session).at(-1)?.data.cid;
    const { connections } = await monitored<Connz>(lab.proof.world, "connz");
    expect(connections.some(({ cid }) => cid === newest)).toBe(true);
    expect(connects(session)).toBe(mode === "config" ? 2 : 1);
  });

  test("a session's end closes it on both sides", async () => {
    const jobs = await Promise.all(Array.from({ length: 40 }, () => joined("acme/shop")));
    const system = await lab.proof.admin.system();
    onTestFinished(() => system.close());
    const gone = new Map<number, number>();
    system.subscribe("$SYS.ACCOUNT.*.DISCONNECT", {
      callback: (_, message) => void gone.set(message.json<{ client: { id: number } }>().client.id, performance.now()),
    });
    await system.flush();
    const [client, server]: [number[], number[]] = [[], []];
    for (const { job, client: connection, session } of jobs) {
      const cid = lab.records.of("nats.connected", session)[0]?.data.cid ?? -1;
      const began = performance.now();
      lab.proof.gitlab.succeedJob(job.job); // GitLab tells the broker
      expect(String(await connection.closed())).toContain("session ended: job finished");
      client.push(performance.now() - began);
      await until(() => gone.has(cid));
      server.push((gone.get(cid) ?? 0) - began);
    }
    const p = (times: readonly number[], of: number) =>
      (times.toSorted((a, b) => a - b)[Math.floor(times.length * of)] ?? 0).toFixed(1);
    print(
      `${mode}: from GitLab's "succeeded" to the client's end p50 ${p(client, 0.5)} ms, p99 ${p(client, 0.99)} ms; to the server's p50 ${p(server, 0.5)} ms, p99 ${p(server, 0.99)} ms (${jobs.length} sessions)`,
    );
  });

  test("a broker that stops and starts: clients come back with the password they had", async () => {
    const own = await startAttackLab({ mode });
    onTestFinished(own.close);
    const job = await own.proof.startJob("acme/shop");
    const client = await job.connect(comingBack);
    onTestFinished(() => client.close());
    const told = toldTo(client);
    await own.proof.world.killBroker();
    await until(() => told.some((text) => /the gateway is shutting down; reconnect/.test(text)));
    await own.proof.world.startBroker();
    await until(async () => {
      client.publish("build.status.1042.back");
      await client.flush().catch(() => undefined);
      return (await own.witnessed()).some(({ subject }) => subject === "build.status.1042.back");
    });
  });

  async function expectNotRendered(): Promise<void> {
    const templated = policyOf("operator");
    const started = startAttackLab({ mode, policy: templated, projects, gateway: { targets: ["events", "own"] } });
    await expect(started).rejects.toThrow(/target own \(policy.yaml:\d+\) has an account by template/);
  }

  /** How often the server has asked the callout. */
  async function askedAbout(): Promise<number> {
    const { account_statz: accounts } = await monitored<Accstatz>(lab.proof.world, "accstatz?unused=1");
    return accounts.find(({ name }) => name === "AUTH")?.sent.msgs ?? 0;
  }

  /** Whose key signed the user of the session's newest connection, as the server says. */
  async function issuerOf(session: string): Promise<string> {
    const newest = lab.records.of("nats.connected", session).at(-1)?.data.cid;
    const { connections } = await monitored<Connz>(lab.proof.world, "connz?auth=1");
    return connections.find(({ cid }) => cid === newest)?.issuer_key ?? "nobody's";
  }

  async function operate<T>(method: "GET" | "POST", path: string): Promise<T> {
    const { broker } = lab.proof.world;
    if (broker === undefined) throw new TypeError("the broker runs");
    return (await askOperator<T>({ broker }, method, path, method === "GET" ? undefined : {})).body;
  }
});

/** What the client is told as long as it is open. */
function toldTo(client: NatsConnection): readonly string[] {
  const told: string[] = [];
  void (async () => {
    for await (const status of client.status()) if (status.type === "error") told.push(status.error.message);
  })();
  return told;
}

const merged = (facts: Readonly<Record<string, unknown>>) => JSON.stringify(facts["change.merged"])?.includes("true");

const print = (line: string) => process.stdout.write(`${line}\n`);
