import { hash } from "node:crypto";
import { create, fromBinary, type MessageInitShape } from "@bufbuild/protobuf";
import type { Any } from "@bufbuild/protobuf/wkt";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { workloadClient } from "../../cli/job/workload-client.fake.ts";
import { WayleaveError } from "../../core/errors.ts";
import { createGrpcServer, type GrpcServer } from "../../grpc/server.ts";
import { SecretSchema } from "../../proto/envoy/extensions/transport_sockets/tls/v3/secret_pb.ts";
import { SPIFFECertValidatorConfigSchema } from "../../proto/envoy/extensions/transport_sockets/tls/v3/tls_spiffe_validator_config_pb.ts";
import {
  DeltaDiscoveryRequestSchema,
  DeltaDiscoveryResponseSchema,
  DiscoveryRequestSchema,
  DiscoveryResponseSchema,
} from "../../proto/envoy/service/discovery/v3/discovery_pb.ts";
import { createGatewayGuard } from "../gateway-guard.ts";
import { gatewaySecrets } from "./sds-gateways.ts";
import { type Secrets, secretNamed } from "./sds-secret.ts";

const service = "/envoy.service.secret.v3.SecretDiscoveryService";
const invalidArgument = 3;
const notFound = 5;
const unauthenticated = 16;
const unavailable = 14;

let server: GrpcServer;
let url: string;
let minted: string[] = [];
let failure: Error | undefined;
let bundles = new Map<string, string>();
let bundleListeners = new Set<() => void>();
let timers: { readonly ms: number; readonly run: () => void }[] = [];
let refusals: string[] = [];
let troubles: string[] = [];
let now = 1_000_000;
const clients: { close(): void }[] = [];

const gateways = ["edge-1", "inner-1"].map((name) => ({ name, secretHashes: [hash("sha256", `secret of ${name}`)] }));

beforeEach(async () => {
  minted = [];
  failure = undefined;
  bundles = new Map([
    ["acme.example", "acme roots"],
    ["mesh.example", "mesh roots"],
    ["empty.example", ""],
  ]);
  bundleListeners = new Set();
  timers = [];
  refusals = [];
  troubles = [];
  now = 1_000_000;
  const methods = gatewaySecrets({
    clock: { now: () => now, monotonic: () => now },
    after(ms, run) {
      const timer = { ms, run };
      timers.push(timer);
      return () => void timers.splice(timers.indexOf(timer), 1);
    },
    trustDomain: "acme.example",
    guard: createGatewayGuard(gateways),
    async mint(gateway) {
      if (failure !== undefined) throw failure;
      minted.push(gateway);
      const chain = `chain ${minted.length} of ${gateway}`;
      return {
        spiffeId: `spiffe://acme.example/gateway/${gateway}`,
        certificateChainPem: chain,
        privateKeyPem: `key of ${chain}`,
        expiresAt: now + 3_600_000,
      };
    },
    bundles: () => bundles,
    onBundles(listener) {
      bundleListeners.add(listener);
      return () => bundleListeners.delete(listener);
    },
    onRefused: (detail) => refusals.push(detail),
    onTrouble: (gateway, detail) => troubles.push(`${gateway}: ${detail}`),
  });
  server = createGrpcServer(methods, {
    onFault: (error) => {
      throw error;
    },
  });
  const address = await server.listen({ host: "127.0.0.1", port: 0 });
  url = `127.0.0.1:${typeof address === "string" ? address : address.port}`;
});
afterEach(async () => {
  for (const client of clients.splice(0)) client.close();
  await server.close(0);
});

function clientOf(metadata: Readonly<Record<string, string>>) {
  const client = workloadClient(url, metadata);
  clients.push(client);
  return client;
}

const proof = (gateway: string) => ({
  "x-wayleave-gateway": gateway,
  "x-wayleave-gateway-secret": `secret of ${gateway}`,
});

function sotw(gateway = "edge-1") {
  const { raw, answers } = clientOf(proof(gateway)).bidi(
    `${service}/StreamSecrets`,
    DiscoveryRequestSchema,
    DiscoveryResponseSchema,
  );
  const ask = (request: MessageInitShape<typeof DiscoveryRequestSchema>) =>
    raw.write(create(DiscoveryRequestSchema, request));
  return { ask, answers };
}

