import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { parse } from "yaml";
import type { PolicyModel } from "../../policy/model.ts";
import { deny, httpPattern, place, policyModel, role, selector, target } from "../../policy/policy.fake.ts";
import { renderEnvoy, renderSecret } from "./render.ts";
import type { EnvoyGatewaySettings, RenderInput } from "./settings.ts";

const gateway: EnvoyGatewaySettings = {
  name: "edge-1",
  targets: ["billing"],
  mode: "native",
  protocol: "grpc",
  brokerUrl: "http://127.0.0.1:8700",
  grpc: { host: "127.0.0.1", port: 8701, tls: false },
  revocation: "grpc",
  keyCacheMs: 60_000,
  behind: [],
  listen: { host: "127.0.0.1", port: 10000 },
  upstreams: {
    billing: { host: "billing.svc", port: 8080 },
    review: { host: "10.0.0.7", port: 8080 },
    chat: { host: "127.0.0.1", port: 8081 },
    ledger: { host: "127.0.0.1", port: 8082 },
  },
};

const at = (line: number) => ({ ...place(line), file: "policy/shop.yaml" });

const policy = policyModel({
  targets: [
    { ...target("billing"), place: at(3) },
    { ...target("review", "http", { hosts: ["${environment.slug}.review.acme.example"] }), place: at(4) },
    {
      ...target("chat", "http", { mode: "observe", enforce: ["* /admin/**"], unidentified: ["GET /healthz"] }),
      place: at(5),
    },
    { ...target("ledger", "mesh", { observe: ["GET /old/**"], unidentified: ["GET /ready"] }), place: at(6) },
    { ...target("proven", "http", { proof: "required" }), place: at(7) },
    { ...target("asserted", "http", { assertion: "required" }), place: at(8) },
    { ...target("slashed", "http", { encodedSlash: "segment" }), place: at(9) },
    target("db", "secret"),
  ],
  roles: [
    role("read", {
      billing: ["GET /v1/invoices/**", "GET /v1/health"],
      review: ["GET /**"],
      chat: ["GET /**"],
      ledger: ["* /v1/*"],
      proven: ["GET /"],
      asserted: ["GET /"],
      slashed: ["GET /*"],
    }),
    {
      ...role("release", { billing: ["POST /v1/releases"] }, { when: "change.merged" }),
      when: { source: "change.merged", place: at(24), facts: [], readsRequest: false, readsNow: false },
    },
    role(
      "limited",
      { billing: ["POST /v1/runs"] },
      { limit: { max: 2, windowMs: 60_000, per: "session", scope: "gateway" }, place: at(30) },
    ),
    role("own", { billing: ["GET /v1/projects/${job.project_id}/**"] }, { place: at(36) }),
    role("watch", { chat: ["GET /v1/stream stream"] }),
  ],
  deny: [
    deny("no-legal", { operations: { billing: ["* /v1/invoices/legal/**"] } }),
    deny("no-draft", { operations: { ledger: ["GET /v1/draft"] }, when: "change.draft", place: at(50) }),
  ],
});

const inputOf = (settings: Partial<EnvoyGatewaySettings>, rest: Partial<RenderInput> = {}): RenderInput => ({
  gateway: { ...gateway, ...settings },
  policy,
  issuer: "https://wayleave.acme.example",
  trustDomain: "acme.example",
  tokenTtlMs: 300_000,
  ...rest,
});

/** Everything rendered, as one golden text. */
function golden(settings: Partial<EnvoyGatewaySettings>, rest: Partial<RenderInput> = {}): string {
  const { files, notes } = renderEnvoy(inputOf(settings, rest));
  const parts = files.map(({ path, mode, text }) => `===== ${path} ${mode.toString(8)}\n${text}`);
  return [...parts, "===== notes\n", ...notes.map((note) => `${note}\n`)].join("");
}

const folder = new URL("testdata/render/", import.meta.url);
const names = readdirSync(folder);

test("there are goldens", () => {
  expect(names.length).toBeGreaterThanOrEqual(6);
});

test.each(names)("golden: %s", (name) => {
  const [input = "", expected] = readFileSync(new URL(name, folder), "utf8").split("----------\n");
  const { fragments = false, ...settings } = JSON.parse(input);
  expect(golden(settings, { fragments })).toBe(expected);
});

test("the order of targets, of policy and of settings changes no byte", () => {
  const reversed: PolicyModel = {
    ...policy,
    targets: policy.targets.toReversed(),
    roles: policy.roles.toReversed(),
    deny: policy.deny.toReversed(),
  };
  const targets = ["billing", "chat", "ledger", "review"];
  const once = golden({ targets, behind: ["b", "a"] });
  const upstreams = Object.fromEntries(Object.entries(gateway.upstreams).toReversed());
  expect(
    golden({ targets: [...targets.toReversed(), "chat"], behind: ["a", "b", "a"], upstreams }, { policy: reversed }),
  ).toBe(once);
});

interface Chain {
  readonly names: readonly string[];
  readonly routes: readonly { readonly name: string; readonly match: object }[];
  readonly text: string;
}

