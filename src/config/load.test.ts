import { describe, expect, test } from "vitest";
import { key, load, path, problems, readFile, smallest } from "./load.fake.ts";
import { loadConfig } from "./load.ts";
import { configJsonSchema } from "./schema.ts";

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
        approvers: [],
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

test("caps and the previous encryption key are read, and absent where they are not written", () => {
  const more = without(/_file: key/, "_file: key, previous_encryption_key_file: key");
  const found = load(`${more}sessions: { caps: { tokens_per_minute: 600 } }\n`);
  expect(found).toMatchObject({
    config: { keys: { previousEncryptionKey: expect.any(String) }, sessions: { caps: { tokensPerMinute: 600 } } },
  });
  expect(load(smallest)).not.toHaveProperty("config.sessions.caps");
  expect(load(smallest)).not.toHaveProperty("config.keys.previousEncryptionKey");
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
      what: "a previous encryption key that is too short",
      text: without(/_file: key/, "_file: key, previous_encryption_key_file: short"),
      found: ["3:65 invalid_value"],
    },
    {
      what: "a cap of nothing",
      text: `${smallest}sessions: { caps: { sessions_per_minute: 0 } }\n`,
      found: ["5:42 invalid_value"],
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
