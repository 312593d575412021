import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { doctorText } from "./doctor.ts";
import { checks, examine } from "./doctor-checks.ts";
import type { DoctorFacts, Finding } from "./doctor-facts.ts";
import { brokenNats, healthyNats, localNats, unaskedNats } from "./doctor-nats.fake.ts";
import { lineWidth } from "./terminal.ts";

const now = Date.parse("2026-11-24T09:30:00Z");
const iso = (ms: number) => new Date(ms).toISOString();
const day = 86_400_000;
const key = { class: "access-token", kid: "kid-000000001", created_at: iso(now - day) } as const;
const certificate = {
  subject: "CN=billing",
  authority: false,
  notBefore: now - day,
  notAfter: now + 90 * day,
  signedByNext: true,
};
const node = { id: "envoy-1", connected: true, last_heard: iso(now) };
const envoy = {
  name: "edge-2",
  kind: "envoy",
  mode: "native",
  targets: ["billing"],
  policy: "current",
  nodes: [],
  notes: [],
} as const;
const finding = (code: string) => ({
  severity: "error" as const,
  code,
  message: "wrong",
  place: { file: "f", line: 3, column: 1, length: 1 },
  help: "correct it",
});
const protectedRoute = { name: "billing/0", match: { prefix: "/v1/" }, route: { cluster: "billing" } };
const open = { "envoy.filters.http.ext_authz": { "@type": "x/ext_authz.v3.ExtAuthzPerRoute", disabled: true } };
const filter = (name: string, type: string) => ({
  name,
  typed_config: { "@type": `type.googleapis.com/envoy.extensions.filters.http.${type}`, rules: {} },
});
const authzFilter = filter("envoy.filters.http.ext_authz", "ext_authz.v3.ExtAuthz");
const rbacFilter = filter("envoy.filters.http.rbac", "rbac.v3.RBAC");
const routes = (...list: readonly object[]) => manager([authzFilter], list);
const manager = (http_filters: readonly object[], list: readonly object[]) => ({
  http_filters,
  route_config: { virtual_hosts: [{ name: "billing", domains: ["*"], routes: list }] },
});
const authz = { "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz" };

/** An installation in which nothing is wrong. */
const healthy: DoctorFacts = {
  now,
  gateways: [
    { name: "edge-1", kind: "nginx", ships: true },
    { name: "edge-2", kind: "envoy", ships: true, refusalsTtlMs: 15_000 },
  ],
  issuers: [{ name: "gitlab", aheadMs: 400 }],
  keySets: [{ gateway: "edge-1", url: "http://b/oauth2/jwks", keys: 2, cacheControl: "public, max-age=300" }],
  keys: {
    keys: [
      { ...key, kid: "kid-000000000", state: "retired", last_token_expires_at: iso(now - 1000) },
      { ...key, state: "active", usable_at: iso(now - 2000), signs_since: iso(now - 1000) },
      { ...key, kid: "kid-000000002", state: "prepared", usable_at: iso(now + 1000) },
    ],
    gateways: [],
  },
  inventory: { policy: "41c0aa", gateways: [{ ...envoy, acknowledged_seconds: 1 }] },
  lines: [{ gateway: "edge-1", lastAt: now - 1000, aheadMs: [-400, -900], decidedAt: now - 1000 }],
  nginx: [],
  envoy: [
    {
      file: "envoy.yaml",
      config: {
        filters: [
          { typed_config: { ...authz, failure_mode_allow: false, status_on_error: { code: 503 } } },
          { config_discovery: { default_config: {} } },
        ],
        ...routes(protectedRoute, {
          name: "health",
          match: { path: "/health" },
          typed_per_filter_config: open,
        }),
      },
    },
  ],
  certificates: [{ file: "tls.pem", chain: [certificate, { ...certificate, subject: "CN=ca", authority: true }] }],
  resources: [],
  probes: [{ url: "http://edge", host: "billing.internal", what: "a request without a token", status: 401 }],
  nats: [healthyNats],
};

