import { connect } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parsePath } from "../src/core/path.ts";
import { askMesh } from "../src/gateway/istio/mesh.fake.ts";
import { istioResources } from "../src/gateway/istio/render.ts";
import { addPattern, type FilledSegment, httpEnd, matchHttp, segmentTrie } from "../src/policy/match-path.ts";
import { httpPattern as patternOf, policyModel, role, target } from "../src/policy/policy.fake.ts";
import { pathCases } from "./hostile-paths.ts";
import { type RealEnvoy, startEnvoy } from "./real-envoy.ts";

// What Istio makes of the rendered resources, as its own source translates them, in a real Envoy: the guard's filters as they
// are, and the ALLOW rules as RBAC. Istio itself needs Kubernetes; that its translation is this one is read, not run.

const patterns = [
  "GET /v1/health",
  "GET /v1/items/:id",
  "GET /v1/invoices/**",
  "GET /a/**/z",
  "GET /p/:x/**",
  "GET /sp ace/x",
];
const model = policyModel({
  targets: [target("billing", "mesh")],
  roles: [role("read", { billing: patterns })],
});
const coordinate = "A".repeat(43);
const { resources } = istioResources({
  gateway: {
    name: "mesh",
    targets: ["billing"],
    brokerUrl: "https://wayleave.acme.example",
    mode: "native",
    namespace: "bank",
    workloads: [{ target: "billing", labels: { app: "billing" }, port: 8080 }],
    meshTrustDomain: "cluster.local",
  },
  model,
  issuer: "https://wayleave.acme.example",
  jwks: { keys: [{ kty: "EC", crv: "P-256", kid: "k1", x: coordinate, y: coordinate }] },
});

// biome-ignore lint/suspicious/noExplicitAny: resources of many kinds, read as Istio reads them
type Loose = any;
const all = resources as readonly Loose[];
const guardFilters = all
  .find(({ kind }) => kind === "EnvoyFilter")
  .spec.configPatches.map(({ patch }: Loose) => patch.value)
  .toReversed();
const allowRules = all.find(({ spec }) => spec.action === "ALLOW").spec.rules;

function pathPermission(path: string): object {
  if (path.includes("{")) {
    const config = {
      "@type": "type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig",
      path_template: path.replaceAll("{**}", "**").replaceAll("{*}", "*"),
    };
    return { uri_template: { name: "uri-template", typed_config: config } };
  }
  return { url_path: { path: path.endsWith("*") ? { prefix: path.slice(0, -1) } : { exact: path } } };
}

const allow = {
  name: "envoy.filters.http.rbac",
  typed_config: {
    "@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC",
    rules: {
      action: "ALLOW",
      policies: Object.fromEntries(
        allowRules.map((rule: Loose, index: number) => {
          const mark = rule.when.find(({ key }: Loose) => key.startsWith("experimental."));
          const [, filter = "", name = ""] = /^experimental\.([^[]+)\[(.+)\]$/.exec(mark.key) ?? [];
          const marked = {
            metadata: { filter, path: [{ key: name }], value: { string_match: { exact: mark.values[0] } } },
          };
          const operations = rule.to.map(({ operation }: Loose) => ({
            and_rules: {
              rules: [
                { or_rules: { rules: operation.paths.map(pathPermission) } },
                {
                  or_rules: {
                    rules: operation.methods.map((exact: string) => ({
                      header: { name: ":method", string_match: { exact } },
                    })),
                  },
                },
                marked,
              ],
            },
          }));
          return [`rule-${index}`, { permissions: operations, principals: [{ any: true }] }];
        }),
      ),
    },
  },
};

function config(guarded: boolean) {
  const manager = {
    "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
    stat_prefix: "in",
    normalize_path: true,
    merge_slashes: true,
    upgrade_configs: [{ upgrade_type: "websocket" }],
    http_filters: [
      ...(guarded ? guardFilters : []),
      allow,
      {
        name: "envoy.filters.http.router",
        typed_config: { "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router" },
      },
    ],
    route_config: {
      virtual_hosts: [
        {
          name: "all",
          domains: ["*"],
          // What the service would get, as the gateway sends it on.
          response_headers_to_add: [
            { header: { key: "x-got-path", value: "%REQ(:PATH)%" } },
            {
              header: {
                key: "x-got-spoof",
                value:
                  "%REQ(X-WAYLEAVE-SUBJECT)%%REQ(X_WAYLEAVE_ROLE)%%REQ(X.WAYLEAVE.JOB)%%REQ(TXN-TOKEN)%%REQ(X-ORIGINAL-URL)%",
              },
            },
          ],
          routes: [{ match: { prefix: "/" }, direct_response: { status: 200 } }],
        },
      ],
    },
  };
  return {
    // As Istio's own bootstrap says.
    layered_runtime: {
      layers: [{ name: "istio", static_layer: { "re2.max_program_size.error_level": 32768 } }],
    },
    static_resources: {
      listeners: [
        {
          name: "inbound",
          address: { socket_address: { address: "127.0.0.1", port_value: 0 } },
          filter_chains: [{ filters: [{ name: "hcm", typed_config: manager }] }],
        },
      ],
    },
  };
}

/** Raw bytes, so that nothing on this side makes a request harmless. */
function send(
  port: number,
  method: string,
  path: string,
  headers: readonly string[] = [],
): Promise<{ status: number; head: string }> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, "127.0.0.1");
    let text = "";
    socket.setEncoding("latin1");
    socket.on("data", (chunk: string) => {
      text += chunk;
      if (text.includes("\r\n\r\n")) socket.destroy();
    });
    socket.once("error", reject);
    socket.once("close", () => resolve({ status: Number(/^HTTP\/1\.1 (\d{3})/.exec(text)?.[1] ?? 0), head: text }));
    socket.write(
      Buffer.from(
        `${method} ${path} HTTP/1.1\r\nhost: billing\r\nconnection: close\r\n${headers.map((line) => `${line}\r\n`).join("")}\r\n`,
        "latin1",
      ),
    );
  });
}

