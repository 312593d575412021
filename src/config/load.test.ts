import { describe, expect, test } from "vitest";
import { loadConfig } from "./load.ts";
import { configJsonSchema } from "./schema.ts";

const key = Buffer.alloc(32, 7).toString("base64");
const files: Readonly<Record<string, string>> = {
  "/etc/wayleave/policy": "a folder",
  "/etc/wayleave/key": `${key}\n`,
  "/etc/wayleave/short": "c2hvcnQ=\n",
  "/etc/wayleave/empty": "\n",
  "/etc/wayleave/edge.secret": "s3cret-of-edge\n",
  "/etc/wayleave/jwks.json": '{"keys":[{"kty":"RSA","kid":"1"}]}',
  "/etc/wayleave/ca.pem": "PEM",
};

function readFile(path: string): string {
  const text = files[path];
  if (text === "a folder") throw Object.assign(new Error("is a folder"), { code: "EISDIR" });
  if (text === undefined) throw Object.assign(new Error("missing"), { code: "ENOENT" });
  return text;
}

const path = "/etc/wayleave/wayleave.yaml";

function load(text: string, env: Readonly<Record<string, string>> = {}) {
  return loadConfig({ path, env, readFile: (file) => (file === path ? text : readFile(file)) });
}

function problems(text: string, env: Readonly<Record<string, string>> = {}): string[] {
  const loaded = load(text, env);
  if (!("diagnostics" in loaded)) return [];
  return loaded.diagnostics.map(({ code, place }) => `${place.line}:${place.column} ${code}`);
}

const smallest = `issuer: https://wayleave.example
trust_domain: acme.example
keys: { encryption_key_file: key }
issuers: [{ name: gitlab, type: gitlab }]
`;

describe("a valid file", () => {
  test("gets every default, absolute paths and its secrets read", () => {
    expect(load(smallest)).toEqual({
      config: {
        file: path,
        issuer: "https://wayleave.example",
        trustDomain: "acme.example",
        listen: { host: "127.0.0.1", port: 8700, behindTlsProxy: false },
        dataDir: "/etc/wayleave/data",
        policyPath: "/etc/wayleave/policy",
        keys: { encryptionKey: key },
        sessions: { maxMs: 21_600_000, tokenTtlMs: 300_000 },
        issuers: [{ name: "gitlab", type: "gitlab", audience: "https://wayleave.example", webhooks: [] }],
        gateways: [],
        spiffe: { svidTtlMs: 900_000, prefixes: [], federatesWith: [] },
        durable: "within_50ms",
        log: { level: "info" },
      },
    });
  });

  test("with every key set keeps what it says", () => {
    const full = `${smallest.replace(/issuers.*\n/, "")}listen: { address: "[::1]:0" }
data: /var/lib/wayleave
sessions: { max: 90m, token_ttl: 2m }
issuers:
  - name: self-managed
    type: gitlab
    url: https://git.example:8443/gitlab
    audience: wayleave
    ca_file: ca.pem
    jwks_file: jwks.json
    api: { url: https://git.example:8443/gitlab/api/v4, token: "\${API_TOKEN}" }
    webhooks:
      - { name: shop, projects: ["1042"], groups: [acme], token: "\${HOOK}", signing_token: "\${SIGNING}" }
gateways:
  - { name: edge-1, kind: nginx, environment: production, targets: [billing], secret_file: edge.secret, cache: 2s, njs: true }
durable: before_answer
log: { level: debug }
`;
    const loaded = load(full, { API_TOKEN: "glpat", HOOK: "hook", SIGNING: "whsec" });
    expect(loaded).toMatchObject({
      config: {
        listen: { host: "::1", port: 0 },
        dataDir: "/var/lib/wayleave",
        sessions: { maxMs: 5_400_000, tokenTtlMs: 120_000 },
        issuers: [
          {
            url: "https://git.example:8443/gitlab",
            audience: "wayleave",
            ca: "PEM",
            jwks: { keys: [{ kty: "RSA", kid: "1" }] },
            api: { url: "https://git.example:8443/gitlab/api/v4", token: "glpat" },
            webhooks: [{ name: "shop", projects: ["1042"], groups: ["acme"], token: "hook", signingToken: "whsec" }],
          },
        ],
        gateways: [
          {
            name: "edge-1",
            secret: "s3cret-of-edge",
            secretFile: "/etc/wayleave/edge.secret",
            brokerUrl: "http://[::1]:0",
            cacheMs: 2000,
            njs: true,
          },
        ],
        durable: "before_answer",
        log: { level: "debug" },
      },
    });
  });
});

const tenMistakes = `issuer: http://wayleave.example
trust_domain: Acme
listen: { address: 0.0.0.0:8700 }
keys: { encryption_key: c2VjcmV0LWtleS1pbi10aGUtZmlsZQ== }
sesions: { max: 6h }
issuers:
  - name: gitlab
    type: gitlub
    ca_file: missing.pem
  - name: gitlab
    type: buildkite
gateways:
  - { name: edge-1, kind: nginx, targets: [billing], secret: "\${UNSET}", cache: 5s }
log: { level: [info] }
`;