function delta(gateway = "edge-1") {
  const { raw, answers } = clientOf(proof(gateway)).bidi(
    `${service}/DeltaSecrets`,
    DeltaDiscoveryRequestSchema,
    DeltaDiscoveryResponseSchema,
  );
  const ask = (request: MessageInitShape<typeof DeltaDiscoveryRequestSchema>) =>
    raw.write(create(DeltaDiscoveryRequestSchema, request));
  return { ask, answers };
}

/** A secret as words. */
function said(any: Any | undefined): unknown {
  const { name, type } = fromBinary(SecretSchema, any?.value ?? new Uint8Array());
  const text = (source: { specifier: { value?: unknown } } | undefined) =>
    new TextDecoder().decode(source?.specifier.value as Uint8Array);
  if (type.case === "tlsCertificate") return [name, text(type.value.certificateChain), text(type.value.privateKey)];
  if (type.case !== "validationContext") return undefined;
  const { trustedCa, customValidatorConfig } = type.value;
  if (trustedCa !== undefined) return [name, "plain", text(trustedCa)];
  const config = fromBinary(SPIFFECertValidatorConfigSchema, customValidatorConfig?.typedConfig?.value as Uint8Array);
  const domains = config.trustDomains.map((domain) => [domain.name, text(domain.trustBundle)]);
  return [name, customValidatorConfig?.name, ...domains];
}

describe("a gateway's secrets", () => {
  test("are its own certificate and the bundles, whatever it asks for", async () => {
    const { ask, answers } = sotw();
    ask({ resourceNames: ["default", "ROOTCA", "spiffe://acme.example/gateway/inner-1"] });
    const { resources } = await answers.next();
    expect(resources.map(said)).toEqual([
      ["default", "chain 1 of edge-1", "key of chain 1 of edge-1"],
      ["ROOTCA", "envoy.tls.cert_validator.spiffe", ["acme.example", "acme roots"]],
    ]);
    expect(troubles).toEqual([
      'edge-1: it asks for the secret "spiffe://acme.example/gateway/inner-1", which it does not have',
    ]);
  });

  test("are shared by all its Envoys, and not by another gateway's", async () => {
    const streams = [sotw(), sotw(), sotw("inner-1")];
    for (const { ask } of streams) ask({ resourceNames: ["default"] });
    await Promise.all(streams.map(({ answers }) => answers.next()));
    expect(minted.toSorted()).toEqual(["edge-1", "inner-1"]);
  });

  test("are pushed at half life, also to one that refused the last ones", async () => {
    const { ask, answers } = sotw();
    ask({ resourceNames: ["default"] });
    const first = await answers.next();
    ask({ resourceNames: ["default"], responseNonce: first.nonce, errorDetail: { message: "bad\u001b[31m key" } });
    await expect.poll(() => troubles).toEqual(["edge-1: its Envoy refused a secret: bad\ufffd[31m key"]);
    expect(timers.map(({ ms }) => ms)).toEqual([1_800_000]);
    now += 1_800_000;
    timers.pop()?.run();
    const second = await answers.next();
    expect(second.versionInfo).not.toBe(first.versionInfo);
    expect(second.resources.map(said)).toEqual([["default", "chain 2 of edge-1", "key of chain 2 of edge-1"]]);
  });

  test("a changed bundle is pushed to those who asked for it, and to nobody else", async () => {
    const [roots, certificate] = [sotw(), sotw()];
    roots.ask({ resourceNames: ["ALL"] });
    certificate.ask({ resourceNames: ["default"] });
    await Promise.all([roots.answers.next(), certificate.answers.next()]);
    bundles.set("mesh.example", "newer mesh roots");
    for (const listener of bundleListeners) listener();
    const pushed = await roots.answers.next();
    expect(said(pushed.resources[0])).toContainEqual(["mesh.example", "newer mesh roots"]);
    now += 1_800_000;
    timers.pop()?.run();
    expect(said((await certificate.answers.next()).resources[0])).toContain("chain 2 of edge-1");
  });

  test("an acknowledged version that is still good is not sent again after a reconnect", async () => {
    const before = sotw();
    before.ask({ resourceNames: ["default"] });
    const { versionInfo } = await before.answers.next();
    before.answers.cancel();
    const again = sotw();
    again.ask({ resourceNames: ["default"], versionInfo });
    again.ask({ resourceNames: ["default", "ROOTCA"], versionInfo });
    expect((await again.answers.next()).resources.length, "the first answer is to the second request").toBe(2);
  });

  test("an answer to an older response changes nothing", async () => {
    const { ask, answers } = sotw();
    ask({ resourceNames: ["default"] });
    await answers.next();
    ask({ resourceNames: ["ROOTCA"], responseNonce: "0" });
    ask({ resourceNames: ["ALL"], responseNonce: "1" });
    expect(said((await answers.next()).resources[0])).toContain("ALL");
  });

  test("incrementally: each secret by itself, what is kept not again, what is gone by name", async () => {
    const { ask, answers } = delta();
    ask({ resourceNamesSubscribe: ["default", "spiffe://mesh.example", "nonsense"] });
    const first = await answers.next();
    expect(first.resources.map(({ name }) => name)).toEqual(["default", "spiffe://mesh.example"]);
    expect(first.removedResources).toEqual([]);
    bundles.delete("mesh.example");
    for (const listener of bundleListeners) listener();
    expect(await answers.next()).toMatchObject({ resources: [], removedResources: ["spiffe://mesh.example"] });

    const later = delta();
    const kept = Object.fromEntries(first.resources.map(({ name, version }) => [name, version]));
    later.ask({ resourceNamesSubscribe: ["default", "ROOTCA"], initialResourceVersions: kept });
    expect((await later.answers.next()).resources.map(({ name }) => name)).toEqual(["ROOTCA"]);
  });

  test("one by one: FetchSecrets", async () => {
    const client = clientOf(proof("edge-1"));
    const fetch = (resourceNames: string[]) =>
      client.call(`${service}/FetchSecrets`, DiscoveryRequestSchema, DiscoveryResponseSchema, { resourceNames });
    expect((await fetch(["default"])).resources.length).toBe(1);
    await expect(fetch(["nonsense"])).rejects.toMatchObject({ code: notFound });
    await expect(fetch([])).rejects.toMatchObject({ code: notFound });
  });
});

