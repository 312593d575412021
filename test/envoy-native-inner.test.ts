import { request as send } from "node:https";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { mintAccessToken } from "../src/credential/access-token.ts";
import { type AssertionInput, mintAssertion } from "../src/credential/assertion.ts";
import type { Question } from "../src/gateway/decision-point.ts";
import { fakeDecisionPoint } from "../src/gateway/nginx/decision-point.fake.ts";
import { deny, job, policyModel, role } from "../src/policy/policy.fake.ts";
import { type Issued, makeAuthority } from "./envoy-native-certificates.ts";
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

/** An Envoy behind another gateway: mutual TLS, and the assertion in `Txn-Token` instead of an access token. */
const model = policyModel({
  roles: [
    role("read", { billing: ["GET /v1/**"] }),
    role("release", { billing: ["POST /v1/releases"] }, { when: "change.merged" }),
    role(
      "limited",
      { billing: ["POST /v1/runs"] },
      { limit: { max: 1, windowMs: 60_000, per: "session", scope: "global" } },
    ),
  ],
  deny: [deny("no-legal", { operations: { billing: ["* /v1/legal/**"] } })],
});
const key = await makeKey("kid-1", "assertion");
const authority = await makeAuthority();
const stranger = await makeAuthority();
const id = (name: string) => `spiffe://${trustDomain}/gateway/${name}`;
const certificates = {
  own: await authority.issue(id("envoy-1")),
  edge: await authority.issue(id("edge-1")),
  job: await authority.issue(`spiffe://${trustDomain}/role/read`),
  alike: await authority.issue(id("edge-10")),
  foreign: await stranger.issue(id("edge-1")),
};

const questions: Question[] = [];
let broker: LabBroker;
let upstream: LabUpstream;
let envoy: NativeEnvoy;

/** SDS from files: where secrets come from is not what is tested here. */
function fromFiles(directory: string, config: Record<string, unknown>): Record<string, unknown> {
  const text = JSON.stringify(config, (_, value) =>
    value?.sds_config?.api_config_source === undefined
      ? value
      : {
          name: value.name,
          sds_config: {
            resource_api_version: "V3",
            path_config_source: { path: `${directory}/${value.name}.json` },
          },
        },
  );
  return JSON.parse(text);
}

const secret = (name: string, value: object) => ({
  path: `${name}.json`,
  text: JSON.stringify({
    resources: [{ "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret", name, ...value }],
  }),
});
const secrets = [
  secret("default", {
    tls_certificate: {
      certificate_chain: { inline_string: certificates.own.cert },
      private_key: { inline_string: certificates.own.key },
    },
  }),
  secret("ROOTCA", {
    validation_context: {
      custom_validator_config: {
        name: "envoy.tls.cert_validator.spiffe",
        typed_config: {
          "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig",
          trust_domains: [{ name: trustDomain, trust_bundle: { inline_string: authority.pem } }],
        },
      },
    },
  }),
];

