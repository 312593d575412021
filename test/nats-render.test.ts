import { spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { jetstream, jetstreamManager } from "@nats-io/jetstream";
import { headers, type NatsConnection } from "@nats-io/transport-node";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { findNatsServer, natsServerVersion } from "../demo/nats-server.ts";
import { encodeNatsJwt } from "../src/credential/nats-jwt.ts";
import { createNkey } from "../src/credential/nats-nkey.ts";
import { isServerTaken } from "../src/gateway/nats/server-version.ts";
import { probeDoor } from "../src/gateway/nats/system-probe.ts";
import { type Lab, type LabOptions, proxied, renderLab, startLab, userAuth } from "./nats-render-lab.ts";
import { systemOf } from "./nats-render-system.ts";

const modes = ["operator", "config"] as const;
/** Names that NATS's configuration could read as something else. */
const oddAccounts = ["CI", "include", "true", "7", "1K", "-x", "_", "2026-11-21"];

test(`nats-server ${natsServerVersion()} is new enough`, () => {
  expect(isServerTaken(natsServerVersion())).toBe(true);
});

function check(directory: string, file: string): string {
  const { status, stdout, stderr } = spawnSync(findNatsServer(), ["-t", "-c", join(directory, file)], {
    encoding: "utf8",
  });
  return status === 0 ? "valid" : `${stdout}${stderr}`;
}

describe.each(modes)("nats-server -t takes what is rendered in %s mode", (mode) => {
  test.each<{ what: string; options: Omit<LabOptions, "mode"> & { fragments?: true } }>([
    { what: "whole", options: {} },
    { what: "for direct mode", options: { direct: true } },
    { what: "with accounts whose names are words of its own", options: { accounts: oddAccounts } },
    { what: "with bounded streams", options: { jetstream: { fileBytes: 1_000_000, memoryBytes: 0 } } },
    { what: "without streams", options: { jetstream: false } },
  ])("$what", ({ options }) => {
    const { directory } = renderLab({ mode, ...options });
    expect(check(directory, "nats-server.conf")).toBe("valid");
    rmSync(directory, { recursive: true });
  });

  test("as fragments of an existing configuration", () => {
    const { directory } = renderLab({ mode, fragments: true });
    const mine = 'accounts { MINE { users: [ { user: "a", password: "b" } ] }\n include "wayleave-accounts.conf" }';
    const lines = ["listen: 127.0.0.1:-1", ...(mode === "config" ? [mine] : []), 'include "wayleave.conf"'];
    writeFileSync(join(directory, "mine.conf"), lines.join("\n"));
    expect(check(directory, "mine.conf")).toBe("valid");
    rmSync(directory, { recursive: true });
  });
});

describe.each(modes)("a server in %s mode", (mode) => {
  let lab: Lab;
  let system: Awaited<ReturnType<typeof systemOf>>;
  beforeAll(async () => {
    lab = await startLab({ mode, accounts: oddAccounts });
    system = await systemOf(lab);
    if (mode === "operator") for (const name of oddAccounts) await system.account.push(lab.trust.account(name).jwt);
  });
  afterAll(() => lab?.stop());

  const outcome = (connecting: Promise<NatsConnection>) =>
    connecting.then(
      () => "connected",
      (error: Error) => error.message,
    );

  test("places a job that comes through the gateway in its account, under its name", async () => {
    const job = await lab.job("CI", "gitlab:job:7");
    const [came] = await system.strangers(1);
    const account = mode === "operator" ? lab.keys.account("CI").identity.publicKey : "CI";
    expect(came).toMatchObject({ account, user: "gitlab:job:7", cid: job.info?.client_id });
  });

  test.each(oddAccounts)("keeps account %s apart from the others", async (account) => {
    const [here, there] = [await lab.job(account, "a"), await lab.job(account === "CI" ? "7" : "CI", "b")];
    const got: string[] = [];
    for (const [at, job] of [here, there].entries())
      job.subscribe("x.>", { callback: (_error, message) => void got.push(`${at} ${message.subject}`) });
    await Promise.all([here.flush(), there.flush()]);
    here.publish("x.1");
    await here.flush();
    await there.flush();
    expect(got).toEqual(["0 x.1"]);
  });

  test.each<{ what: string; connect: () => Promise<NatsConnection>; asks: number; reason: string }>([
    {
      what: "a live ticket that does not come through the gateway",
      connect: () => lab.client({ token: "ticket:CI:x" }),
      // In operator mode the sentinel itself needs a proxy: the callout is not even asked.
      asks: mode === "operator" ? 0 : 1,
      reason: "Proxy Required",
    },
    {
      what: "a live ticket and a proxy that nobody trusts",
      connect: () =>
        lab.client({ authenticator: (nonce) => proxied(createNkey("server", randomBytes), "ticket:CI:x", nonce) }),
      asks: 0,
      reason: "Proxy Not Trusted",
    },
    {
      what: "the gateway without a ticket",
      connect: () => lab.client({ authenticator: (nonce) => proxied(lab.keys.proxy, "nothing", nonce) }),
      asks: 1,
      reason: "Authentication Failure",
    },
    {
      what: "nothing at all",
      connect: () => lab.client({}),
      asks: mode === "operator" ? 0 : 1,
      reason: mode === "operator" ? "Proxy Required" : "Authentication Failure",
    },
    {
      what: "another user of the system account",
      connect: () =>
        lab.client({
          authenticator: (nonce) =>
            userAuth(mode, createNkey("user", randomBytes), createNkey("account", randomBytes), nonce),
        }),
      asks: mode === "operator" ? 0 : 1,
      reason: "Authentication Failure",
    },
  ])("refuses $what, and the system account hears of it", async ({ connect, asks, reason }) => {
    const before = lab.asked();
    expect(await outcome(connect())).toMatch(/Authorization Violation/);
    expect(lab.asked() - before).toBe(asks);
    expect((await system.refusals(1)).map((client) => client.reason)).toEqual([reason]);
  });

  test("has streams for the jobs' accounts", async () => {
    const job = await lab.job("CI", "streams");
    const manager = await jetstreamManager(job);
    await manager.streams.add({ name: "EVENTS", subjects: ["events.>"] });
    const ack = await jetstream(job).publish("events.a", "1");
    expect(ack.seq).toBe(1);
  });

  test("closes a connection that is kicked, and its counts are those of the wire: headers and payload, no lines", async () => {
    const job = await lab.job("CI", "counted");
    const { server_id: serverId = "", client_id: cid = 0 } = job.info ?? {};
    system.account.announce(serverId, cid);
    const got: string[] = [];
    job.subscribe("in.>", { callback: (_error, message) => void got.push(message.subject) });
    job.publish("out", "1234567");
    job.publish("in.plain", "12345");
    const h = headers();
    h.append("A", "b");
    job.publish("in.headers", "12345", { headers: h }); // NATS/1.0, A: b and the empty line are 18 bytes
    job.publish("$SYS.nobody", "123"); // refused by nobody, and taken by nobody
    await expect(job.request("svc.none", "1", { timeout: 1000 })).rejects.toThrow(); // answered by a 503 of the server itself
    await job.flush();
    expect(got).toEqual(["in.plain", "in.headers"]);
    expect(await system.account.kick(serverId, cid)).toBe(true);
    await job.closed();
    expect(await system.account.totals(serverId, cid, 5000)).toEqual({
      received: { messages: 5, bytes: 7 + 5 + 23 + 3 + 1 },
      sent: { messages: 2, bytes: 5 + 23 },
    });
    expect(await system.account.kick(serverId, cid)).toBe(true); // it answers that there is none
    expect(await system.account.kick(`N${"A".repeat(55)}`, cid)).toBe(false);
  });

  test("tells the broker who it is", async () => {
    expect(await system.account.servers()).toEqual([expect.objectContaining({ version: natsServerVersion() })]);
  });
});

describe.each(modes)("direct mode, %s mode", (mode) => {
  let lab: Lab;
  beforeAll(async () => {
    lab = await startLab({ mode, direct: true });
    if (mode === "operator") await (await systemOf(lab)).account.push(lab.trust.account("CI").jwt);
  });
  afterAll(() => lab?.stop());

  test("asks the callout about clients that come by themselves, with long tokens", async () => {
    const job = await lab.client({ token: `token:CI:job:${"x".repeat(8000)}` });
    await expect(job.flush()).resolves.toBeUndefined();
  });

  test("still refuses there who may come through the gateway only", async () => {
    await expect(lab.client({ token: "ticket:CI:x" })).rejects.toThrow(/Authorization Violation/);
  });
});

describe("accounts that need none", () => {
  let lab: Lab;
  afterEach(() => lab?.stop());

  test.each(modes)("have no streams in %s mode", async (mode) => {
    lab = await startLab({ mode, jetstream: false });
    if (mode === "operator") await (await systemOf(lab)).account.push(lab.trust.account("CI").jwt);
    const job = await lab.job("CI");
    await expect(jetstreamManager(job)).rejects.toThrow(/jetstream/i);
  });

  test("have nothing for a user that says nothing of its rights", async () => {
    lab = await startLab({ mode: "operator" });
    await (await systemOf(lab)).account.push(lab.trust.account("CI").jwt);
    const { identity, signing } = lab.keys.account("CI");
    const user = createNkey("user", randomBytes);
    const nats = { type: "user", subs: -1, data: -1, payload: -1, issuer_account: identity.publicKey };
    const jwt = encodeNatsJwt({ sub: user.publicKey, name: "mute", nats }, signing[0] ?? identity, Date.now());
    const mute = await lab.client({
      authenticator: (nonce) => ({ jwt, sig: user.sign(Buffer.from(nonce ?? "")).toString("base64url") }),
    });
    const denied = new Promise((resolve) => mute.subscribe("a", { callback: (error) => resolve(error?.message) }));
    expect(await denied).toMatch(/permissions violation/i);
  });
});

describe.each(modes)("the back door in %s mode", (mode) => {
  let lab: Lab;
  afterEach(() => lab?.stop());

  const outcomes = async () => {
    const probes = await probeDoor((auth) => lab.client({ authenticator: () => auth }));
    return probes.map(({ outcome }) => outcome);
  };

  test.each([false, true])("is shut as rendered, direct: %s", async (direct) => {
    lab = await startLab({ mode, direct });
    expect(await outcomes()).toEqual(["refused", "refused", "refused"]);
  });

  test("is said to be unknown where nobody answers", async () => {
    lab = await startLab({ mode });
    await lab.server().kill();
    expect(await outcomes()).toEqual(["unknown", "unknown", "unknown"]);
  });
});

test("the back door is seen to be open where a configuration says no_auth_user after what was rendered", async () => {
  const anonymous = createNkey("user", randomBytes).publicKey;
  const lab = await startLab({
    mode: "config",
    more: `authorization { users: [ { nkey: "${anonymous}" } ] }\nno_auth_user: "${anonymous}"\n`,
    silent: true,
  });
  const probes = await probeDoor((auth) => lab.client({ authenticator: () => auth }));
  await lab.stop();
  expect(probes).toContainEqual({ client: "without a credential", outcome: "let_in" });
});
