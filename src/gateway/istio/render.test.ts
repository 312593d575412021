import { readdirSync, readFileSync } from "node:fs";
import { DestinationRule, ServiceEntry } from "@kubernetes-models/istio/networking.istio.io/v1";
import { EnvoyFilter } from "@kubernetes-models/istio/networking.istio.io/v1alpha3";
import {
  AuthorizationPolicy,
  PeerAuthentication,
  RequestAuthentication,
} from "@kubernetes-models/istio/security.istio.io/v1";
import { Telemetry } from "@kubernetes-models/istio/telemetry.istio.io/v1";
import { describe, expect, test } from "vitest";
import { parseAllDocuments } from "yaml";
import type { PolicyModel, RoleModel } from "../../policy/model.ts";
import { deny, policyModel, role, selector, target } from "../../policy/policy.fake.ts";
import { renderEndedSessions } from "./ended-sessions.ts";
import { renderMeshConfig } from "./mesh-config.ts";
import { renderIstio } from "./render.ts";
import type { IstioGatewaySettings } from "./settings.ts";

const issuer = "https://wayleave.acme.example";
const gateway: IstioGatewaySettings = {
  name: "mesh",
  targets: ["ledger", "billing"],
  brokerUrl: "https://wayleave.acme.example",
  mode: "native",
  namespace: "bank",
  workloads: [
    { target: "billing", labels: { app: "billing" }, port: 8080 },
    { target: "ledger", labels: { app: "ledger", tier: "api" }, port: 9090 },
    { target: "ledger", labels: { app: "ledger", tier: "batch" }, port: 9091 },
  ],
  meshTrustDomain: "cluster.local",
};
const key = (kid: string) => ({ kty: "EC", crv: "P-256", kid, x: "A".repeat(43), y: "B".repeat(43) });
const jwks = { keys: [key("k2"), key("k1")] };
const agents = [selector({}, { anyIssuer: true, fork: true, kind: "agent" })];
const roles: readonly RoleModel[] = [
  role("read", { billing: ["GET /v1/invoices/**", "GET /v1/health", "GET /v1/invoices/:id/pdf"], ledger: ["* /**"] }),
  role("release", { billing: ["POST /v1/releases"] }, { when: "change.merged" }),
  role("own", { billing: ["GET /v1/projects/${job.project_id}"] }),
  role("batch", { ledger: ["POST /entries"] }, { spiffeId: "spiffe://cluster.local/ns/ci/sa/batch" }),
];
const denies = [
  deny("no-legal", { operations: { billing: ["GET /v1/invoices/legal/**"] } }),
  deny("no-agents", { for: agents, targets: ["billing"] }),
];

function model(parts: Partial<PolicyModel> = {}): PolicyModel {
  return policyModel({
    targets: [target("billing"), target("ledger", "mesh"), target("db", "secret")],
    roles,
    deny: denies,
    ...parts,
  });
}

interface Golden {
  readonly gateway?: Partial<IstioGatewaySettings>;
  readonly observe?: boolean;
}

/** Everything rendered, as one golden text. */
function golden(
  { gateway: settings = {}, observe = false }: Golden,
  order = (list: readonly RoleModel[]) => list,
): string {
  const policy = model({
    roles: order(roles),
    targets: [target("ledger", "mesh"), target("billing", "http", observe ? { mode: "observe" } : {})],
  });
  const whole = { ...gateway, ...settings };
  const { files, notes } = renderIstio({ gateway: whole, model: policy, issuer, jwks });
  const mesh = renderMeshConfig({ gateway: whole, model: policy, secret: "not-a-secret-1234" });
  const parts = files.map(({ path, mode, text }) => `===== ${path} ${mode.toString(8)}\n${text}`);
  return [...parts, `===== mesh config\n${mesh}`, "===== notes\n", ...notes.map((note) => `${note}\n`)].join("");
}

const folder = new URL("testdata/render/", import.meta.url);
const names = readdirSync(folder);
const kinds: Readonly<Record<string, new (data: never) => { validate(): void }>> = {
  AuthorizationPolicy,
  DestinationRule,
  EnvoyFilter,
  PeerAuthentication,
  RequestAuthentication,
  ServiceEntry,
  Telemetry,
};

/** As Istio's own resource definitions say; throws for what they refuse. */
function validate(resource: { readonly kind: string }): void {
  const Model = kinds[resource.kind];
  if (Model === undefined) throw new TypeError(`no validator for ${resource.kind}`);
  new Model(resource as never).validate();
}

