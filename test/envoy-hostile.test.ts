import { connect as connectHttp2, type OutgoingHttpHeaders } from "node:http2";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { noCounts } from "../src/core/decision.ts";
import { noFacts } from "../src/core/fact.ts";
import { mintAccessToken } from "../src/credential/access-token.ts";
import { fakeDecisionPoint } from "../src/gateway/nginx/decision-point.fake.ts";
import { compile } from "../src/policy/compile.ts";
import { job, policyModel, role, session } from "../src/policy/policy.fake.ts";
import { fakeVocabulary } from "../src/policy/vocabulary.fake.ts";
import {
  issuer,
  type LabBroker,
  type LabUpstream,
  makeKey,
  type NativeEnvoy,
  type Served,
  startBroker,
  startNative,
  startUpstream,
  trustDomain,
} from "./envoy-native-lab.ts";
import type { HostileRequest } from "./hostile-request.ts";
import { hostileRequests } from "./hostile-requests.ts";
import { sendBytes } from "./nginx-lab.ts";
import { upstreamReadings } from "./upstream-readings.ts";

/** The hostile corpus against real Envoys: one that decides by itself, and ones that ask, over gRPC and over HTTP. */
const model = policyModel({ roles: [role("read", { billing: ["GET /v1/**"] })] });
const policy = compile(model, fakeVocabulary);
const key = await makeKey("kid-1");
const token = await mintAccessToken(key, {
  issuerUrl: issuer,
  trustDomain,
  sessionId: "ses_0000000000000001",
  identity: job(),
  targets: ["billing"],
  roles: ["read"],
  rolesNarrowed: false,
  denies: [],
  policy: policy.version,
  jti: "jti-1",
  now: Date.now(),
  expiresAt: Date.now() + 900_000,
});
const bearer = `Bearer ${token}`;

/**
 * What Envoy itself makes harmless before anybody decides: it forwards no Connection header and honours none, strips what
 * overrides a request, and writes the request line anew. The upstream then gets a plain request, which is decided as such.
 */
const madeHarmless = (name: string) =>
  /^(hop-by-hop|override twice): /.test(name) ||
  ['absolute form: "http://x@billing.internal/v1/a"', 'request line: "GET\\t/v1/a\\tHTTP/1.1"'].includes(name);

/** RFC 9112 §3.2 knows no fragment; Envoy refuses one anywhere. */
const refusedByEnvoy = new Set(['plain path: "/v1/a?b?c#d"']);

const right = { token, target: "billing", hosts: ["billing.internal"], methods: ["GET"], prefix: ["v1"] };
let broker: LabBroker;
let upstream: LabUpstream;

beforeAll(async () => {
  broker = await startBroker({
    keys: [key],
    decisionPoint: fakeDecisionPoint({ rights: [right] }),
    gateways: [{ name: "envoy-1", targets: ["billing"] }],
  });
  upstream = await startUpstream();
});
afterAll(async () => {
  await broker.close();
  await upstream.close();
});

type Config = Record<string, unknown>;

/** Connections that say no more are closed soon, so that each case ends. */
function brisk(config: Config): Config {
  const text = JSON.stringify(config)
    .replace(
      '"stat_prefix":"wayleave"',
      '"stat_prefix":"wayleave","delayed_close_timeout":"0.02s","drain_timeout":"0.02s"',
    )
    .replace('"idle_timeout":"3600s"', '"idle_timeout":"0.1s"')
    .replace('"request_headers_timeout":"10s"', '"request_headers_timeout":"0.3s"')
    .replace('"stream_idle_timeout":"300s"', '"stream_idle_timeout":"0.5s"')
    .replaceAll('"timeout":"0.2s"', '"timeout":"30s"');
  return JSON.parse(text);
}

/** Without anything of Wayleave's. */
function unprotected(config: Config): Config {
  const text = JSON.stringify(config, (key, value) => {
    if (key === "typed_per_filter_config" || key === "request_headers_to_remove") return undefined;
    if (key === "routes") return [{ match: { prefix: "/" }, route: { cluster: "target_billing" } }];
    return key === "http_filters" && JSON.stringify(value).includes("router") ? value.slice(-1) : value;
  });
  return loosened(JSON.parse(text));
}

/** Everything that keeps odd requests out of Envoy, taken away: what is left is the rendered filters. */
function loosened(config: Config): Config {
  const text = JSON.stringify(config)
    .replace(
      '"path_with_escaped_slashes_action":"REJECT_REQUEST"',
      '"path_with_escaped_slashes_action":"KEEP_UNCHANGED"',
    )
    .replace('"headers_with_underscores_action":"REJECT_REQUEST"', '"headers_with_underscores_action":"ALLOW"');
  return JSON.parse(text);
}

/** Somebody's own connection manager may normalise: the filters then see what the upstream gets. */
function normalising(config: Config): Config {
  const text = JSON.stringify(config).replace('"normalize_path":false', '"normalize_path":true');
  return JSON.parse(text.replace('"merge_slashes":false', '"merge_slashes":true'));
}

const common = () => ({
  policy: model,
  targets: ["billing"],
  broker,
  upstream: upstream.port,
  refusals: { sessions: [], tokens: [], kids: ["kid-1"], validUntil: Date.now() + 3_600_000 },
});

const configurations = [
  { name: "native", settings: {}, change: undefined, strict: true },
  { name: "native, loosened", settings: {}, change: loosened, strict: true },
  { name: "native, normalising", settings: {}, change: normalising, strict: false },
  { name: "asking by gRPC", settings: { mode: "call_out" as const }, change: undefined, strict: true },
  { name: "asking by gRPC, loosened", settings: { mode: "call_out" as const }, change: loosened, strict: true },
  {
    name: "asking by HTTP",
    settings: { mode: "call_out" as const, protocol: "http" as const },
    change: undefined,
    strict: true,
  },
];

