import { spawn } from "node:child_process";
import { request as send } from "node:http";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { mintAccessToken } from "../src/credential/access-token.ts";
import type { KeyRing } from "../src/credential/keys.ts";
import type { Question } from "../src/gateway/decision-point.ts";
import type { Refusals } from "../src/gateway/envoy/refusals.ts";
import { fakeDecisionPoint } from "../src/gateway/nginx/decision-point.fake.ts";
import { job, policyModel, role, target } from "../src/policy/policy.fake.ts";
import {
  issuer,
  type LabBroker,
  type LabUpstream,
  makeKey,
  type NativeEnvoy,
  startBroker,
  startNative,
  startUpstream,
  trustDomain,
} from "./envoy-native-lab.ts";

/** What a native Envoy does with tokens, refusals, versions and streams: one request at a time. */
const model = policyModel({
  targets: [target("billing", "http", { unidentified: ["GET /healthz"] }), target("soft", "http", { mode: "observe" })],
  roles: [
    role("read", { billing: ["GET /v1/**"], soft: ["GET /v1/**"] }),
    role("release", { billing: ["POST /v1/releases"], soft: ["POST /v1/releases"] }, { when: "change.merged" }),
    role("watch", { billing: ["GET /watch stream"] }),
  ],
});
const key = await makeKey("kid-1");
const other = await makeKey("kid-2");
const questions: Question[] = [];
const refusals = (parts: Partial<Refusals> = {}): Refusals => ({
  sessions: [],
  tokens: [],
  kids: ["kid-1", "kid-2"],
  validUntil: Date.now() + 600_000,
  ...parts,
});

let broker: LabBroker;
let upstream: LabUpstream;
let envoy: NativeEnvoy;

const start = (parts: Partial<Parameters<typeof startNative>[0]> = {}) =>
  startNative({
    policy: model,
    targets: ["billing", "soft"],
    broker,
    upstream: upstream.port,
    refusals: refusals(),
    ...parts,
  });

beforeAll(async () => {
  const nothing = fakeDecisionPoint({ rights: [], observed: ["soft"] });
  broker = await startBroker({
    keys: [key, other],
    decisionPoint: {
      answer(question) {
        questions.push(question);
        return nothing.answer(question);
      },
    },
    gateways: [{ name: "envoy-1", targets: ["billing", "soft"] }],
  });
  upstream = await startUpstream();
  envoy = await start();
});
afterAll(async () => {
  await envoy.stop();
  envoy.remove();
  await broker.close();
  await upstream.close();
});
afterEach(() => {
  questions.length = 0;
  upstream.served.length = 0;
});

const mint = (parts: Partial<Parameters<typeof mintAccessToken>[1]> = {}, ring: KeyRing = key) =>
  mintAccessToken(ring, {
    issuerUrl: issuer,
    trustDomain,
    sessionId: "ses_0000000000000001",
    identity: job(),
    targets: ["billing", "soft"],
    roles: ["read", "release", "watch"],
    rolesNarrowed: false,
    denies: [],
    policy: model.version,
    jti: "jti-1",
    now: Date.now(),
    expiresAt: Date.now() + 300_000,
    ...parts,
  });