const config = (value: unknown): DoctorFacts => ({ ...healthy, envoy: [{ file: "envoy.yaml", config: value }] });
const keys = (...list: NonNullable<DoctorFacts["keys"]>["keys"]): DoctorFacts => ({
  ...healthy,
  keys: { keys: list, gateways: [] },
});
const glass = {
  id: "bg_0123456789abcdef",
  reason: "the broker's disk died",
  targets: ["billing"],
  gateways: ["edge-1"],
  approvers: ["dana", "kim"],
  ends_at: "2026-11-24T10:30:00.000Z",
  uses: 2,
};
const gateway = (more: object): DoctorFacts => ({
  ...healthy,
  inventory: { policy: "41c0aa", gateways: [{ ...envoy, acknowledged_seconds: 1, ...more }] },
});
const lines = (more: object): DoctorFacts => ({ ...healthy, lines: [{ gateway: "edge-1", aheadMs: [], ...more }] });
const keySet = (more: object): DoctorFacts => ({
  ...healthy,
  keySets: [{ gateway: "edge-1", url: "http://b", ...more }],
});
const certificates = (...chain: readonly object[]): DoctorFacts => ({
  ...healthy,
  certificates: [{ file: "tls.pem", chain: chain.map((one) => ({ ...certificate, ...one })) }],
});
const probe = (more: object): DoctorFacts => ({
  ...healthy,
  probes: [{ url: "http://edge", host: "h", what: "w", ...more }],
});

