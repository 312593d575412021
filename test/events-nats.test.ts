import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { DiscardPolicy, jetstream, jetstreamManager, RetentionPolicy, StorageType } from "@nats-io/jetstream";
import { connect, headers, type NatsConnection } from "@nats-io/transport-node";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { type Gitlab, startGitlab } from "../demo/gitlab/gitlab.ts";
import { type RunningNatsServer, startNatsServer } from "../demo/nats-server.ts";
import { identityHeader } from "../src/events/event-world.fake.ts";
import { openJetStreamSource } from "../src/events/jetstream-source.ts";
import type { EngineProcessOptions } from "./event-engine-process.ts";

const engineFile = fileURLToPath(new URL("event-engine-process.ts", import.meta.url));
const startedAt = Date.now();
const speed = 100;
const now = (): number => startedAt + (Date.now() - startedAt) * speed;

let directory: string;
let server: RunningNatsServer;
let connection: NatsConnection;

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "wayleave-events-"));
  const config = `
jetstream { store_dir: ${JSON.stringify(join(directory, "js"))}, max_file: 100MB }
accounts {
  CI: { jetstream: enabled, users: [ { user: broker, password: broker } ] }
  SYS: { users: [ { user: sys, password: sys } ] }
}
system_account: SYS
`;
  writeFileSync(join(directory, "nats.conf"), config);
  server = await startNatsServer({ directory, config: "nats.conf" });
  connection = await connect({ servers: server.address, user: "broker", pass: "broker" });
});
afterAll(async () => {
  await connection.close();
  await server.stop();
  rmSync(directory, { recursive: true, force: true });
});

// Each test has its own stream and consumer: the server takes a moment to forget deleted ones.
let stream: string;
let streams = 0;
beforeEach(async () => {
  const manager = await jetstreamManager(connection);
  streams += 1;
  stream = `IMAGES_${streams}`;
  await manager.streams.add({
    name: stream,
    subjects: ["image.pushed.*"],
    retention: RetentionPolicy.Limits,
    discard: DiscardPolicy.Old,
    storage: StorageType.File,
  });
});
afterEach(async () => {
  await (await jetstreamManager(connection)).streams.delete(stream);
});

async function publish(tag: string, job = identityHeader): Promise<void> {
  const sent = headers();
  if (job !== "") sent.set("Wayleave-Job", job);
  sent.set("Wayleave-Message", "nc_0123456789abcdef.1");
  const payload = JSON.stringify({ image: { name: "shop" }, tag });
  await jetstream(connection).publish("image.pushed.shop", payload, { headers: sent });
}