let guarded: RealEnvoy;
let bare: RealEnvoy;
beforeAll(async () => {
  guarded = await startEnvoy({ config: () => config(true) });
  bare = await startEnvoy({ config: () => config(false) });
}, 30_000);
afterAll(async () => {
  for (const envoy of [guarded, bare]) {
    await envoy?.stop();
    envoy?.remove();
  }
});

const token = {
  iss: "https://wayleave.acme.example",
  sub: "spiffe://x/y",
  aud: ["billing"],
  roles: ["read"],
  denies: [],
  pol: model.version,
};

describe("the rendered guard and rules in a real Envoy", () => {
  const paths = [
    ...[
      "/v1/health",
      "/v1/health/",
      "/v1/items/7",
      "/v1/items/",
      "/v1/items/7/8",
      "/v1/invoices",
      "/v1/invoices/",
      "/v1/invoices/a/b",
    ],
    ...[
      "/a/z",
      "/a/b/z",
      "/a/b/c/z",
      "/a/b/zz",
      "/p/q",
      "/p/q/",
      "/p/q/r/s",
      "/p",
      "/sp%20ace/x",
      "/sp+ace/x",
      "/v1/items/caf%C3%A9",
    ],
    ...[
      "/v1/items/a*b",
      "/v1/invoices/a*b",
      "/v1/items/..;",
      "/v1/invoices/..;/x",
      "/v1/invoices/%2e%2e/x",
      "/v1/invoices/a%2Fb",
      "/v1/items/a;b",
    ],
    ...[
      "/v1/invoices//x",
      "/v1/./health",
      "/x/../v1/health",
      "/v1/invoices/%252e",
      "/v1/invoices/%80",
      "/v1/invoices/a%5Cb",
      "/v1/health?x=/y",
    ],
    ...pathCases.flatMap(({ bytes }) => /^GET (\/\S*) HTTP/.exec(bytes)?.[1] ?? []),
  ];

  test.each([...new Set(paths)])("%s: the service gets only what policy allows, as policy reads it", async (path) => {
    const { status, head } = await send(guarded.port(), "GET", path);
    if (status !== 200) {
      // Refused: then policy refuses it too.
      expect([path, allowed(path.split("?")[0] ?? "")]).toEqual([path, false]);
      return;
    }
    const got = /x-got-path: (.*)\r\n/i.exec(head)?.[1]?.split("?")[0] ?? "";
    expect([path, got, allowed(got)]).toEqual([path, got, true]);
  });

  test.each(["POST", "get", "TRACE", "PURGE"])("method %s is refused", async (method) => {
    expect((await send(guarded.port(), method, "/v1/health")).status).not.toBe(200);
  });

  test("an upgrade is refused", async () => {
    const { status } = await send(guarded.port(), "GET", "/v1/health", ["upgrade: websocket", "connection: upgrade"]);
    expect(status).toBe(403);
  });

  test("what a client says of itself is removed, in every spelling", async () => {
    const spoofs = [
      "x-wayleave-subject: a",
      "X_Wayleave_Role: b",
      "x.wayleave.job: c",
      "txn-token: d",
      "X-Original-URL: e",
    ];
    const { status, head } = await send(guarded.port(), "GET", "/v1/health", spoofs);
    expect(status).toBe(200);
    expect(/x-got-spoof: (.*)\r\n/i.exec(head)?.[1] ?? "").toMatch(/^-*$/);
  });

  test("without the guard nothing is served", async () => {
    expect((await send(bare.port(), "GET", "/v1/health")).status).toBe(403);
  });

  test("our reading of Istio's matches is Envoy's", async () => {
    for (const path of paths.filter((one) => one.startsWith("/") && parsePath(one).ok)) {
      const { status } = await send(guarded.port(), "GET", path);
      const request = { method: "GET", host: "billing", path, port: 8080, token };
      expect([path, askMesh(all, request, () => false).allowed]).toEqual([path, status === 200]);
    }
  });
});

/** Whether policy allows a path, by its own matcher. */
function allowed(raw: string): boolean {
  const path = parsePath(raw);
  const trie = segmentTrie<ReturnType<typeof httpEnd>>();
  for (const pattern of patterns.map(patternOf))
    addPattern(trie, pattern.segments as readonly FilledSegment[], httpEnd(pattern));
  return path.ok && matchHttp(trie, "GET", path).length > 0;
}