/** What each check must find. */
const broken: readonly (readonly [check: string, why: string, level: Finding["level"], facts: DoctorFacts])[] = [
  ...brokenNats(healthy),
  ["clock_issuer", "a CI two minutes ahead", "fail", { ...healthy, issuers: [{ name: "gitlab", aheadMs: 120_000 }] }],
  ["clock_issuer", "a CI two minutes behind", "fail", { ...healthy, issuers: [{ name: "gitlab", aheadMs: -120_000 }] }],
  ["clock_issuer", "a CI some seconds ahead", "warn", { ...healthy, issuers: [{ name: "gitlab", aheadMs: 15_000 }] }],
  [
    "clock_issuer",
    "a CI that gives no answer",
    "warn",
    { ...healthy, issuers: [{ name: "gitlab", problem: "gives no answer" }] },
  ],
  ["clock_gateway", "a gateway a minute ahead", "fail", lines({ aheadMs: [-500, 60_000] })],
  ["clock_gateway", "a gateway seconds ahead", "warn", lines({ aheadMs: [5_000] })],
  ["clock_gateway", "a gateway whose lines are always late", "warn", lines({ aheadMs: [-300_000, -200_000] })],
  ["jwks_reachable", "an address without answer", "fail", keySet({ problem: "gives no answer" })],
  ["jwks_reachable", "an answer that is no key set", "fail", keySet({})],
  ["jwks_reachable", "an empty key set", "fail", keySet({ keys: 0 })],
  ["jwks_reachable", "a key set that may not be kept", "fail", keySet({ keys: 1, cacheControl: "no-cache" })],
  ["keys_overlap", "no key", "fail", keys()],
  ["keys_overlap", "no active key", "fail", keys({ ...key, state: "prepared" })],
  [
    "keys_overlap",
    "two active keys",
    "fail",
    keys({ ...key, state: "active" }, { ...key, kid: "kid-000000009", state: "active" }),
  ],
  [
    "keys_overlap",
    "a key that signs before it is known",
    "fail",
    keys({ ...key, state: "active", usable_at: iso(now + 5000), signs_since: iso(now - 1) }),
  ],
  [
    "keys_overlap",
    "a key retired before its tokens expired",
    "fail",
    keys(
      { ...key, state: "active" },
      { ...key, kid: "kid-000000009", state: "retired", last_token_expires_at: iso(now + 1) },
    ),
  ],
  ["refusals_fresh", "refusals past their time", "fail", gateway({ acknowledged_seconds: 16 })],
  ["refusals_fresh", "refusals nearly past it", "warn", gateway({ acknowledged_seconds: 13 })],
  ["refusals_fresh", "refusals never taken", "fail", gateway({ acknowledged_seconds: undefined })],
  ["refusals_fresh", "refusals that were refused", "fail", gateway({ nodes: [{ ...node, refused: "unknown field" }] })],
  ["policy_current", "an older policy", "fail", gateway({ policy: "older" })],
  ["policy_current", "a policy nobody knows", "warn", gateway({ policy: "unknown" })],
  [
    "breakglass",
    "glass that is broken still",
    "warn",
    { ...healthy, inventory: { policy: "41c0aa", gateways: [], breakglass: [glass] } },
  ],
  ["outage_keep", "something kept", "note", gateway({ kept: [{ target: "billing", seconds: 60 }] })],
  ["log_arrives", "no line at all", "fail", lines({ decidedAt: now - 120_000 })],
  ["log_arrives", "lines that stopped", "fail", lines({ decidedAt: now - 120_000, lastAt: now - 600_000 })],
  [
    "fails_closed_envoy",
    "failure_mode_allow",
    "fail",
    config({ filters: [{ typed_config: { ...authz, failure_mode_allow: true } }] }),
  ],
  [
    "fails_closed_envoy",
    "a status_on_error that looks like success",
    "fail",
    config({ typed_config: { ...authz, status_on_error: { code: 200 } } }),
  ],
  [
    "fails_closed_envoy",
    "filter_enabled",
    "fail",
    config({ typed_config: { ...authz, filter_enabled: { default_value: {} } } }),
  ],
  [
    "fails_closed_envoy",
    "no default_config",
    "fail",
    config({ http_filters: [{ name: "x", config_discovery: { config_source: {} } }] }),
  ],
  [
    "fails_closed_envoy",
    "allow_missing",
    "fail",
    config({ rules: [{ requires: { requires_any: { requirements: [{ allow_missing: {} }] } } }] }),
  ],
  ["fails_closed_envoy", "allow_missing_or_failed", "fail", config({ requires: { allow_missing_or_failed: {} } })],
  [
    "fails_closed_envoy",
    "tokens without signature",
    "fail",
    config({ requires: { extract_only_without_validation: {} } }),
  ],
  ["fails_closed_envoy", "preflights past it", "warn", config({ bypass_cors_preflight: true })],
  [
    "fails_closed_envoy",
    "an RBAC filter that only watches",
    "warn",
    config({ "@type": "x/envoy.extensions.filters.http.rbac.v3.RBAC", shadow_rules: {} }),
  ],
  ["fails_closed_nginx", "a lint's finding", "fail", { ...healthy, nginx: [finding("satisfy_any")] }],
  ["route_priority", "a location without the include", "fail", { ...healthy, nginx: [finding("missing_include")] }],
  [
    "route_priority",
    "an open route before a protected one",
    "fail",
    config(routes({ match: { prefix: "/" }, typed_per_filter_config: open }, protectedRoute)),
  ],
  [
    "route_priority",
    "an open RBAC before a protected regex",
    "fail",
    config(
      manager(
        [rbacFilter],
        [
          {
            match: { prefix: "/v1" },
            typed_per_filter_config: { "envoy.filters.http.rbac": { "@type": "x.RBACPerRoute" } },
          },
          { match: { safe_regex: { regex: "^/v1/invoices/[^/]+$" } } },
        ],
      ),
    ),
  ],
  ["certificate_order", "the authority first", "fail", certificates({ authority: true, signedByNext: false }, {})],
  ["certificate_order", "a gap", "fail", certificates({ signedByNext: false }, { authority: true })],
  [
    "certificate_order",
    "no certificate",
    "fail",
    { ...healthy, certificates: [{ file: "f", chain: [], problem: "holds no certificate" }] },
  ],
  ["certificate_validity", "an expired one", "fail", certificates({ notAfter: now })],
  ["certificate_validity", "one not yet valid", "fail", certificates({ notBefore: now + 1 })],
  ["certificate_validity", "one soon over", "warn", certificates({ notBefore: now - 80 * day, notAfter: now + day })],
  ["answers_without_asking", "a request that was served", "fail", probe({ status: 200 })],
  ["answers_without_asking", "a request that reached a fault", "fail", probe({ status: 500 })],
  ["answers_without_asking", "a redirect", "warn", probe({ status: 301 })],
  ["answers_without_asking", "no answer", "fail", probe({})],
  ["mesh_permissive", "PERMISSIVE", "fail", { ...healthy, resources: [finding("mtls_permissive")] }],
  ["mesh_resources", "a dry run", "fail", { ...healthy, resources: [finding("policy_dry_run")] }],
];

const resultOf = (facts: DoctorFacts, name: string) => examine(facts).find((check) => check.name === name);

