import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createLocalJWKSet, decodeProtectedHeader, type JSONWebKeySet, jwtVerify } from "jose";
import { pino } from "pino";
import { request } from "undici";
import { afterEach, beforeEach, expect, test } from "vitest";
import { parse, stringify } from "yaml";
import { createJobClient, type JobClient } from "../demo/job-client.ts";
import type { KeyResponse, KeyRevocationResponse, KeysResponse, ProblemResponse } from "../src/api/contract.ts";
import { loadConfig } from "../src/config/load.ts";
import { type RunningServer, startServer } from "../src/server.ts";
import { billing, type CrashCi, startCrashCi, startJob } from "./broker-crash-load.ts";
import { type BrokerInstallation, installBroker } from "./broker-installation.ts";
import { askEdge } from "./edge-question.ts";
import { askOperator } from "./operator.ts";
import { type RecordStream, streamRecords } from "./record-queue.ts";

const policy = `version: 1
targets: { billing: { http: { hosts: [billing.internal] } } }
who: { shop: { gitlab: { project: acme/shop } } }
roles:
  read-billing: { for: [shop], allow: { billing: ["GET /v1/invoices/**"] } }
`;

/** What the windows are computed from, so small that a whole rotation fits into a test. */
const keyCacheMs = 1_000;
const tokenTtlMs = 4_000;

let installation: BrokerInstallation;
let ci: CrashCi;
let client: JobClient;
let broker: RunningServer;
let records: RecordStream;

beforeEach(async () => {
  installation = await installBroker({
    policy,
    targets: ["billing"],
    ci: async (url) => {
      ci = await startCrashCi(url);
      return ci.part;
    },
  });
  rotateQuickly(installation.configPath);
  client = createJobClient(installation.url, "");
  broker = await start();
  records = await streamRecords(installation.adminSocket);
});

afterEach(async () => {
  records.close();
  await client.close();
  await broker.close();
  await ci.gitlab.close();
  installation.remove();
});

/** An Envoy that keeps key sets for a second, and tokens that live four. */
function rotateQuickly(configPath: string): void {
  const config = parse(readFileSync(configPath, "utf8")) as { gateways: object[] };
  const sidecar = {
    name: "sidecar-1",
    kind: "envoy",
    targets: ["billing"],
    secret_file: "edge-1.secret",
    protocol: "http",
    revocation: "rest",
    key_cache: `${keyCacheMs}ms`,
  };
  const more = { sessions: { token_ttl: `${tokenTtlMs}ms` }, gateways: [...config.gateways, sidecar] };
  writeFileSync(configPath, stringify({ ...config, ...more }));
}

async function start(): Promise<RunningServer> {
  const loaded = loadConfig({ path: installation.configPath, env: {} });
  if (!("config" in loaded)) throw new Error(JSON.stringify(loaded.diagnostics));
  return startServer(loaded.config, { log: pino({ level: "silent" }) });
}

async function operate<T>(method: "GET" | "POST", path: string): Promise<T & Partial<ProblemResponse>> {
  const { adminSocket } = installation;
  const sent = method === "GET" ? undefined : { because: "a test" };
  return (await askOperator<T & Partial<ProblemResponse>>({ broker: { adminSocket } }, method, path, sent)).body;
}

interface Token {
  readonly text: string;
  readonly kid: string;
  /** ms since the epoch. */
  readonly expiresAt: number;
}

async function exchange(): Promise<Token> {
  const subjectToken = await ci.gitlab.idToken(startJob(ci), { aud: installation.url });
  const askedAt = Date.now();
  const { status, body } = await client.exchange(subjectToken);
  if (status !== 200) throw new Error(`the exchange answered ${status}: ${JSON.stringify(body)}`);
  const text = String(body.access_token);
  return { text, kid: decodeProtectedHeader(text).kid ?? "", expiresAt: askedAt + Number(body.expires_in) * 1000 };
}

const ask = (token: Token) => askEdge(installation, { ...billing, method: "GET", token: token.text });

interface KeySet {
  readonly fetchedAt: number;
  readonly maxAgeMs: number;
  readonly document: JSONWebKeySet;
}

async function fetchKeys(): Promise<KeySet> {
  const fetchedAt = performance.now();
  const { headers, body } = await request(`${installation.url}/oauth2/jwks`);
  const [, maxAge] = /^public, max-age=([1-9]\d*)$/.exec(String(headers["cache-control"])) ?? [];
  return { fetchedAt, maxAgeMs: Number(maxAge) * 1000, document: (await body.json()) as JSONWebKeySet };
}

/** A gateway that keeps the key set for as long as it was told, and never asks sooner, whatever kid it sees: as Envoy does. */
async function nativeGateway() {
  let kept = await fetchKeys();
  return async (token: Token): Promise<boolean> => {
    if (performance.now() - kept.fetchedAt >= keyCacheMs) kept = await fetchKeys();
    return jwtVerify(token.text, createLocalJWKSet(kept.document), { typ: "at+jwt" }).then(
      () => true,
      () => false,
    );
  };
}

interface Load {
  readonly tokens: Token[];
  /** Good requests that were refused, and by whom. */
  readonly refused: string[];
  served: number;
}

const lanes = 4;
/** A token this near its end may expire on the way. */
const marginMs = 500;