describe("nobody else gets any", () => {
  test.each([
    { what: "nothing said", metadata: {} },
    { what: "a name and no secret", metadata: { "x-wayleave-gateway": "edge-1" } },
    { what: "a wrong secret", metadata: { ...proof("edge-1"), "x-wayleave-gateway-secret": "wrong" } },
    { what: "another's secret", metadata: { ...proof("inner-1"), "x-wayleave-gateway": "edge-1" } },
    { what: "an unknown gateway", metadata: proof("edge-9") },
    { what: "two names", metadata: { ...proof("edge-1"), "x-wayleave-gateway": "edge-1, edge-1" } },
  ])("$what", async ({ metadata }) => {
    const client = clientOf(metadata as Record<string, string>);
    const request = { resourceNames: ["default"] };
    const stream = client.bidi(`${service}/StreamSecrets`, DiscoveryRequestSchema, DiscoveryResponseSchema);
    stream.raw.write(create(DiscoveryRequestSchema, request));
    await expect(stream.answers.next()).rejects.toMatchObject({ code: unauthenticated });
    const once = client.call(`${service}/FetchSecrets`, DiscoveryRequestSchema, DiscoveryResponseSchema, request);
    await expect(once).rejects.toMatchObject({ code: unauthenticated });
    expect([minted, refusals.length]).toEqual([[], 2]);
  });
});