interface Asking {
  readonly to?: NativeEnvoy;
  readonly method?: string;
  readonly host?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

/** Status of one request; 101 for an upgrade that was taken. */
function ask(
  path: string,
  token?: string,
  { to = envoy, method = "GET", host = "billing.internal", headers = {} }: Asking = {},
): Promise<number> {
  const authorization = token === undefined ? {} : { authorization: `Bearer ${token}` };
  return new Promise((resolve, reject) => {
    const asked = send(
      { port: to.listenPort, path, method, agent: false, headers: { host, ...authorization, ...headers } },
      (response) => {
        response.resume();
        response.on("end", () => resolve(response.statusCode ?? 0));
      },
    );
    asked.on("upgrade", (_, socket) => {
      socket.destroy();
      resolve(101);
    });
    asked.once("error", reject);
    asked.end();
  });
}

/** Asks until the answer is this one: Envoy takes a new file within milliseconds. */
async function until(status: number, path: string, token: string): Promise<void> {
  while ((await ask(path, token)) !== status) await delay(10);
}

describe("a token", () => {
  test("that is good reaches the upstream without being asked about, and without itself", async () => {
    expect(await ask("/v1/a", await mint())).toBe(200);
    expect(questions).toEqual([]);
    const told = Object.fromEntries(
      upstream.served[0]?.rawHeaders.flatMap((name, at, all) => (at % 2 === 0 ? [[name, all[at + 1]]] : [])) ?? [],
    );
    expect(told).toMatchObject({
      "x-wayleave-subject": "spiffe://lab.example/ci/gitlab/1042",
      "x-wayleave-session": "ses_0000000000000001",
      "x-wayleave-decision": "allow",
    });
    expect(Object.keys(told)).not.toContain("authorization");
    expect(Object.keys(told)).not.toContain("x-wayleave-token-id");
  });

  test.each<{ what: string; parts: Parameters<typeof mint>[0]; status: number }>([
    { what: "of another issuer", parts: { issuerUrl: "https://elsewhere.example" }, status: 401 },
    { what: "for another target", parts: { targets: ["soft"] }, status: 403 },
    { what: "for a target of nobody", parts: { targets: ["x"] }, status: 403 },
    { what: "without the role", parts: { roles: ["watch"] }, status: 403 },
    { what: "with a role whose name only begins alike", parts: { roles: ["read-all", "rea"] }, status: 403 },
    { what: "that lives longer than any", parts: { expiresAt: Date.now() + 1_000_000 }, status: 401 },
    { what: "that expired", parts: { now: Date.now() - 60_000, expiresAt: Date.now() - 3_000 }, status: 401 },
  ])("$what is refused", async ({ parts, status }) => {
    expect(await ask("/v1/a", await mint(parts))).toBe(status);
    expect(upstream.served).toEqual([]);
  });

  test("that was taken before is refused once its time is over", async () => {
    const token = await mint({ expiresAt: Date.now() + 2_000 });
    expect(await ask("/v1/a", token)).toBe(200);
    await until(401, "/v1/a", token);
  });

  test("of another policy version is asked about, whatever its roles say", async () => {
    expect(await ask("/v1/a", await mint({ policy: "ffffffffffff" }))).toBe(401);
    expect(questions).toMatchObject([{ target: "billing", operation: { method: "GET", path: "/v1/a" } }]);
    expect(questions[0]?.authorization).toMatch(/^Bearer eyJ/);
  });
});

describe("what the broker pushes", () => {
  afterEach(async () => {
    envoy.publish(refusals());
    await until(200, "/v1/a", await mint({ sessionId: "ses_0000000000000009", jti: "jti-9" }));
  });

  test("an ended session is refused, and no other", async () => {
    const [ended, living] = [await mint(), await mint({ sessionId: "ses_0000000000000002" })];
    envoy.publish(refusals({ sessions: ["ses_0000000000000001"] }));
    await until(403, "/v1/a", ended);
    expect(await ask("/v1/a", living)).toBe(200);
  });

  test("a revoked token is refused, and no other of its session", async () => {
    const [revoked, next] = [await mint(), await mint({ jti: "jti-2" })];
    envoy.publish(refusals({ tokens: ["jti-1"] }));
    await until(403, "/v1/a", revoked);
    expect(await ask("/v1/a", next)).toBe(200);
  });

  test("a key that is gone takes the tokens with it that were verified before", async () => {
    const [old, fresh] = [await mint(), await mint({}, other)];
    expect([await ask("/v1/a", old), await ask("/v1/a", fresh)]).toEqual([200, 200]);
    envoy.publish(refusals({ kids: ["kid-2"] }));
    await until(403, "/v1/a", old);
    expect(await ask("/v1/a", fresh)).toBe(200);
  });

  test("no live key refuses everything", async () => {
    const token = await mint();
    envoy.publish(refusals({ kids: [] }));
    await until(403, "/v1/a", token);
  });

  test("is believed for as long as it says: a file has no time to live of its own", async () => {
    const token = await mint();
    envoy.publish(refusals({ validUntil: Date.now() + 1_500 }));
    expect(await ask("/v1/a", token)).toBe(200);
    await until(403, "/v1/a", token);
    // Nothing was pushed in between.
    expect(envoy.read("wayleave-refusals.json")).toContain("refusals_stale");
  });

  test("ten thousand ended sessions are no more to a request than one", async () => {
    const sessions = Array.from({ length: 10_000 }, (_, at) => `ses_${String(at).padStart(16, "0")}`);
    const [ended, living] = [await mint(), await mint({ sessionId: "ses_living" })];
    envoy.publish(refusals({ sessions }));
    await until(403, "/v1/a", ended);
    expect(await ask("/v1/a", living)).toBe(200);
  });
});

test("until something is pushed, native routes refuse; those that need no identity do not", async () => {
  const fresh = await start({
    refusals: refusals({ kids: [], validUntil: 0 }),
  });
  expect(await ask("/v1/a", await mint(), { to: fresh })).toBe(403);
  expect(await ask("/healthz", undefined, { to: fresh })).toBe(200);
  await fresh.stop();
  fresh.remove();
});

describe("routes", () => {
  test("one that has a condition is asked about, and refused when nobody answers", async () => {
    expect(await ask("/v1/releases", await mint(), { method: "POST" })).toBe(401);
    expect(questions).toHaveLength(1);
    const lonely = await start({ broker: { ...broker, grpc: 1 } });
    const token = await mint();
    expect(await ask("/v1/releases", token, { method: "POST", to: lonely })).toBe(503);
    expect(await ask("/v1/a", token, { to: lonely })).toBe(200);
    // An observed target never stops traffic.
    expect(await ask("/v1/releases", token, { method: "POST", host: "soft.internal", to: lonely })).toBe(200);
    expect(await ask("/admin", undefined, { host: "soft.internal", to: lonely })).toBe(200);
    await lonely.stop();
    lonely.remove();
  });

  test("observed, everything passes; the log says what would not have", async () => {
    const watched = await start();
    expect(await ask("/admin", await mint(), { host: "soft.internal", to: watched })).toBe(200);
    expect(await ask("/v1/a", undefined, { host: "soft.internal", to: watched })).toBe(200);
    expect(
      await ask("/v1//a", await mint({ issuerUrl: "https://x.example" }), { host: "soft.internal", to: watched }),
    ).toBe(200);
    await watched.stop();
    const lines = watched
      .read("access.log")
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(lines.map(({ rbac }) => [rbac?.denies_shadow_engine_result, rbac?.roles_shadow_engine_result])).toEqual([
      ["allowed", "denied"],
      ["allowed", "denied"],
      ["denied", "denied"],
    ]);
    watched.remove();
  });

  test("only stream: true is upgraded, and only to a WebSocket", async () => {
    const token = await mint();
    const headers = { connection: "upgrade", upgrade: "websocket" };
    expect(await ask("/watch", token, { headers })).toBe(101);
    expect(await ask("/watch", token)).toBe(200);
    expect(await ask("/v1/a", token, { headers })).toBe(403);
    expect(await ask("/watch", token, { headers: { connection: "upgrade", upgrade: "h2c" } })).not.toBe(101);
    expect(await ask("/watch", await mint({ roles: ["read"] }), { headers })).toBe(403);
    upstream.served.length = 0;
    // A gRPC client is told in trailers; the status is 200 whatever happened.
    await ask("/v1/a", token, { headers: { "content-type": "application/grpc" } });
    expect(upstream.served).toEqual([]);
  });

  test("a stream ends within the bound that was rendered", async () => {
    const short = await start({
      change: (config) =>
        JSON.parse(JSON.stringify(config).replaceAll('"max_stream_duration":"300s"', '"max_stream_duration":"1s"')),
    });
    const held = await holdWebSocket(short, await mint());
    expect(held).toBeGreaterThan(500);
    expect(held).toBeLessThan(10_000);
    await short.stop();
    short.remove();
  });
});

describe("the rendered probes", () => {
  /** Exit status and output of the script against an Envoy. */
  const probe = async (to: NativeEnvoy, token: string): Promise<{ status: number; output: string }> => {
    const env = { PATH: process.env.PATH, WAYLEAVE_TOKEN: token, WAYLEAVE_PATH: "/v1/a" };
    const script = `${to.directory}/wayleave-probes.sh`;
    const child = spawn("sh", [script, `http://127.0.0.1:${to.listenPort}`], { env });
    let output = "";
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (text) => (output += String(text)));
    const status = await new Promise<number>((resolve) => child.once("close", (code) => resolve(code ?? -1)));
    return { status, output };
  };

  test("pass on what was rendered", async () => {
    const { status, output } = await probe(envoy, await mint());
    expect({ status, output }).toMatchObject({ status: 0, output: expect.not.stringContaining("FAILED") });
    expect(output).toContain("a path the token may GET");
  });

  test("fail where the filters are gone, and where the token is refused", async () => {
    const open = await start({ change: withoutFilters });
    expect(await probe(open, await mint())).toMatchObject({ status: 1, output: expect.stringContaining("FAILED") });
    await open.stop();
    open.remove();
    expect(await probe(envoy, await mint({ targets: ["x"] }))).toMatchObject({ status: 1 });
  });
});

/** Only the router is left. */
function withoutFilters(config: Record<string, unknown>): Record<string, unknown> {
  const text = JSON.stringify(config, (name, value) => {
    if (name === "typed_per_filter_config") return undefined;
    return name === "http_filters" && JSON.stringify(value).includes("http.router") ? value.slice(-1) : value;
  });
  return JSON.parse(text);
}

/** Opens a WebSocket that the upstream never ends; resolves with how long it lived, ms. */
async function holdWebSocket(to: NativeEnvoy, token: string): Promise<number> {
  const since = performance.now();
  await new Promise<void>((resolve, reject) => {
    const headers = {
      host: "billing.internal",
      authorization: `Bearer ${token}`,
      connection: "upgrade",
      upgrade: "websocket",
      "x-hold": "1",
    };
    const asked = send({ port: to.listenPort, path: "/watch", agent: false, headers });
    asked.on("upgrade", (_, socket) => {
      socket.resume();
      socket.on("error", () => {});
      socket.on("close", () => resolve());
    });
    asked.on("response", ({ statusCode }) => reject(new Error(`status ${statusCode}`)));
    asked.once("error", reject);
    asked.end();
  });
  return performance.now() - since;
}