beforeAll(async () => {
  const nothing = fakeDecisionPoint({ rights: [] });
  broker = await startBroker({
    keys: [key],
    decisionPoint: {
      answer(question) {
        questions.push(question);
        return nothing.answer(question);
      },
    },
    gateways: [{ name: "envoy-1", targets: ["billing"], peers: [id("edge-1")] }],
  });
  upstream = await startUpstream();
  envoy = await startNative({
    policy: model,
    targets: ["billing"],
    broker,
    upstream: upstream.port,
    refusals: { sessions: ["ses_ended"], tokens: [], kids: ["kid-1"], validUntil: Date.now() + 600_000 },
    settings: { behind: ["edge-1"] },
    files: secrets,
    change: (config, directory) => fromFiles(directory, config),
  });
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

const assertion = (parts: Partial<AssertionInput> = {}) =>
  mintAssertion(key, {
    issuerUrl: issuer,
    trustDomain,
    subject: "spiffe://lab.example/ci/gitlab/1042",
    sessionId: "ses_0000000000000001",
    transaction: "rec_000000000001",
    role: "read",
    denies: [],
    policy: model.version,
    gateway: "edge-1",
    target: "billing",
    method: "GET",
    path: "/v1/a",
    now: Date.now(),
    hardEndAt: Date.now() + 600_000,
    ...parts,
  });

interface Asking {
  readonly as?: Issued | undefined;
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

/** Status of one request; `undefined` where no connection came about. */
function ask(
  path: string,
  token: string | undefined,
  { as = certificates.edge, method = "GET", headers = {} }: Asking = {},
): Promise<number | undefined> {
  const txn = token === undefined ? {} : { "txn-token": token };
  return new Promise((resolve) => {
    const asked = send(
      {
        port: envoy.listenPort,
        path,
        method,
        agent: false,
        headers: { host: "billing.internal", ...txn, ...headers },
        ...(as.cert === "" ? {} : { cert: as.cert, key: as.key }),
        ca: authority.pem,
        checkServerIdentity: () => undefined,
      },
      (response) => {
        response.resume();
        response.on("end", () => resolve(response.statusCode));
      },
    );
    asked.once("error", () => resolve(undefined));
    asked.end();
  });
}

test("the gateway in front reaches the upstream; the assertion goes with it, unchanged", async () => {
  const token = await assertion();
  expect(await ask("/v1/a", token, { headers: { authorization: "Bearer the service's own" } })).toBe(200);
  expect(questions).toEqual([]);
  const told = upstream.served[0]?.rawHeaders ?? [];
  expect(told).toContain(token);
  expect(told).toContain("Bearer the service's own");
  expect(told).toContain("spiffe://lab.example/ci/gitlab/1042");
});

test("what was counted in front is not counted again", async () => {
  expect(
    await ask("/v1/runs", await assertion({ role: "limited", method: "POST", path: "/v1/runs" }), { method: "POST" }),
  ).toBe(200);
  expect(questions).toEqual([]);
});

test("a condition is asked about, with the assertion", async () => {
  const token = await assertion({ role: "release", method: "POST", path: "/v1/releases" });
  expect(await ask("/v1/releases", token, { method: "POST" })).toBe(401);
  expect(questions).toMatchObject([{ assertion: token, target: "billing" }]);
});

test.each([
  { who: "nobody", as: { cert: "", key: "" } },
  { who: "a job of the same trust domain", as: certificates.job },
  { who: "a gateway of another name that begins alike", as: certificates.alike },
  { who: "somebody of that name in another trust", as: certificates.foreign },
])("$who gets no connection", async ({ as }) => {
  expect(await ask("/v1/a", await assertion(), { as })).toBeUndefined();
  expect(upstream.served).toEqual([]);
});

test.each<{ what: string; parts: Parameters<typeof assertion>[0]; path?: string; status: number }>([
  { what: "for another target", parts: { target: "ledger" }, status: 403 },
  { what: "of a role that does not allow it", parts: { role: "limited" }, status: 403 },
  { what: "that a deny names", parts: { denies: ["no-legal"], path: "/v1/legal/x" }, path: "/v1/legal/x", status: 403 },
  { what: "of an ended session", parts: { sessionId: "ses_ended" }, status: 403 },
  { what: "that expired", parts: { now: Date.now() - 60_000 }, status: 401 },
  { what: "of another trust domain", parts: { trustDomain: "other.example" }, status: 403 },
])("an assertion $what is refused", async ({ parts, path = "/v1/a", status }) => {
  expect(await ask(path, await assertion(parts))).toBe(status);
  expect(upstream.served).toEqual([]);
});

test("none at all is refused, and so is an access token in its place", async () => {
  expect(await ask("/v1/a", undefined)).toBe(401);
  const token = await mintAccessToken(key, {
    issuerUrl: issuer,
    trustDomain,
    sessionId: "ses_0000000000000001",
    identity: job(),
    targets: ["billing"],
    roles: ["read"],
    rolesNarrowed: false,
    denies: [],
    policy: model.version,
    jti: "jti-1",
    now: Date.now(),
    expiresAt: Date.now() + 300_000,
  });
  expect(await ask("/v1/a", undefined, { headers: { authorization: `Bearer ${token}` } })).toBe(401);
  expect(await ask("/v1/a", token)).not.toBe(200);
  expect(upstream.served).toEqual([]);
});
