import { describe, expect, test } from "vitest";
import { load, problems, smallest } from "./load.fake.ts";

describe("gateways", () => {
  const inventory = (...entries: readonly string[]) =>
    `${smallest}gateways:\n${entries.map((entry) => `  - ${entry}\n`).join("")}`;
  const edge = "{ name: edge, kind: nginx, targets: [billing], secret_file: edge.secret }";

  test("an Envoy gets its defaults, and reaches gRPC where the broker serves it", () => {
    const text = `${inventory(edge, "{ name: sidecar, kind: envoy, targets: [billing], secret_file: edge.secret, behind: [edge] }")}listen: { grpc: "127.0.0.1:8701" }\n`;
    const loaded = load(text);
    expect("config" in loaded && loaded.config.gateways[1]).toEqual({
      name: "sidecar",
      kind: "envoy",
      targets: ["billing"],
      secret: "s3cret-of-edge",
      secretFile: "/etc/wayleave/edge.secret",
      brokerUrl: "http://127.0.0.1:8700",
      mode: "native",
      protocol: "grpc",
      grpc: { host: "127.0.0.1", port: 8701, tls: false },
      revocation: "grpc",
      revocationTtlMs: 15_000,
      keyCacheMs: 60_000,
      behind: ["edge"],
      listen: { host: "127.0.0.1", port: 10_000 },
      upstreams: {},
    });
  });

  test("an upstream may speak HTTP/2", () => {
    const text = inventory(
      '{ name: a, kind: envoy, protocol: http, revocation: rest, targets: [b], secret_file: edge.secret, upstreams: { b: "h2://127.0.0.1:9000", c: "127.0.0.1:9001" } }',
    );
    const loaded = load(text);
    expect("config" in loaded && loaded.config.gateways[0]).toMatchObject({
      upstreams: { b: { host: "127.0.0.1", port: 9000, http2: true }, c: { host: "127.0.0.1", port: 9001 } },
    });
    expect(problems(text.replace("h2://", "h3://"))).toEqual(["6:119 invalid_value"]);
  });

  test("a Linkerd needs no secret, since it never asks", () => {
    const text = inventory(
      "{ name: mesh, kind: linkerd, targets: [ledger], namespace: bank, workloads: [{ target: ledger, labels: { app: ledger }, port: 8080 }] }",
    );
    expect(problems(text)).toEqual([]);
  });

  test.each([
    {
      what: "an unknown kind",
      entry: "{ name: a, kind: enovy, targets: [b], secret_file: edge.secret }",
      found: "6:22 invalid_value",
    },
    { what: "no kind", entry: "{ name: a, targets: [b], secret_file: edge.secret }", found: "6:5 missing_key" },
    {
      what: "a key of another kind",
      entry:
        "{ name: a, kind: envoy, protocol: http, revocation: rest, njs: true, targets: [b], secret_file: edge.secret }",
      found: "6:63 unknown_key",
    },
    {
      what: "an Envoy that needs gRPC where there is none",
      entry: "{ name: a, kind: envoy, targets: [b], secret_file: edge.secret }",
      found: "6:5 grpc_missing",
    },
    {
      what: "an inner Envoy that needs gRPC for its certificate",
      entry:
        "{ name: a, kind: envoy, protocol: http, revocation: rest, behind: [edge], targets: [b], secret_file: edge.secret }",
      found: "6:5 grpc_missing",
    },
    {
      what: "a gateway behind itself",
      entry:
        "{ name: a, kind: envoy, protocol: http, revocation: rest, behind: [a], targets: [b], secret_file: edge.secret }",
      found: "6:72 unknown_gateway",
    },
    {
      what: "a gateway behind a native one, which passes no assertion on",
      entry:
        "{ name: a, kind: envoy, protocol: http, revocation: rest, behind: [c], targets: [b], secret_file: edge.secret }",
      found: "6:72 front_is_native",
    },
    {
      what: "a list that is polled each second and kept for two",
      entry:
        "{ name: a, kind: envoy, protocol: http, revocation: rest, revocation_ttl: 2s, targets: [b], secret_file: edge.secret }",
      found: "6:79 revocation_ttl_short",
    },
    {
      what: "a mesh without a namespace",
      entry:
        "{ name: a, kind: istio, targets: [b], secret_file: edge.secret, workloads: [{ target: b, labels: { app: b }, port: 1 }] }",
      found: "6:5 missing_key",
    },
    {
      what: "an Istio without a secret",
      entry:
        "{ name: a, kind: istio, targets: [b], namespace: n, workloads: [{ target: b, labels: { app: b }, port: 1 }] }",
      found: "6:5 secret_missing",
    },
    {
      what: "a list of ended sessions kept for an hour",
      entry:
        "{ name: a, kind: envoy, protocol: http, revocation: rest, revocation_ttl: 1h, targets: [b], secret_file: edge.secret }",
      found: "6:79 invalid_value",
    },
  ])("$what is refused", ({ entry, found }) => {
    const native = "{ name: c, kind: envoy, protocol: http, revocation: rest, targets: [b], secret_file: edge.secret }";
    expect(problems(inventory(entry, edge, native))).toContain(found);
  });
});

describe("spiffe", () => {
  test.each([
    {
      what: "a prefix of another trust domain",
      spiffe: "{ prefixes: [spiffe://evil.example/ns] }",
      found: "5:22 outside_trust_domain",
    },
    {
      what: "a prefix that is the whole domain",
      spiffe: "{ prefixes: [spiffe://acme.example] }",
      found: "5:22 outside_trust_domain",
    },
    {
      what: "runners of another domain than their bundle's",
      spiffe: "{ federates_with: [{ trust_domain: a.example, runners: [spiffe://b.example/runner] }] }",
      found: "5:65 outside_trust_domain",
    },
    {
      what: "a trust domain twice",
      spiffe: "{ federates_with: [{ trust_domain: a.example }, { trust_domain: a.example }] }",
      found: "5:73 duplicate_name",
    },
    {
      what: "an endpoint known by an SVID nobody named",
      spiffe: "{ federates_with: [{ trust_domain: a.example, profile: https_spiffe }] }",
      found: "5:28 missing_key",
    },
  ])("$what is refused", ({ spiffe, found }) => {
    expect(problems(`${smallest}spiffe: ${spiffe}\n`)).toEqual([found]);
  });

  test("what other domains there are, and who proves a runner, is read", () => {
    const text = `${smallest}spiffe: { svid_ttl: 10m, federates_with: [{ trust_domain: a.example, bundle_url: "https://a.example/bundle", runners: [spiffe://a.example/runner] }] }\n`;
    const loaded = load(text);
    expect("config" in loaded && loaded.config.spiffe).toEqual({
      svidTtlMs: 600_000,
      prefixes: [],
      federatesWith: [
        {
          trustDomain: "a.example",
          bundleUrl: "https://a.example/bundle",
          profile: "https_web",
          runners: ["spiffe://a.example/runner"],
        },
      ],
    });
  });
});