function rendered(settings: Partial<EnvoyGatewaySettings>): Chain {
  const text = renderEnvoy(inputOf(settings)).files.find(({ path }) => path === "envoy.yaml")?.text ?? "";
  const [listener] = parse(text).static_resources.listeners;
  const manager = listener.filter_chains[0].filters[0].typed_config;
  return {
    text,
    names: manager.http_filters.map(({ name }: { name: string }) => name),
    routes: manager.route_config.virtual_hosts.flatMap(({ routes }: { routes: Chain["routes"] }) => routes),
  };
}

describe("the chain is minimal", () => {
  const native = [
    "envoy.filters.http.jwt_authn",
    "wayleave.denies",
    "wayleave.roles",
    "wayleave_refusals/0123456789ab",
  ];
  test.each([
    {
      what: "native",
      settings: {},
      chain: ["wayleave.headers", ...native, "envoy.filters.http.ext_authz", "envoy.filters.http.router"],
    },
    {
      what: "asking",
      settings: { mode: "call_out" as const },
      chain: ["wayleave.headers", "envoy.filters.http.ext_authz", "envoy.filters.http.router"],
    },
    {
      what: "observing",
      settings: { targets: ["chat"] },
      chain: [
        "wayleave.headers",
        ...native,
        "envoy.filters.http.ext_authz",
        "wayleave.observed",
        "envoy.filters.http.router",
      ],
    },
  ])("$what", ({ settings, chain }) => {
    expect(rendered(settings).names).toEqual(chain);
  });
});

test.each([
  { what: "proof: required", target: "proven", line: 7 },
  { what: "assertion: required", target: "asserted", line: 8 },
  { what: "encoded_slash: segment", target: "slashed", line: 9 },
])("$what asks about every request, and says where that is written", ({ what, target: name, line }) => {
  const settings = { targets: [name], upstreams: { [name]: { host: "127.0.0.1", port: 1 } } };
  const { routes, names: chain } = rendered(settings);
  expect(new Set(routes.map((route) => route.name))).toEqual(new Set([`${name}/ask`]));
  expect(chain).not.toContain("envoy.filters.http.jwt_authn");
  const { notes } = renderEnvoy(inputOf(settings));
  expect(notes.join("\n")).toMatch(new RegExp(`target ${name} \\(policy/shop.yaml:${line}\\) is asked about.*${what}`));
});

test("behind another gateway, proof and assertion are that gateway's business", () => {
  const settings = {
    targets: ["proven", "asserted"],
    behind: ["edge-1"],
    name: "inner",
    upstreams: { proven: gateway.listen, asserted: gateway.listen },
  };
  expect(rendered(settings).names).toContain("envoy.filters.http.jwt_authn");
});

test("every clause that is asked about is named with its place", () => {
  const notes = renderEnvoy(inputOf({ targets: ["billing", "review", "ledger"] })).notes.join("\n");
  expect(notes).toContain(
    "POST /v1/releases is asked about, because role release has a condition: when: change.merged (policy/shop.yaml:24)",
  );
  expect(notes).toContain("POST /v1/runs is asked about, because role limited has a limit (policy/shop.yaml:30)");
  expect(notes).toContain(
    "because role own fills GET /v1/projects/${job.project_id}/** for each job (policy/shop.yaml",
  );
  expect(notes).toContain("because deny no-draft has a condition: when: change.draft (policy.yaml:1)");
  expect(notes).toContain("target review (policy/shop.yaml:4) has hosts with templates");
});

test("a limit was asked about in front", () => {
  const notes = renderEnvoy(inputOf({ behind: ["edge-1"] })).notes.join("\n");
  expect(notes).toContain("role release has a condition");
  expect(notes).not.toContain("role limited");
});

test("no secret is in anything but its own file, which nobody else reads", () => {
  const file = renderSecret("a-secret-of-the-gateway");
  expect(file).toMatchObject({ path: "wayleave-secret.yaml", mode: 0o600 });
  expect(file.text).toContain("a-secret-of-the-gateway");
  expect(golden({})).toContain("path: /etc/envoy/wayleave/wayleave-secret.yaml");
});

const upstreams = { shadow: { host: "127.0.0.1", port: 1 }, billing: { host: "127.0.0.1", port: 1 } };