describe.each(configurations)("Envoy $name", ({ settings, change, strict }) => {
  let envoy: NativeEnvoy;
  beforeAll(async () => {
    envoy = await startNative({
      ...common(),
      settings,
      change: (config) => brisk(change?.(config) ?? config),
    });
  });
  afterAll(async () => {
    await envoy.stop();
    envoy.remove();
  });

  test.each(hostileRequests)("$name", async (request) => {
    const served = await serve(envoy, request);
    expect(wrongs(served, request.authorization?.replace("Bearer good", bearer))).toEqual([]);
    if (request.expected === "served" && !refusedByEnvoy.has(request.name)) expect(served).toHaveLength(1);
    if (request.expected === "refused" && strict && !madeHarmless(request.name)) expect(served).toEqual([]);
  });

  test.each(http2Requests)("HTTP/2: $name", async ({ headers, served: count }) => {
    await sendHttp2(envoy.listenPort, { authorization: bearer, ...headers });
    const served = upstream.served.splice(0);
    expect(wrongs(served, bearer)).toEqual([]);
    if (strict) expect(served).toHaveLength(count);
  });
});

test("an upstream that was not protected would fail this suite", async () => {
  const envoy = await startNative({ ...common(), change: (config) => brisk(unprotected(config)) });
  let failed = 0;
  for (const request of hostileRequests) {
    const served = await serve(envoy, request);
    if (wrongs(served, request.authorization?.replace("Bearer good", bearer)).length > 0) failed++;
  }
  await envoy.stop();
  envoy.remove();
  expect(failed).toBeGreaterThan(100);
});

async function serve(envoy: NativeEnvoy, request: HostileRequest): Promise<readonly Served[]> {
  await sendBytes(envoy.listenPort, request.bytes.replaceAll("Bearer good", bearer));
  return upstream.served.splice(0);
}

/** What the upstream did that the decision function would have refused, or was told by the client. */
function wrongs(all: readonly Served[], authorization: string | undefined): string[] {
  return all.flatMap((served) => {
    const told = JSON.stringify(served.rawHeaders.filter(notFolded));
    const spoofed = told.includes("spoofed") ? [`a client's identity header reached it: ${told}`] : [];
    const leaked = told.includes(token) ? ["the token reached it"] : [];
    const refused = upstreamReadings(served).flatMap(({ how, ...operation }) => {
      const reason = refuses(operation, authorization);
      return reason === undefined ? [] : [`${how}, it served ${JSON.stringify(operation)}: ${reason}`];
    });
    return [...spoofed, ...leaked, ...refused];
  });
}

/** A line that Envoy folds into the value of `X-A`, as it may (RFC 9112 §5.2), is no header. */
const notFolded = (text: string, at: number, all: readonly string[]): boolean =>
  at % 2 === 0 || all[at - 1] !== "x-a" || /[\r\n]/.test(text);

function refuses(
  operation: Omit<ReturnType<typeof upstreamReadings>[number], "how">,
  authorization: string | undefined,
) {
  if (authorization !== bearer) return "no_credential";
  const now = Date.now();
  const view = session(job(), { openedAt: now, hardEndAt: now + 1000 });
  const decision = policy.decide(
    { session: view, narrowing: {}, target: "billing", operation, facts: noFacts, now },
    noCounts,
  );
  return decision.effect === "allow" ? undefined : decision.reason;
}

const http2Requests: readonly { name: string; headers: OutgoingHttpHeaders; served: number }[] = [
  { name: "a plain request", headers: {}, served: 1 },
  { name: "a path with dots", headers: { ":path": "/v1/../admin" }, served: 0 },
  { name: "an encoded path", headers: { ":path": "/v1/%2e%2e/admin" }, served: 0 },
  { name: "a path without a slash", headers: { ":path": "v1/a" }, served: 0 },
  { name: "an asterisk", headers: { ":path": "*" }, served: 0 },
  { name: "a fragment", headers: { ":path": "/v1/a#/../admin" }, served: 0 },
  { name: "another method", headers: { ":method": "DELETE" }, served: 0 },
  { name: "a lower-case method", headers: { ":method": "get" }, served: 0 },
  { name: "another authority", headers: { ":authority": "other.internal" }, served: 0 },
  { name: "an authority with user information", headers: { ":authority": "x@billing.internal" }, served: 0 },
  { name: "an authority with a port and more", headers: { ":authority": "billing.internal:80@x" }, served: 0 },
  { name: "an authority with two ports", headers: { ":authority": "billing.internal:80:80" }, served: 0 },
  {
    name: "an authority against the host header",
    headers: { ":authority": "other.internal", host: "billing.internal" },
    served: 0,
  },
  { name: "no credential", headers: { authorization: "" }, served: 0 },
  { name: "a gRPC call", headers: { ":method": "GET", "content-type": "application/grpc" }, served: 0 },
  { name: "identity headers", headers: { "x-wayleave-subject": "spoofed", "txn-token": "spoofed" }, served: 1 },
  { name: "a method override", headers: { "x-http-method-override": "DELETE" }, served: 1 },
];

/** One HTTP/2 request over its own connection; a reset stream is a refusal. */
async function sendHttp2(port: number, headers: OutgoingHttpHeaders): Promise<void> {
  const client = connectHttp2(`http://127.0.0.1:${port}`);
  await new Promise<void>((resolve, reject) => {
    client.on("error", reject);
    client.on("close", resolve);
    const stream = client.request({ ":path": "/v1/a", ":authority": "billing.internal", ...headers });
    stream.on("error", () => client.close());
    stream.on("close", () => client.close());
    stream.resume().end();
  });
}