describe("one message, exactly one pipeline", () => {
  let gitlab: Gitlab;
  let options: Omit<EngineProcessOptions, "dieAfter">;
  const children: ChildProcess[] = [];

  beforeEach(async () => {
    gitlab = await startGitlab({ now });
    const owner = gitlab.createUser({ username: "deployer" });
    const deploy = gitlab.createProject({ path: "acme/deploy", members: { deployer: "maintainer" } });
    options = {
      nats: server.address,
      gitlab: gitlab.localUrl,
      triggerToken: gitlab.createTriggerToken(deploy, { owner }),
      readToken: gitlab.createAccessToken({ user: owner }),
      journal: join(directory, `journal-${stream}`),
      stream,
      startedAt,
      speed,
    };
  });
  afterEach(async () => {
    for (const child of children.splice(0)) child.kill("SIGKILL");
    await gitlab.close();
  });

  /** A life of the engine: what it said, until it is gone. */
  function engine(dieAfter: number) {
    const child = spawn(process.execPath, [engineFile, JSON.stringify({ ...options, dieAfter })], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    children.push(child);
    const said = new Set<string>();
    const waiting: (() => void)[] = [];
    createInterface({ input: child.stdout }).on("line", (line) => {
      said.add(line);
      for (const wake of waiting) wake();
    });
    const gone = new Promise<void>((resolve) => child.once("exit", () => resolve()));
    /** Resolves once all of it was said. */
    const says = (lines: readonly string[]): Promise<void> =>
      new Promise((resolve) => {
        const look = () => lines.every((line) => said.has(line)) && resolve();
        waiting.push(look);
        look();
      });
    return { child, said, says, gone };
  }

  /** Tags of the pipelines that exist. */
  function tags(): readonly string[] {
    const made = gitlab.pipelines().filter(({ source }) => source === "trigger");
    return made.map(({ variables }) => variables.find(({ key }) => key === "TAG")?.value ?? "").sort();
  }

  test("although the engine is killed at each of its steps, one after the other", async () => {
    const wanted: string[] = [];
    const first = engine(0);
    await first.says(["ready"]);
    first.child.kill("SIGKILL");
    await first.gone;
    for (let step = 1; step <= 7; step++) {
      wanted.push(`1.${step}`);
      await publish(`1.${step}`);
      await engine(step).gone;
    }
    const last = engine(0);
    await last.says(["ready"]);
    await settled(wanted.length);
    const journal = readFileSync(options.journal, "utf8");
    expect(journal.match(/"event.started"/g)).toHaveLength(wanted.length);
    expect(tags()).toEqual(wanted.toSorted());
  });

  test("although answers are lost and the engine is killed at random", async () => {
    const first = engine(0);
    await first.says(["ready"]);
    first.child.kill("SIGKILL");
    await first.gone;
    const wanted = Array.from({ length: 12 }, (_, at) => `2.${at}`);
    await Promise.all(wanted.map((tag) => publish(tag)));
    for (let life = 0; life < 6; life++) {
      gitlab.setApiFault(life % 2 === 0 ? { status: "answer_lost" } : undefined);
      await engine(3 + Math.floor(Math.random() * 8)).gone;
    }
    gitlab.setApiFault(undefined);
    const last = engine(0);
    await last.says(["ready"]);
    await settled(wanted.length);
    expect(tags()).toEqual(wanted.toSorted());
  });

  /** Resolves when the consumer has nothing left, looked at as often as the server answers. */
  async function settled(messages: number): Promise<void> {
    const manager = await jetstreamManager(connection);
    for (;;) {
      const info = await manager.consumers.info(stream, "wayleave_deploy-image");
      if (info.ack_floor.stream_seq >= messages && info.num_ack_pending === 0) return;
    }
  }

  test("a forged or missing identity starts nothing and is not delivered again", async () => {
    const running = engine(0);
    await running.says(["ready"]);
    await publish("3.0", identityHeader.replace("1042", "1043"));
    await publish("3.1", "");
    await publish("3.2");
    await running.says(["term 1 origin_mismatch", "term 2 not_from_a_job", "ack 3"]);
    expect(tags()).toEqual(["3.2"]);
  });
});

describe("the consumer", () => {
  const open = (more: Partial<Parameters<typeof openJetStreamSource>[0]> = {}) =>
    openJetStreamSource({
      connection,
      event: "deploy-image",
      stream,
      subject: "image.pushed.*",
      ackWaitMs: 200,
      maxDeliver: 2,
      resumeFrom: undefined,
      onExhausted: () => undefined,
      onFault: (error) => {
        throw error;
      },
      ...more,
    });

  test("begins with what comes after it was made, and keeps its place when it is opened again", async () => {
    await publish("before");
    const source = await open();
    await publish("after");
    const delivery = await source.next();
    expect(delivery).toMatchObject({ stream, sequence: 2, subject: "image.pushed.shop", deliveries: 1 });
    expect(Math.abs((delivery?.storedAt ?? 0) - Date.now())).toBeLessThan(60_000);
    expect(delivery?.header("wayleave-job")).toEqual([identityHeader]);
    expect(await delivery?.ack()).toBe(true);
    await source.close();
    const again = await open({ subject: "image.pushed.shop", resumeFrom: 0 });
    expect(await again.next()).toBeUndefined();
    await again.close();
  });

  test("made anew begins where it is told", async () => {
    await publish("1");
    const source = await open({ resumeFrom: startedAt });
    expect(await source.next()).toMatchObject({ sequence: 1 });
    await source.close();
  });

  test("tells of a message that was delivered as often as it may be, which can still be read", async () => {
    const told = Promise.withResolvers<number>();
    const source = await open({ onExhausted: ({ sequence }) => told.resolve(sequence) });
    await publish("1");
    expect(await source.next()).toMatchObject({ deliveries: 1 });
    expect(await source.next()).toMatchObject({ deliveries: 2 });
    expect(await source.next()).toBeUndefined();
    expect(await told.promise).toBe(1);
    const found = await source.find(1);
    expect(new TextDecoder().decode(found?.payload)).toContain('"tag":"1"');
    expect(await source.find(99)).toBeUndefined();
    await source.close();
  });

  test("of a stream that is not there is refused", async () => {
    await expect(open({ stream: "NOPE" })).rejects.toThrow();
  });
});