/** The newest, the oldest and one between, of those that have time left. */
function someLiving(tokens: readonly Token[]): readonly Token[] {
  const living = tokens.filter(({ expiresAt }) => expiresAt - marginMs > Date.now());
  return [living.at(-1), living[0], living[living.length >> 1]].filter((token) => token !== undefined);
}

async function call(load: Load, token: Token, native: (token: Token) => Promise<boolean>): Promise<void> {
  const { decision, reason } = await ask(token);
  if (decision !== "allow") load.refused.push(`the broker: ${reason}, kid ${token.kid}`);
  if (!(await native(token)) && token.expiresAt > Date.now()) load.refused.push(`a key set, kid ${token.kid}`);
  load.served += 2;
}

/** Jobs that exchange and call, with new and old tokens, through a gateway that asks and one that does not. */
async function underLoad(during: (load: Load) => Promise<void>): Promise<Load> {
  const load: Load = { tokens: [], refused: [], served: 0 };
  let over = false;
  const lane = async () => {
    const native = await nativeGateway();
    while (!over) {
      load.tokens.push(await exchange());
      for (const token of someLiving(load.tokens)) await call(load, token, native);
    }
  };
  const running = Promise.all(Array.from({ length: lanes }, lane));
  running.catch(() => undefined); // awaited below, where its failure counts
  try {
    await during(load);
  } finally {
    over = true;
  }
  await running;
  return load;
}

/** Activates as soon as it is not refused any more: the load goes on meanwhile. */
async function activateWhenReady(): Promise<KeyResponse> {
  for (;;) {
    const answer = await operate<KeyResponse>("POST", "/v1/keys/access-token/activate");
    if (answer.code === undefined) return answer;
    expect(answer.code).toBe("key_not_ready");
    await exchange();
  }
}

test("a rotation under load refuses no good request, here or where key sets are kept", async () => {
  const load = await underLoad(async ({ tokens }) => {
    const first = (await records.next("credential.minted")).data.kid;
    const { key, gateways } = await operate<KeyResponse>("POST", "/v1/keys/access-token/prepare");
    expect(gateways.map(({ gateway }) => gateway)).toEqual(["sidecar-1"]);
    const preparedAt = Date.now();
    const active = await activateWhenReady();
    expect(Date.now() - preparedAt).toBeGreaterThanOrEqual(2 * keyCacheMs - 100);
    expect(active.key).toMatchObject({ kid: key.kid, state: "active" });
    const early = await operate<KeyResponse>("POST", `/v1/keys/access-token/${first}/retire`);
    expect(early.code).toBe("key_not_ready");
    expect((await records.next("key.activated")).data).toMatchObject({ kid: key.kid, because: "a test" });
    const retired = await records.next("key.retired");
    expect(retired.data.kid).toBe(first);
    const lastOfFirst = tokens.findLast(({ kid }) => kid === first)?.expiresAt ?? Number.POSITIVE_INFINITY;
    expect(Date.parse(retired.time)).toBeGreaterThanOrEqual(lastOfFirst - 1000);
    expect(tokens.at(-1)?.kid).toBe(key.kid);
  });
  expect(load.refused).toEqual([]);
  expect(load.served).toBeGreaterThan(100);
  const { document } = await fetchKeys();
  expect(document.keys.map(({ kid }) => kid)).toEqual([load.tokens.at(-1)?.kid]);
});

test("an emergency revocation under load: once it is answered, no token of the key is served, also not after a restart or from a backup", async () => {
  const keyDirectory = join(installation.dataDir, "keys");
  const backup = readdirSync(keyDirectory).map((name) => [name, readFileSync(join(keyDirectory, name))] as const);
  const { kid } = await exchange();
  let revoked: KeyRevocationResponse | undefined;
  let bad: Token[] = [];
  const accepted: string[] = [];
  await underLoad(async ({ tokens }) => {
    await records.next("decision");
    revoked = await operate<KeyRevocationResponse>("POST", `/v1/keys/access-token/${kid}/revoke`);
    bad = tokens.filter((token) => token.kid === kid);
    for (const token of bad) {
      const { decision, reason } = await ask(token);
      if (decision !== "deny" || reason !== "credential_invalid") accepted.push(`${decision} ${reason}`);
    }
    const { document } = await fetchKeys();
    expect(document.keys.map((key) => key.kid)).toEqual([revoked.signing?.kid]);
    const fresh = await exchange();
    expect([fresh.kid, (await ask(fresh)).decision]).toEqual([revoked.signing?.kid, "allow"]);
  });
  expect(bad.length).toBeGreaterThan(0);
  expect(accepted).toEqual([]);
  expect(revoked?.key.state).toBe("revoked");

  records.close();
  await broker.close();
  for (const [name, sealed] of backup) writeFileSync(join(keyDirectory, name), sealed);
  broker = await start();
  records = await streamRecords(installation.adminSocket);
  const { keys } = await operate<KeysResponse>("GET", "/v1/keys");
  expect(keys.find((key) => key.kid === kid)?.state).toBe("revoked");
  expect((await fetchKeys()).document.keys.map((key) => key.kid)).not.toContain(kid);
  for (const token of bad) expect((await ask(token)).decision).toBe("deny");
  const fresh = await exchange();
  expect([fresh.kid === kid, (await ask(fresh)).decision]).toEqual([false, "allow"]);
});
