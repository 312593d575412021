import { mintAccessToken } from "../src/credential/access-token.ts";
import type { KeyRing } from "../src/credential/keys.ts";
import { deny, job, policyModel, role } from "../src/policy/policy.fake.ts";
import {
  issuer,
  makeKey,
  type NativeEnvoy,
  type NativeOptions,
  startBroker,
  startNative,
  trustDomain,
} from "../test/envoy-native-lab.ts";
import { type LoadResult, load } from "./http-load.ts";
import { machine, median, table, thousands } from "./machine.ts";

/**
 * The same Envoy without authorization and with the generated filters, and with 0, 1,000 and 10,000 ended sessions. Its
 * upstream is an Envoy of its own that answers by itself, so that the figures are a proxy's and not a backend's.
 */
const rounds = 5;
const durationMs = 2_000;
const connections = 32;

const model = policyModel({
  roles: [
    role("read", { billing: ["GET /v1/invoices/**", "GET /v1/health"] }),
    role("release", { billing: ["POST /v1/releases"] }, { when: "change.merged" }),
  ],
  deny: [deny("no-legal", { operations: { billing: ["* /v1/invoices/legal/**"] } })],
});

type Config = Record<string, unknown>;

/** The same listener and upstream, and nothing of Wayleave's in between. */
function bare(config: Config): Config {
  const text = JSON.stringify(config, (key, value) => {
    if (["typed_per_filter_config", "request_headers_to_remove", "request_headers_to_add"].includes(key))
      return undefined;
    if (key === "routes") return [{ match: { prefix: "/" }, route: { cluster: "target_billing" } }];
    return key === "http_filters" && JSON.stringify(value).includes("http.router") ? value.slice(-1) : value;
  });
  return JSON.parse(text);
}

const quiet = (config: Config): Config =>
  JSON.parse(JSON.stringify(config, (key, value) => (key === "access_log" ? [] : value)));

/** Answers 200 without a backend. */
function answering(config: Config): Config {
  const text = JSON.stringify(bare(quiet(config)), (key, value) =>
    key === "routes"
      ? [{ match: { prefix: "/" }, direct_response: { status: 200, body: { inline_string: "ok" } } }]
      : value,
  );
  return JSON.parse(text);
}

/** Signatures are checked for each request: what the cache saves. */
const uncached = (config: Config): Config =>
  JSON.parse(JSON.stringify(config, (key, value) => (key === "jwt_cache_config" ? undefined : value)));

async function main(): Promise<void> {
  console.log(
    `through Envoy (one worker), ${connections} connections, ${rounds} × ${durationMs / 1000} s each, in turn\n${machine()}\n`,
  );
  const key = await makeKey("kid-1");
  const broker = await startBroker({
    keys: [key],
    decisionPoint: { answer: () => Promise.reject(new Error("nothing is asked here")) },
    gateways: [{ name: "envoy-1", targets: ["billing"] }],
  });
  const refusals = (sessions: number) => ({
    sessions: Array.from({ length: sessions }, (_, at) => `ses_${String(at).padStart(16, "0")}`),
    tokens: [],
    kids: ["kid-1"],
    validUntil: Date.now() + 3_600_000,
  });
  const start = (upstream: number, sessions: number, change: NonNullable<NativeOptions["change"]>) =>
    startNative({ policy: model, targets: ["billing"], broker, upstream, refusals: refusals(sessions), change });
  const backend = await start(1, 0, answering);
  const variants: readonly (readonly [string, number, (config: Config) => Config])[] = [
    ["no authorization", 0, (config) => bare(quiet(config))],
    ["native", 0, quiet],
    ["native, 1,000 ended sessions", 1_000, quiet],
    ["native, 10,000 ended sessions", 10_000, quiet],
    ["native, no cached signatures", 0, (config) => uncached(quiet(config))],
    ["native, with the access log", 0, (config) => config],
  ];
  const request = [
    "GET /v1/invoices/42 HTTP/1.1",
    "Host: billing.internal",
    `Authorization: Bearer ${await mint(key)}`,
    "\r\n",
  ].join("\r\n");
  const running: { name: string; envoy: NativeEnvoy; results: LoadResult[] }[] = [];
  for (const [name, sessions, change] of variants) {
    running.push({ name, envoy: await start(backend.listenPort, sessions, change), results: [] });
  }
  for (let round = 0; round < rounds; round++) {
    for (const { envoy, results } of running) {
      results.push(await load({ port: envoy.listenPort, request, connections, durationMs, expect: "HTTP/1.1 200" }));
    }
  }
  const rps = (results: readonly LoadResult[]) => median(results.map((result) => result.requestsPerSecond));
  const base = rps(running[0]?.results ?? []);
  console.log(
    table([
      ["", "requests/s", "of bare", "p50 ms", "p99 ms", "failed"],
      ...running.map(({ name, results }) => [
        name,
        thousands(rps(results)),
        `${((100 * rps(results)) / base).toFixed(0)} %`,
        median(results.map((result) => result.p50Ms)).toFixed(2),
        median(results.map((result) => result.p99Ms)).toFixed(2),
        String(results.reduce((sum, result) => sum + result.failed, 0)),
      ]),
    ]),
  );
  for (const { envoy } of [...running, { envoy: backend }]) {
    await envoy.stop();
    envoy.remove();
  }
  await broker.close();
}

const mint = (key: KeyRing): Promise<string> =>
  mintAccessToken(key, {
    issuerUrl: issuer,
    trustDomain,
    sessionId: "ses_of_the_benchmark",
    identity: job(),
    targets: ["billing"],
    roles: ["read", "release"],
    rolesNarrowed: false,
    denies: ["no-legal"],
    policy: model.version,
    jti: "jti-1",
    now: Date.now(),
    expiresAt: Date.now() + 900_000,
  });

await main();
