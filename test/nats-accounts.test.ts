import { randomBytes } from "node:crypto";
import type { NatsConnection } from "@nats-io/transport-node";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { NatsAccountPushed } from "../src/core/nats-record.ts";
import { createNkey } from "../src/credential/nats-nkey.ts";
import { jobAccountClaims } from "../src/gateway/nats/account-claims.ts";
import { type Accounts, createAccounts } from "../src/gateway/nats/accounts.ts";
import { type Lab, startLab } from "./nats-render-lab.ts";
import { type LabSystem, systemOf } from "./nats-render-system.ts";

/** An account for each project, as `account: P_${job.project_id}` asks for. */

const projects = Array.from({ length: 500 }, (_, at) => `P_${1000 + at}`);

let lab: Lab;
let system: LabSystem;
let records: NatsAccountPushed[];
let accounts: Accounts;

const start = (): Accounts =>
  createAccounts({
    gateway: "bus",
    servers: system.account,
    describe: async (name) => jobAccountClaims({ ...lab.keys.public.account(name), name, jetstream: {} }),
    sign: lab.keys.signAccounts,
    now: Date.now,
    record: async (data) => {
      records.push(data);
    },
  });

beforeAll(async () => {
  lab = await startLab({ mode: "operator" });
  system = await systemOf(lab);
  records = [];
  accounts = start();
});
afterAll(() => lab?.stop());

let first: NatsConnection;
const closed: string[] = [];

test("500 accounts are pushed while a job is connected, each once, whoever asks at the same time", async () => {
  await accounts.ensure("P_1000");
  first = await lab.job("P_1000");
  void first.closed().then(() => closed.push("P_1000"));
  await Promise.all([...projects, ...projects].map((name) => accounts.ensure(name)));
  expect(records.map(({ account }) => account).toSorted()).toEqual(projects.toSorted());
  expect(new Set(records.map(({ key }) => key)).size).toBe(500);
  expect(closed).toEqual([]);
});

test("a job sees and hears nothing of another project's", async () => {
  const [mine, theirs] = [await lab.job("P_1000", "a"), await lab.job("P_1499", "b")];
  const heard: string[] = [];
  theirs.subscribe(">", { callback: (_error, message) => void heard.push(message.subject) });
  await theirs.flush();
  mine.publish("build.status");
  await mine.flush();
  await theirs.flush();
  theirs.publish("own");
  await theirs.flush();
  expect(heard).toEqual(["own"]);
});

test("a broker that starts anew finds them all there", async () => {
  const before = records.length;
  const again = start();
  await Promise.all(projects.map((name) => again.ensure(name)));
  expect(records.length).toBe(before);
});

test("a new signing key reaches all of them, and disconnects nobody", async () => {
  for (const name of projects) lab.keys.account(name).signing.push(createNkey("account", randomBytes));
  expect(await accounts.refresh(projects)).toEqual([]);
  await first.flush();
  expect(closed).toEqual([]);
  const { identity, signing, active } = lab.keys.account("P_1250");
  lab.keys.account("P_1250").active = signing.at(-1) ?? active;
  await expect(lab.job("P_1250").then((job) => job.flush())).resolves.toBeUndefined();
  expect(await system.account.lookUp(identity.publicKey)).toHaveLength(1);
});

test("the server has them after it died", async () => {
  await lab.restart();
  await expect(lab.job("P_1250").then((job) => job.flush())).resolves.toBeUndefined();
  await expect(lab.job("P_9999")).rejects.toThrow(/Authorization Violation/);
});