test("there are goldens", () => {
  expect(names.length).toBeGreaterThanOrEqual(3);
});

describe.each(names)("golden: %s", (name) => {
  const [input = "", expected = ""] = readFileSync(new URL(name, folder), "utf8").split("----------\n");
  test("is what is rendered, whatever the order of policy", () => {
    expect(golden(JSON.parse(input))).toBe(expected);
    expect(golden(JSON.parse(input), (list) => list.toReversed())).toBe(expected);
  });

  test("fits Istio's resource definitions and what they say in CEL", () => {
    const sections = expected.split(/^===== .*\n/m).slice(1, 3);
    const resources = sections.flatMap((text) => parseAllDocuments(text)).flatMap((document) => document.toJS() ?? []);
    expect(resources.length).toBeGreaterThan(4);
    for (const resource of resources) validate(resource);
    for (const { kind, spec, metadata } of resources) {
      // At most one of the ways to select; rules that are there; names that Kubernetes takes.
      expect(
        ["selector", "targetRef", "targetRefs", "workloadSelector"].filter((one) => spec[one] !== undefined).length,
      ).toBeLessThan(2);
      expect(metadata.name).toMatch(/^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/);
      if (kind === "AuthorizationPolicy") expect(spec.rules.length).toBeGreaterThan(0);
      if (kind === "AuthorizationPolicy") expect(spec.provider !== undefined).toBe(spec.action === "CUSTOM");
    }
    expect(new Set(resources.map(({ kind, metadata }) => `${kind} ${metadata.name}`)).size).toBe(resources.length);
  });

  test("holds the secret in the part of MeshConfig alone", () => {
    const [before = "", after = ""] = expected.split("===== mesh config");
    expect(before).not.toContain("not-a-secret-1234");
    expect(after).toContain("not-a-secret-1234");
  });
});

test("the resource definitions refuse what is wrong", () => {
  expect(() =>
    validate({ kind: "AuthorizationPolicy", metadata: { name: "x" }, spec: { action: "ALOW" } } as never),
  ).toThrow();
  expect(() =>
    validate({ kind: "PeerAuthentication", metadata: { name: "x" }, spec: { mtls: { mode: "YES" } } } as never),
  ).toThrow();
});