describe("trouble", () => {
  test("a broker that cannot mint is Unavailable, and the next one who asks gets a certificate", async () => {
    failure = new WayleaveError("journal_unavailable", "The journal takes nothing.");
    const first = sotw();
    first.ask({ resourceNames: ["default"] });
    await expect(first.answers.next()).rejects.toMatchObject({ code: unavailable });
    failure = undefined;
    now += 2000;
    const second = sotw();
    second.ask({ resourceNames: ["default"] });
    expect((await second.answers.next()).resources.length).toBe(1);
  });

  test.each([
    { what: "another type", request: { typeUrl: "type.googleapis.com/envoy.config.cluster.v3.Cluster" } },
    { what: "too many names", request: { resourceNames: Array.from({ length: 65 }, (_, at) => `n${at}`) } },
    { what: "a name without end", request: { resourceNames: ["x".repeat(2049)] } },
  ])("$what ends the stream", async ({ request }) => {
    const { ask, answers } = sotw();
    ask(request);
    await expect(answers.next()).rejects.toMatchObject({ code: invalidArgument });
  });

  test("a refusal whose words are a flood is cut, and a name that waits is said once", async () => {
    const { ask, answers } = sotw();
    ask({ resourceNames: ["default", "nonsense"] });
    const { nonce } = await answers.next();
    ask({ resourceNames: ["default", "nonsense"], responseNonce: nonce, errorDetail: { message: "x".repeat(9999) } });
    await expect.poll(() => troubles.length).toBe(2);
    expect(troubles.every((text) => text.length < 400)).toBe(true);
  });
});

const secrets: Secrets = {
  svids: ["a", "b"].map((role) => ({
    spiffeId: `spiffe://acme.example/role/${role}`,
    certificateChainPem: `chain ${role}`,
    privateKeyPem: `key ${role}`,
  })),
  trustDomain: "acme.example",
  bundles: new Map([
    ["mesh.example", "mesh roots"],
    ["acme.example", "acme roots"],
  ]),
};

describe("names, as SPIRE's agent has them", () => {
  const validator = "envoy.tls.cert_validator.spiffe";
  test.each([
    { name: "default", is: ["chain a", "key a"] },
    { name: "spiffe://acme.example/role/b", is: ["chain b", "key b"] },
    { name: "ROOTCA", is: [validator, ["acme.example", "acme roots"]] },
    { name: "spiffe://mesh.example", is: [validator, ["mesh.example", "mesh roots"]] },
    { name: "ALL", is: [validator, ["acme.example", "acme roots"], ["mesh.example", "mesh roots"]] },
    { name: "ROOTCA", plainRoots: true, is: ["plain", "acme roots"] },
    { name: "spiffe://mesh.example", plainRoots: true, is: ["plain", "mesh roots"] },
  ])("$name $plainRoots", ({ name, plainRoots = false, is }) => {
    expect(said(secretNamed(name, secrets, { plainRoots })?.resource)).toEqual([name, ...is]);
  });

  test.each([
    { name: "ALL", plainRoots: true },
    { name: "spiffe://other.example" },
    { name: "spiffe://acme.example/" },
    { name: "spiffe://acme.example/role/c" },
    { name: "SPIFFE://acme.example" },
    { name: "acme.example" },
    { name: "Default" },
    { name: "" },
    { name: "constructor" },
  ])("$name $plainRoots is nothing", ({ name, plainRoots = false }) => {
    expect(secretNamed(name, secrets, { plainRoots })).toBeUndefined();
  });

  test("no name but an SVID's own, and default, ever gives a key", () => {
    const keyNames = ["default", ...secrets.svids.map(({ spiffeId }) => spiffeId)];
    const names = fc.oneof(fc.string(), fc.constantFrom("ALL", "ROOTCA", ...keyNames), fc.webUrl());
    fc.assert(
      fc.property(names, fc.boolean(), (name, plainRoots) => {
        const found = secretNamed(name, secrets, { plainRoots });
        return found === undefined || !/key [ab]/.test(String(said(found.resource))) || keyNames.includes(name);
      }),
    );
  });

  test("a version says nothing about the key, and changes with the certificate", () => {
    const version = (chain: string, key: string) => {
      const svid = { spiffeId: "spiffe://acme.example/x", certificateChainPem: chain, privateKeyPem: key };
      return secretNamed("default", { ...secrets, svids: [svid] }, { plainRoots: false })?.version;
    };
    expect(version("one", "key")).toBe(version("one", "other key"));
    expect(version("one", "key")).not.toBe(version("two", "key"));
  });
});