describe("checks", () => {
  test("find nothing in an installation in which nothing is wrong, and look at all of it", () => {
    expect(examine(healthy).filter(({ result }) => result !== "ok")).toEqual([]);
  });

  test.each(broken)("%s finds %s", (name, _why, level, facts) => {
    expect(resultOf(facts, name)).toMatchObject({ result: level, findings: [{ level }] });
    // One cause, one check: nothing else is blamed for it.
    expect(
      examine(facts)
        .filter(({ result }) => result !== "ok" && result !== "skipped")
        .map((check) => check.name),
    ).toEqual([name]);
  });

  test("each has a broken case here", () => {
    expect(new Set(broken.map(([name]) => name))).toEqual(new Set(checks.map(({ name }) => name)));
  });

  test("are skipped without facts, and say what they need", () => {
    for (const { result, needs } of examine({ now })) {
      expect(result).toBe("skipped");
      expect(needs).not.toBe("");
    }
  });

  test.each([
    {
      why: "a gateway that sends no log",
      facts: {
        ...lines({ decidedAt: now - 120_000 }),
        gateways: [{ name: "edge-1", kind: "linkerd", ships: false }],
      } as DoctorFacts,
    },
    { why: "a gateway and a server on this machine without TLS", facts: { ...healthy, nats: [localNats] } },
    { why: "accounts that could not be asked for", facts: { ...healthy, nats: [unaskedNats] } },
    { why: "a decision made just now", facts: lines({ decidedAt: now - 1000 }) },
    { why: "a gateway that asks for every request", facts: gateway({ mode: "call_out", policy: "unknown" }) },
    {
      why: "a short-lived certificate in the middle of its life",
      facts: certificates({ notBefore: now - 3_600_000, notAfter: now + 3_600_000 }),
    },
    {
      why: "an open route that takes other requests",
      facts: config(routes({ match: { prefix: "/health" }, typed_per_filter_config: open }, protectedRoute)),
    },
    {
      why: "an open route with a condition of its own",
      facts: config(
        routes({ match: { prefix: "/", headers: [{ name: "x" }] }, typed_per_filter_config: open }, protectedRoute),
      ),
    },
    {
      why: "hostile YAML",
      facts: config([
        null,
        1,
        "x",
        { virtual_hosts: [null, { routes: [null, 3] }] },
        { config_discovery: { default_config: null } },
      ]),
    },
  ])("are content with $why", ({ facts }) => {
    expect(examine(facts).filter(({ result }) => result === "fail")).toEqual([]);
  });

  test("and the guide name the same checks", () => {
    const guide = readFileSync(new URL("../../docs/guides/verify.md", import.meta.url), "utf8");
    const rows = [...guide.matchAll(/^\| `([a-z_]+)` \| (.+) \| (.+) \|$/gm)].map(([, name, looks, needs]) => ({
      name,
      looks,
      needs,
    }));
    const plain = (text: string) => text.replaceAll("`", "");
    expect(rows.map(({ name, looks = "", needs = "" }) => [name, plain(looks), plain(needs)])).toEqual(
      checks.map(({ name, looks, needs }) => [name, plain(looks), plain(needs)]),
    );
  });
});

describe("what is printed", () => {
  const paint = (_style: string, text: string) => text;

  test("is one aligned line for each check, with a fix for each finding, never wider than the terminal", () => {
    for (const facts of [healthy, { now }, ...broken.map(([, , , one]) => one)]) {
      const text = doctorText(paint, examine(facts));
      for (const line of text.split("\n")) expect(line.length).toBeLessThanOrEqual(lineWidth);
      for (const { name } of checks) expect(text).toMatch(new RegExp(`^${name} +(ok|note|warn|fail|skipped)`, "m"));
    }
    expect(doctorText(paint, examine(probe({ status: 200 })))).toMatch(
      /^answers_without_asking +fail .*\n(?: {33}.*\n)* {33}fix: /m,
    );
  });

  test("does not let what was found steer the terminal", () => {
    const hostile = { ...healthy, issuers: [{ name: "gitlab", problem: "\u001b[2J\n\u202e" }] };
    expect(doctorText(paint, examine(hostile)).replaceAll("\n", "")).not.toMatch(/[\p{Cc}\p{Cf}]/u);
  });
});