describe("refuses, naming the one thing that is wrong", () => {
  test.each<{ what: string; settings: Partial<IstioGatewaySettings>; words: RegExp }>([
    {
      what: "a target that is a secret",
      settings: { targets: ["db"], workloads: [] },
      words: /target db is of kind secret/,
    },
    { what: "an unknown target", settings: { targets: ["biling"], workloads: [] }, words: /no target "biling"/ },
    { what: "no targets", settings: { targets: [] }, words: /fronts no target/ },
    { what: "a target without a workload", settings: { workloads: [] }, words: /has no workload/ },
    { what: "a stray workload", settings: { targets: ["billing"] }, words: /not under targets/ },
    {
      what: "labels that select every pod",
      settings: { targets: ["billing"], workloads: [{ target: "billing", labels: {}, port: 1 }] },
      words: /every pod/,
    },
    {
      what: "a port that is none",
      settings: { targets: ["billing"], workloads: [{ target: "billing", labels: { a: "b" }, port: 0 }] },
      words: /no port/,
    },
    {
      what: "two targets of one pod",
      settings: {
        workloads: [
          { target: "billing", labels: { app: "x" }, port: 1 },
          { target: "ledger", labels: { tier: "y" }, port: 2 },
        ],
      },
      words: /can select one pod/,
    },
    { what: "a broker on loopback", settings: { brokerUrl: "http://127.0.0.1:8700" }, words: /cannot reach by name/ },
    { what: "a broker by address", settings: { brokerUrl: "https://10.0.0.7" }, words: /cannot reach by name/ },
    { what: "a broker by IPv6 address", settings: { brokerUrl: "https://[fd00::1]" }, words: /cannot reach by name/ },
    {
      what: "a broker with a path",
      settings: { brokerUrl: "https://wayleave.example/x" },
      words: /broker_url must be/,
    },
    {
      what: "a broker with a password",
      settings: { brokerUrl: "https://a:b@wayleave.example" },
      words: /broker_url must be/,
    },
    { what: "a name that is no label", settings: { name: "Mesh_1" }, words: /its name/ },
    { what: "a namespace that is none", settings: { namespace: "Bank" }, words: /no Kubernetes namespace/ },
    { what: "a name too long for a provider", settings: { name: "m".repeat(60) }, words: /at most 63/ },
  ])("$what", ({ settings, words }) => {
    const refused = () => renderIstio({ gateway: { ...gateway, ...settings }, model: model(), issuer, jwks });
    expect(refused).toThrow(expect.objectContaining({ code: "render_refused", message: expect.stringMatching(words) }));
  });

  test("a stream, by file and line", () => {
    const streaming = role("watch", { billing: ["GET /v1/stream stream"] });
    const refused = () => renderIstio({ gateway, model: model({ roles: [streaming] }), issuer, jwks });
    expect(refused).toThrow(/GET \/v1\/stream of role watch \(policy\.yaml:1\) says stream: true/);
  });

  test.each<{ what: string; document: unknown }>([
    { what: "no key", document: { keys: [] } },
    { what: "no document", document: undefined },
    { what: "an RSA key", document: { keys: [{ kty: "RSA", kid: "k", n: "x", e: "AQAB" }] } },
    { what: "a key without a kid", document: { keys: [{ ...key("x"), kid: undefined }] } },
    { what: "a private key", document: { keys: [{ ...key("k"), d: "C".repeat(43) }] } },
    { what: "a cut-off key", document: { keys: [{ ...key("k"), x: "A" }] } },
    { what: "one kid twice", document: { keys: [key("k"), key("k")] } },
  ])("keys: $what, without showing them", ({ document }) => {
    const refused = () => renderIstio({ gateway, model: model(), issuer, jwks: document });
    expect(refused).toThrow(
      expect.objectContaining({ code: "render_refused", message: expect.not.stringMatching(/A{20}|B{20}|C{20}/) }),
    );
  });

  test.each(["https://w.example/*", "wayleave", "https://w.example/"])("the issuer %s", (bad) => {
    expect(() => renderIstio({ gateway, model: model(), issuer: bad, jwks })).toThrow(/issuer/);
  });

  test.each(["short", "has a space in it....", "a".repeat(300), "line\nbreak-line-break"])(
    "the secret %j, unsaid",
    (secret) => {
      const refused = () => renderMeshConfig({ gateway, model: model(), secret });
      expect(refused).toThrow(
        expect.objectContaining({ code: "render_refused", message: expect.not.stringContaining(secret) }),
      );
    },
  );

  test.each(["*", "ses_*", "a b", ""])("the ended session %j", (session) => {
    const refused = () =>
      renderEndedSessions({ gateway, model: model(), issuer, ended: { sessions: [session], tokens: [] } });
    expect(refused).toThrow(expect.objectContaining({ code: "render_refused" }));
  });
});

test("keys are not needed where every request is asked about", () => {
  const rendered = renderIstio({ gateway: { ...gateway, mode: "call_out" }, model: model(), issuer, jwks: undefined });
  expect(rendered.files[0]?.text).not.toContain("RequestAuthentication");
});

test("each deny that only partly covers an operation sends it to Wayleave, by file and line", () => {
  const { notes } = renderIstio({ gateway, model: model(), issuer, jwks });
  expect(notes).toContainEqual(
    expect.stringMatching(
      /GET \/v1\/invoices\/\*\* \(policy\.yaml:1\) is asked about: deny no-legal \(policy\.yaml:1\) refuses only some/,
    ),
  );
});

test("ended sessions: the same set is the same text; many are taken apart; each is in one rule", () => {
  const sessions = Array.from({ length: 600 }, (_, at) => `ses_${at}`);
  const render = (list: readonly string[]) =>
    renderEndedSessions({ gateway, model: model(), issuer, ended: { sessions: list, tokens: ["jti-1"] } });
  expect(render(sessions.toReversed())).toBe(render([...sessions, "ses_7"]));
  const [first] = parseAllDocuments(render(sessions)).map((document) => document.toJS());
  validate(first);
  const conditions = first.spec.rules.map(
    ({ when: [condition] }: { when: [{ key: string; values: string[] }] }) => condition,
  );
  expect(conditions.map(({ key: name, values }: { key: string; values: string[] }) => [name, values.length])).toEqual([
    ["request.auth.claims[sid]", 256],
    ["request.auth.claims[sid]", 256],
    ["request.auth.claims[sid]", 88],
    ["request.auth.claims[jti]", 1],
  ]);
});