describe("refuses, naming the clause", () => {
  test.each<{
    what: string;
    settings: Partial<EnvoyGatewaySettings>;
    policy?: PolicyModel;
    words: RegExp;
  }>([
    { what: "a target that is a secret", settings: { targets: ["db"] }, words: /target db is of kind secret/ },
    { what: "a target that policy does not have", settings: { targets: ["biling"] }, words: /no target "biling"/ },
    { what: "no targets", settings: { targets: [] }, words: /fronts no target/ },
    { what: "a target without an address", settings: { upstreams: {} }, words: /target billing has no address/ },
    { what: "gRPC without a listener", settings: { grpc: undefined }, words: /asks by gRPC/ },
    {
      what: "revocation by gRPC without one",
      settings: { grpc: undefined, protocol: "http" },
      words: /ended sessions by gRPC/,
    },
    {
      what: "a certificate from nowhere",
      settings: { grpc: undefined, protocol: "http", revocation: "file", behind: ["edge-0"] },
      words: /its certificate by gRPC/,
    },
    { what: "an address with a path", settings: { brokerUrl: "http://127.0.0.1:8700/x" }, words: /broker_url/ },
    { what: "an address with a password", settings: { brokerUrl: "http://a:b@127.0.0.1" }, words: /broker_url/ },
    { what: "a socket without a path", settings: { brokerUrl: "unix:wayleave.sock" }, words: /broker_url/ },
    { what: "a name that is syntax", settings: { name: "a: b" }, words: /its name/ },
    { what: "a gateway in front that is none", settings: { behind: ["../role/x"] }, words: /behind names/ },
    {
      what: "two targets of one host",
      settings: { targets: ["billing", "shadow"], upstreams },
      policy: {
        ...policy,
        targets: [...policy.targets, { ...target("shadow", "http", { hosts: ["billing.internal"] }), place: at(99) }],
      },
      words:
        /billing \(policy\/shop.yaml:3\) and shadow \(policy\/shop.yaml:99\) would both be found by billing.internal/,
    },
    {
      what: "two targets of templates that end alike",
      settings: { targets: ["review", "shadow"], upstreams: { ...gateway.upstreams, ...upstreams } },
      policy: {
        ...policy,
        targets: [...policy.targets, target("shadow", "http", { hosts: ["${job.project_id}.review.acme.example"] })],
      },
      words: /would both be found by \*\.review\.acme\.example/,
    },
  ])("$what", ({ settings, words, policy: model = policy }) => {
    expect(() => golden(settings, { policy: model })).toThrow(
      expect.objectContaining({ code: "render_refused", message: expect.stringMatching(words) }),
    );
  });

  test.each(["short", "has a space in it....", 'quote"quote"quote"quote', "line\nline\nline\nline\n", "a".repeat(300)])(
    "the secret %j, unsaid",
    (secret) => {
      expect(() => renderSecret(secret)).toThrow(
        expect.objectContaining({ code: "render_refused", message: expect.not.stringContaining(secret) }),
      );
    },
  );
});

test("plain connections over a network are noted", () => {
  expect(golden({ brokerUrl: "http://10.0.0.7:8700" })).toContain("plain http over a network");
  expect(golden({ grpc: { host: "wayleave.internal", port: 1, tls: false } })).toContain("plain gRPC over a network");
});

test("no stream outlives a token", () => {
  const text = renderEnvoy(inputOf({ targets: ["chat"] }, { tokenTtlMs: 90_500 })).files[0]?.text ?? "";
  const durations = [...text.matchAll(/max_stream_duration: "?(\d+)s/g)].map(([, seconds]) => Number(seconds));
  expect(durations.length).toBe(rendered({ targets: ["chat"] }).routes.length);
  expect(Math.max(...durations)).toBe(90);
  expect(renderEnvoy(inputOf({ targets: ["chat"] }, { tokenTtlMs: 900_000 })).files[0]?.text).not.toContain(
    "900s\n            max",
  );
});

test("a role whose paths no request can have allows nothing", () => {
  const broken = { ...httpPattern("GET /x"), segments: [{ kind: "literal" as const, text: "a;b" }] };
  const model = policyModel({
    roles: [{ ...role("odd", {}), allow: { billing: [{ kind: "http", pattern: broken, place: place() }] } }],
  });
  const text = renderEnvoy({ ...inputOf({}), policy: model }).files[0]?.text ?? "";
  expect(text).not.toContain("role/odd");
});

test("a deny of agents is asked about only where a role makes an agent of a job", () => {
  const agents = deny("agents", { for: [selector({}, { anyIssuer: true, kind: "agent", fork: true })] });
  const notes = (kind: "agent" | undefined) => {
    const roles = [
      role("r", { billing: ["GET /a"] }, { for: [selector({ project: "x" }, kind === undefined ? {} : { kind })] }),
    ];
    return renderEnvoy({ ...inputOf({}), policy: policyModel({ roles, deny: [agents] }) }).notes.join("\n");
  };
  expect(notes("agent")).toContain("deny agents is about agents");
  expect(notes(undefined)).not.toContain("deny agents");
});

test("the probes are a shell script that parses", () => {
  for (const settings of [{}, { behind: ["edge-0"] }]) {
    const { files } = renderEnvoy(inputOf({ ...settings, targets: ["billing", "chat", "review", "ledger"] }));
    const script = files.find(({ path }) => path === "wayleave-probes.sh")?.text ?? "";
    expect(spawnSync("sh", ["-n"], { input: script, encoding: "utf8" })).toMatchObject({ status: 0, stderr: "" });
    expect(spawnSync("sh", ["-s"], { input: script, encoding: "utf8" })).toMatchObject({ status: 2 });
  }
});