describe("ten different mistakes", () => {
  test("are reported at once, each at its place", () => {
    expect(problems(tenMistakes)).toEqual([
      "1:9 invalid_value",
      "2:15 invalid_value",
      "3:20 plain_http",
      "4:25 literal_secret",
      "5:1 unknown_key",
      "8:11 invalid_value",
      "9:14 file_missing",
      "10:11 duplicate_name",
      "10:11 issuer_name_is_a_type",
      "13:62 secret_unset",
      "13:81 invalid_value",
      "14:15 invalid_value",
    ]);
  });

  test("a misspelt key or word comes with what was probably meant", () => {
    const loaded = load(tenMistakes);
    const helps = "diagnostics" in loaded ? loaded.diagnostics.map(({ help }) => help) : [];
    expect(helps).toContain('did you mean "sessions"?');
    expect(helps).toContain('did you mean "gitlab"?');
  });

  test("never repeat a secret that stands in the file", () => {
    expect(JSON.stringify(load(tenMistakes))).not.toContain("c2VjcmV0");
  });
});

const without = (line: RegExp, instead = "") => smallest.replace(line, instead);

describe("refused:", () => {
  test.each<{ what: string; text: string; found: readonly string[] }>([
    {
      what: "an empty file",
      text: "",
      found: ["1:1 missing_key", "1:1 missing_key", "1:1 missing_key", "1:1 missing_key"],
    },
    { what: "a list instead of keys", text: "- a\n", found: ["1:1 wrong_type"] },
    { what: "text that is no YAML", text: "issuer: [a\n", found: ["2:1 yaml_syntax"] },
    { what: "a key twice", text: `${smallest}data: ./a\ndata: ./b\n`, found: ["6:1 duplicate_key"] },
    { what: "an alias", text: `${smallest}data: &a ./a\npolicy: *a\n`, found: ["6:9 alias_refused"] },
    { what: "a cyclic alias", text: `${smallest}log: &a\n  level: *a\n`, found: ["6:10 alias_refused"] },
    { what: "no encryption key", text: without(/keys.*/, "keys: {}"), found: ["3:7 secret_missing"] },
    {
      what: "an encryption key that is missing",
      text: without(/_file: key/, "_file: nokey"),
      found: ["3:30 file_missing"],
    },
    {
      what: "an encryption key that is too short",
      text: without(/_file: key/, "_file: short"),
      found: ["3:30 invalid_value"],
    },
    {
      what: "an empty secret",
      text: without(/_file: key/, "_file: empty"),
      found: ["3:30 secret_empty", "3:30 invalid_value"],
    },
    {
      what: "a secret given twice",
      text: without(/_file: key/, "_file: key, encryption_key: '${K}'"),
      found: ["3:35 conflicting_keys"],
    },
    { what: "no issuer of jobs", text: without(/issuers.*/, "issuers: []"), found: ["4:10 invalid_value"] },
    { what: "a policy that is not there", text: `${smallest}policy: ./nowhere\n`, found: ["5:9 file_missing"] },
    {
      what: "an issuer with a final slash",
      text: without(/wayleave.example/, "wayleave.example/"),
      found: ["1:9 invalid_value"],
    },
    { what: "sessions of more than a day", text: `${smallest}sessions: { max: 25h }\n`, found: ["5:18 invalid_value"] },
    {
      what: "tokens of more than a quarter of an hour",
      text: `${smallest}sessions: { token_ttl: 16m }\n`,
      found: ["5:24 invalid_value"],
    },
    { what: "a duration without a unit", text: `${smallest}sessions: { max: 60 }\n`, found: ["5:18 wrong_type"] },
    {
      what: "a port beyond 65535",
      text: `${smallest}listen: { address: 127.0.0.1:70000 }\n`,
      found: ["5:20 invalid_value"],
    },
    {
      what: "a JWKS that is none",
      text: without(/type: gitlab/, "type: gitlab, jwks_file: key"),
      found: ["4:52 invalid_value"],
    },
    {
      what: "a webhook without a secret or a project",
      text: without(/type: gitlab/, "type: gitlab, webhooks: [{ name: all }]"),
      found: ["4:52 secret_missing", "4:52 webhook_unbounded"],
    },
    {
      what: "an API without a credential",
      text: without(/type: gitlab/, "type: gitlab, api: { url: https://a.example }"),
      found: ["4:46 secret_missing"],
    },
  ])("$what", ({ text, found }) => {
    expect(problems(text)).toEqual(found);
  });

  test("a file that does not exist, by its name", () => {
    const loaded = loadConfig({ path: "/nowhere.yaml", env: {}, readFile });
    expect(loaded).toMatchObject({ diagnostics: [{ code: "file_missing", message: "/nowhere.yaml does not exist" }] });
  });
});

/** Every leaf's schema with its path: objects and arrays are walked, the rest are leaves. */
function leaves(schema: Schema, path = ""): { path: string; schema: Schema }[] {
  if (schema.properties) {
    return Object.entries(schema.properties).flatMap(([key, inner]) => leaves(inner, `${path}/${key}`));
  }
  if (schema.items?.properties) return leaves(schema.items, `${path}/*`);
  return [{ path, schema }];
}

interface Schema {
  readonly description?: string;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  readonly items?: Schema;
}

describe("the JSON Schema", () => {
  const all = leaves(configJsonSchema() as Schema);

  test("describes every leaf", () => {
    expect(all.length).toBeGreaterThan(35);
    expect(all.filter(({ schema }) => (schema.description ?? "").length < 20).map(({ path: leaf }) => leaf)).toEqual(
      [],
    );
  });

  test("refuses unknown keys", () => {
    expect(configJsonSchema()).toMatchObject({ additionalProperties: false });
  });
});

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
