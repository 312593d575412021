import { randomBytes } from "node:crypto";
import type { NatsConnection } from "@nats-io/transport-node";
import { afterEach, expect, test } from "vitest";
import { freePort } from "../demo/free-port.ts";
import type { NatsAccountPushed } from "../src/core/nats-record.ts";
import { createNkey } from "../src/credential/nats-nkey.ts";
import { authAccountClaims, jobAccountClaims } from "../src/gateway/nats/account-claims.ts";
import { type Accounts, createAccounts } from "../src/gateway/nats/accounts.ts";
import { type Lab, type LabOptions, startLab } from "./nats-render-lab.ts";
import { type LabSystem, systemOf } from "./nats-render-system.ts";

/** What changes at servers while they run, and jobs are connected. Operator mode: the other has none of it. */

const labs: Lab[] = [];
afterEach(async () => {
  for (const lab of labs.splice(0)) await lab.stop();
});

interface Running {
  readonly lab: Lab;
  readonly system: LabSystem;
  readonly accounts: Accounts;
  readonly records: readonly NatsAccountPushed[];
}

async function start(options: Partial<LabOptions> = {}): Promise<Running> {
  const lab = await startLab({ mode: "operator", ...options });
  labs.push(lab);
  const system = await systemOf(lab);
  const records: NatsAccountPushed[] = [];
  return { lab, system, accounts: accountsAt(lab, system, records), records };
}

function accountsAt(lab: Lab, system: LabSystem, records: NatsAccountPushed[]): Accounts {
  return createAccounts({
    gateway: "bus",
    servers: system.account,
    describe: async (name) => jobAccountClaims({ ...lab.keys.public.account(name), name, jetstream: {} }),
    sign: lab.keys.signAccounts,
    now: Date.now,
    record: async (data) => {
      records.push(data);
    },
  });
}

/** Everything that happens to a connection's stay: nothing should. */
function watched(connection: NatsConnection): string[] {
  const seen: string[] = [];
  const watch = async () => {
    // An update is the server's list of addresses, which may come at any time and disconnects nobody.
    for await (const { type } of connection.status()) if (type !== "update") seen.push(type);
  };
  void watch();
  return seen;
}

async function answers(connection: NatsConnection): Promise<boolean> {
  const got = new Promise<void>((resolve) => connection.subscribe("alive", { max: 1, callback: () => resolve() }));
  connection.publish("alive");
  await Promise.race([got, connection.closed()]);
  return !connection.isClosed();
}

test("an account that is added is there for its first job, and nobody else is disconnected", async () => {
  const { lab, accounts, records } = await start();
  await accounts.ensure("CI");
  const old = await lab.job("CI");
  const seen = watched(old);
  await expect(lab.job("P_7")).rejects.toThrow(/Authorization Violation/);
  await accounts.ensure("P_7");
  expect(await answers(await lab.job("P_7"))).toBe(true);
  expect(await answers(old)).toBe(true);
  expect(seen).toEqual([]);
  expect(records.map(({ account }) => account)).toEqual(["CI", "P_7"]);
});

test("signing keys rotate while jobs are connected: the old one's stay until it is retired, the new one signs", async () => {
  const { lab, accounts, records } = await start();
  const { account } = lab.keys;
  const [first, second] = [account("CI").active, createNkey("account", randomBytes)];
  await accounts.ensure("CI");
  const old = await lab.job("CI");
  const seen = watched(old);
  // A key that the servers do not know yet signs for nobody.
  account("CI").active = second;
  await expect(lab.job("CI")).rejects.toThrow(/Authorization Violation/);

  account("CI").active = first;
  account("CI").signing = [first, second]; // prepare
  expect(await accounts.refresh(["CI"])).toEqual([]);
  account("CI").active = second; // activate: the servers know both
  expect(await accounts.refresh(["CI"])).toEqual([]);
  const fresh = await lab.job("CI");
  expect(await answers(old)).toBe(true);
  expect(seen).toEqual([]);
  expect(records.map(({ signing_keys: keys }) => keys.length)).toEqual([1, 2]);

  account("CI").signing = [second]; // retire: no user of the old key is left, or it goes now
  const gone = old.closed();
  expect(await accounts.refresh(["CI"])).toEqual([]);
  await gone;
  expect(await answers(fresh)).toBe(true);
  account("CI").active = first;
  await expect(lab.job("CI")).rejects.toThrow(/Authorization Violation/);
});

test("a server that dies and comes back has the accounts that were pushed, not the older ones of its file", async () => {
  const { lab, system, accounts, records } = await start();
  const { account, signAccounts, public: keys } = lab.keys;
  await accounts.ensure("CI");
  const auth = { ...keys.auth, name: "AUTH", signingKeys: [createNkey("account", randomBytes).publicKey] };
  const pushed = signAccounts(authAccountClaims(auth), Math.floor(Date.now() / 1000));
  await system.account.push(pushed);
  const second = createNkey("account", randomBytes);
  account("CI").signing = [account("CI").active, second];
  await accounts.refresh(["CI"]);
  await lab.restart();
  account("CI").active = second;
  expect(await answers(await lab.job("CI"))).toBe(true);
  const again = await systemOf(lab);
  expect(await again.account.lookUp(keys.auth.key)).toEqual([pushed]);
  const after: NatsAccountPushed[] = [];
  await accountsAt(lab, again, after).ensure("CI");
  expect([records.length, after]).toEqual([2, []]);
});

test("a broker that starts anew pushes nothing twice", async () => {
  const { lab, system, accounts } = await start();
  await accounts.ensure("CI");
  const again: NatsAccountPushed[] = [];
  const restarted = accountsAt(lab, system, again);
  await restarted.ensure("CI");
  await restarted.refresh(["CI"]);
  expect(again).toEqual([]);
});

test("an account of somebody else's operator is refused, and so is what is no JWT", async () => {
  const { system, lab } = await start();
  const stranger = createNkey("operator", randomBytes);
  const [head, body] = lab.trust.account("CI").jwt.split(".");
  for (const jwt of [
    `${head}.${body}.${stranger.sign(Buffer.from(`${head}.${body}`)).toString("base64url")}`,
    "x",
    "",
  ]) {
    await expect(system.account.push(jwt)).rejects.toMatchObject({ code: "nats_unavailable" });
  }
  expect(await system.account.lookUp(lab.keys.account("CI").identity.publicKey)).toEqual([""]);
});

test("every server of a cluster takes an account, and one that died is not waited for", async () => {
  const [a, b] = [await freePort(), await freePort()];
  const cluster = (name: string, own: number, other: number) =>
    `server_name: ${name}\ncluster { name: c, listen: "127.0.0.1:${own}", routes: ["nats://127.0.0.1:${other}"], pool_size: -1 }\n`;
  // No JetStream: two servers are no quorum.
  const first = await start({ more: cluster("n1", a, b), jetstream: false });
  const second = await start({ more: cluster("n2", b, a), jetstream: false, keys: first.lab.keys });
  await both(first.system);
  await first.accounts.ensure("CI");
  expect(await answers(await second.lab.job("CI"))).toBe(true);
  const key = first.lab.keys.account("CI").identity.publicKey;
  const [one, two] = await first.system.account.lookUp(key);
  expect(one).toMatch(/^eyJ/);
  expect(two).toBe(one);

  await second.lab.server().kill();
  await first.accounts.ensure("P_7");
  expect(await answers(await first.lab.job("P_7"))).toBe(true);
});

/** Resolves once both servers of a cluster answer. */
async function both({ account }: LabSystem): Promise<void> {
  while ((await account.servers()).length < 2);
}
