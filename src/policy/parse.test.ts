import { readFileSync } from "node:fs";
import { describe, expect, test, vi } from "vitest";
import type { PolicyModel, RouteModel } from "./model.ts";
import { parsePolicy } from "./parse.ts";
import type { PolicyInput } from "./reading.ts";
import { fakeVocabulary } from "./vocabulary.fake.ts";

// Some files here are as large as files may be, and the machine may be busy; nothing here is about time.
vi.setConfig({ testTimeout: 120_000 });

type Options = Omit<PolicyInput, "files" | "vocabulary">;
const parse = (text: string, options: Options = {}) =>
  parsePolicy({ files: [{ name: "p.yaml", text: `version: 1\n${text}` }], vocabulary: fakeVocabulary, ...options });

function model(text: string, options: Options = {}): PolicyModel {
  const { model: read, diagnostics } = parse(text, options);
  if (!read) throw new TypeError(diagnostics.map((one) => `${one.code} ${one.message}`).join("\n"));
  return read;
}

const codes = (text: string, options: Options = {}) => parse(text, options).diagnostics.map((one) => one.code);

const api = "targets: { api: { http: { hosts: [api.internal] } } }\n";
const role = (rest: string) => `${api}roles: { a: { ${rest}, allow: { api: [GET /] } } }\n`;
const shop = "{ gitlab: { project: acme/shop } }";

test("the design's example is one policy", () => {
  const text =
    readFileSync(new URL("testdata/diagnostics/design-example.yaml", import.meta.url), "utf8").split(
      "----------\n",
    )[0] ?? "";
  const read = model(text.replace("version: 1\n", ""));
  expect(read.targets.map((target) => `${target.name}: ${target.kind}`)).toEqual([
    ...[
      "billing: http",
      "review: http",
      "ledger: mesh",
      "events: nats",
      "db: secret",
      "deployer: cloud",
      "staging: kubernetes",
    ],
  ]);
  const release = read.roles.find((one) => one.name === "release");
  expect(release).toMatchObject({
    id: "release",
    ttlSeconds: 600,
    until: "job",
    mode: "enforce",
    limit: { max: 30, windowMs: 60_000, per: "session" },
    when: { facts: ["change.approvals", "change.merged"], readsRequest: false, readsNow: false },
    place: { file: "p.yaml", line: 19, column: 3, length: 7 },
  });
  expect(Object.keys(release?.allow ?? {})).toEqual(["billing", "events", "db", "deployer"]);
  expect(release?.for.map((selector) => selector.name)).toEqual(["shop-mr", "deploy"]);
  expect(read.deny).toMatchObject([
    {
      id: "deny-1",
      targets: ["db", "deployer"],
      because: "agents get results, not credentials",
      for: [{ kind: "agent" }],
    },
  ]);
  expect(read.tests).toMatchObject([
    {
      issuer: "gitlab",
      as: { project: "acme/shop", source: "merge_request_event", ref: "feature/x", ref_type: "branch" },
      with: { "change.merged": false },
      cannot: [{ target: "billing", verb: "POST", object: "/v1/releases" }],
    },
  ]);
});

describe("selectors", () => {
  const selector = (text: string, options: Options = {}) => model(role(`for: ${text}`), options).roles[0]?.for[0];

  test("ref means a branch unless it says otherwise", () => {
    const types = (text: string) =>
      selector(text)
        ?.clauses.filter((clause) => clause.field === "ref_type")
        .map((clause) => clause.values);
    expect(types("{ gitlab: { project: a/b, ref: main } }")).toEqual([[{ kind: "exact", text: "branch" }]]);
    expect(types("{ gitlab: { project: a/b, ref: v1, ref_type: tag } }")).toEqual([[{ kind: "exact", text: "tag" }]]);
    expect(types("{ gitlab: { project: a/b } }")).toEqual([]);
  });

  test("kind, fork and caused_by may stand inside the issuer or beside it", () => {
    const inside = selector('{ gitlab: { project: a/b, kind: agent, fork: true, caused_by: "*" } }');
    const beside = selector('{ gitlab: { project: a/b }, kind: agent, fork: true, caused_by: ["*"] }');
    expect(inside).toMatchObject({ kind: "agent", fork: true, causedBy: ["*"] });
    expect({ ...inside, clauses: [] }).toEqual({ ...beside, clauses: [] });
  });

  test("a value with a star is a glob, any other is exact", () => {
    expect(
      selector("{ gitlab: { project: [acme/**, acme/shop], ref_protected: true } }")?.clauses.map(
        (clause) => clause.values,
      ),
    ).toEqual([
      [
        { kind: "glob", segments: [{ kind: "literal", text: "acme" }, { kind: "any" }], source: "acme/**" },
        { kind: "exact", text: "acme/shop" },
      ],
      [true],
    ]);
  });

  test("a configured issuer's name stands beside the types", () => {
    const issuers = [{ name: "gitlab-eu", type: "gitlab" as const }];
    expect(selector("{ gitlab-eu: { project: a/b } }", { issuers })?.issuer).toBe("gitlab-eu");
    expect(codes(role("for: { gitlab-us: { project: a/b } }"), { issuers })).toContain("issuer_unknown");
  });

  test.each([
    { text: "{}", code: "selector_too_broad" },
    { text: "{ kind: agent }", code: "selector_too_broad" },
    { text: "{ gitlab: {} }", code: "selector_too_broad" },
    { text: "{ gitlab: { ref: main } }", code: "selector_too_broad" },
    { text: '{ gitlab: { project: "**" } }', code: "selector_too_broad" },
    { text: '{ gitlab: { project: "*/shop" } }', code: "selector_too_broad" },
    { text: '{ gitlab: { project: "a*/shop" } }', code: "selector_too_broad" },
    { text: '{ gitlab: { project: [acme/shop, "**"] } }', code: "selector_too_broad" },
    { text: "{ buildkite: { step: smoke } }", code: "selector_too_broad" },
    { text: "{ gitlab: { project: a/b }, kind: person }", code: "selector_never_matches" },
    { text: "{ gitlab: { project: a/b, ref: refs/tags/v1 } }", code: "selector_never_matches" },
    { text: "[]", code: "empty_list" },
    { text: "[[shop]]", code: "wrong_type" },
    { text: "7", code: "wrong_type" },
  ])("$text cannot stand in for: $code", ({ text, code }) => expect(codes(role(`for: ${text}`))).toEqual([code]));

  test("in a deny a selector may be broad, and matches forks unless it says fork: false", () => {
    const deny = (text: string) => `deny: [{ for: ${text}, because: frozen }]\nwho: { shop: ${shop} }\n`;
    const fork = (text: string) => model(deny(text)).deny[0]?.for[0]?.fork;
    expect(fork("{}")).toBe(true);
    expect(fork("{ kind: agent }")).toBe(true);
    expect(fork("shop")).toBe(true);
    expect(fork("{ gitlab: { project: a/b }, fork: false }")).toBe(false);
    expect(model(role(`for: ${shop}`)).roles[0]?.for[0]?.fork).toBe(false);
  });
});

describe("modes", () => {
  test("a file's mode is the default of its targets and roles, and of no other file's", () => {
    const files = [
      { name: "a.yaml", text: `version: 1\nmode: observe\n${role(`for: ${shop}`)}` },
      {
        name: "b.yaml",
        text: `version: 1\ntargets: { b: { tcp: { address: "b:1" }, mode: enforce } }\nroles: { b: { for: ${shop}, allow: { b: [connect] } } }`,
      },
    ];
    const read = parsePolicy({ files, vocabulary: fakeVocabulary }).model;
    expect(read?.targets.map((target) => target.mode)).toEqual(["observe", "enforce"]);
    expect(read?.roles.map((one) => one.mode)).toEqual(["observe", "enforce"]);
  });

  test("routes say what they change", () => {
    const routes =
      "[{ match: GET /healthz, unidentified: pass }, { match: GET /old, mode: observe }, { match: GET /new, mode: enforce }]";
    const [target] = model(`targets: { api: { http: { hosts: [a.b] }, mode: observe, routes: ${routes} } }`).targets;
    const sources = (list: readonly RouteModel[] | undefined) => list?.map((route) => route.pattern.source);
    expect(sources(target?.unidentified)).toEqual(["GET /healthz"]);
    expect(sources(target?.observe)).toEqual(["GET /old"]);
    expect(sources(target?.enforce)).toEqual(["GET /new"]);
  });
});

describe("the whole", () => {
  test("the version is the sources', whatever the files' order and names", () => {
    const a = { name: "a.yaml", text: `version: 1\n${role(`for: ${shop}`)}` };
    const b = { name: "b.yaml", text: "version: 1\n" };
    const version = (files: PolicyInput["files"], lock?: string) =>
      parsePolicy({ files, vocabulary: fakeVocabulary, ...(lock ? { lock: { name: "l", text: lock } } : {}) }).model
        ?.version;
    expect(version([a, b])).toMatch(/^[0-9a-f]{12}$/);
    expect(version([b, { ...a, name: "c.yaml" }])).toBe(version([a, b]));
    expect(version([a])).not.toBe(version([a, b]));
    expect(version([a, b], "version: 1\npins: {}\n")).not.toBe(version([a, b]));
  });

  test("a lock file that is wrong leaves no model", () => {
    const lock = { name: "policy.lock", text: "version: 1\npins: { gitlab/acme/shop: 1042 }\n" };
    expect(parse(role(`for: ${shop}`), { lock }).model).toBeUndefined();
    expect(codes(role(`for: ${shop}`), { lock })).toEqual(["pin_invalid"]);
  });

  test("a project without a pin is warned of only where there is a lock file, for each issuer it may mean", () => {
    const lock = (text: string) => ({ lock: { name: "policy.lock", text: `version: 1\npins: ${text}\n` } });
    const text = role(`for: ${shop}`);
    const pinned = lock('{ gitlab/acme/shop: "1" }');
    expect(codes(text)).toEqual([]);
    expect(codes(text, lock("{}"))).toEqual(["project_unpinned"]);
    expect(codes(text, pinned)).toEqual([]);
    expect(codes(text, { ...pinned, issuers: [{ name: "gitlab-eu", type: "gitlab" }] })).toEqual(["project_unpinned"]);
    expect(codes(role('for: { gitlab: { project_id: "1" } }'), lock("{}"))).toEqual([]);
    expect(codes(role("for: { buildkite: { organization: acme, pipeline: e2e } }"), lock("{}"))).toEqual([
      "project_unpinned",
    ]);
    expect(
      codes(role("for: { buildkite: { organization: acme, pipeline: e2e } }"), lock('{ buildkite/acme/e2e: "1" }')),
    ).toEqual([]);
  });

  test("a pinned project whose sub would be too long is refused", () => {
    const lock = { name: "policy.lock", text: `version: 1\npins: { gitlab/acme/shop: "${"1".repeat(20)}" }\n` };
    const longest = 127 - "spiffe:///ci/gitlab/".length - 20;
    expect(codes(role(`for: ${shop}`), { lock, trustDomain: "a".repeat(longest) })).toEqual([]);
    expect(codes(role(`for: ${shop}`), { lock, trustDomain: "a".repeat(longest + 1) })).toEqual(["sub_too_long"]);
  });

  test.each([
    { what: "no file", files: [], code: "no_files" },
    {
      what: "65 files",
      files: Array.from({ length: 65 }, (_, at) => ({ name: `${at}`, text: "version: 1" })),
      code: "too_many_files",
    },
    {
      what: "more than 1 MiB",
      files: [{ name: "a", text: `version: 1\n#${"x".repeat(1024 * 1024)}` }],
      code: "file_too_big",
    },
    {
      what: "more than 1 MiB of UTF-8",
      files: [{ name: "a", text: `version: 1\n#${"界".repeat(400_000)}` }],
      code: "file_too_big",
    },
    { what: "half a million commas", files: [{ name: "a", text: `[${",".repeat(600_000)}` }], code: "file_too_big" },
    { what: "brackets without end", files: [{ name: "a", text: "[".repeat(1_000_000) }], code: "yaml_too_deep" },
    { what: "dashes without end", files: [{ name: "a", text: "- ".repeat(100_000) }], code: "yaml_too_deep" },
    {
      what: "indentation without end",
      files: [{ name: "a", text: Array.from({ length: 200 }, (_, at) => `${" ".repeat(at)}a:`).join("\n") }],
      code: "yaml_too_deep",
    },
    { what: "a control character", files: [{ name: "a", text: "version: 1\u0007" }], code: "character_refused" },
    {
      what: "text that runs backwards",
      files: [{ name: "a", text: "version: 1 # \u202e" }],
      code: "character_refused",
    },
    { what: "half a character", files: [{ name: "a", text: "version: 1 # \ud800" }], code: "character_refused" },
    { what: "a list", files: [{ name: "a", text: "[1]" }], code: "wrong_type" },
    { what: "nothing", files: [{ name: "a", text: "" }], code: "version_missing" },
    { what: "no version", files: [{ name: "a", text: "roles: {}" }], code: "version_missing" },
    { what: "the version as text", files: [{ name: "a", text: 'version: "1"' }], code: "version_unsupported" },
  ])("$what is refused", ({ files, code }) => {
    const { model: read, diagnostics } = parsePolicy({ files, vocabulary: fakeVocabulary });
    expect(diagnostics.map((one) => one.code)).toEqual([code]);
    expect(read).toBeUndefined();
  });

  test("one laugh is not a billion", () => {
    const lines = Array.from({ length: 20 }, (_, at) => `  a${at + 1}: &a${at + 1} [${`*a${at}, `.repeat(9)}]`);
    const { diagnostics } = parsePolicy({
      files: [{ name: "a", text: `version: 1\nwho:\n  a0: &a0 [x]\n${lines.join("\n")}` }],
      vocabulary: fakeVocabulary,
    });
    expect(new Set(diagnostics.map((one) => one.code))).toEqual(new Set(["yaml_alias"]));
  });

  test("what is shown of a hopeless file is bounded, and says so", () => {
    const roles = Array.from({ length: 1000 }, (_, at) => `  r${at}: { for: nobody, allow: { nothing: [GET /] } }`);
    const { diagnostics, model: read } = parse(`roles:\n${roles.join("\n")}\n`);
    expect(diagnostics).toHaveLength(201);
    expect(diagnostics.at(-1)?.message).toBe("these are the first 200; there may be more");
    expect(diagnostics.at(-1)?.code).toBe("too_many_findings");
    expect(read).toBeUndefined();
  });

  test("ten thousand roles are one policy", () => {
    const roles = Array.from(
      { length: 10_000 },
      (_, at) => `  r${at}: { for: w${at % 2000}, when: change.merged, allow: { api: [GET /v1/${at}/**] } }`,
    );
    const who = Array.from({ length: 2000 }, (_, at) => `  w${at}: { gitlab: { project: acme/p${at} } }`);
    expect(model(`${api}who:\n${who.join("\n")}\nroles:\n${roles.join("\n")}\n`).roles).toHaveLength(10_000);
  });

  test("a name that objects know already is a name like any other, or refused", () => {
    const text = `targets: { tostring: { http: { hosts: [a.b] } } }\nroles: { valueof: { for: ${shop}, allow: { tostring: [GET /] } } }`;
    expect(Object.keys(model(text).roles[0]?.allow ?? {})).toEqual(["tostring"]);
    expect(codes(`who: { __proto__: ${shop} }`)).toEqual(["yaml_key"]);
    expect(codes(role("for: toString"))).toEqual(["who_unknown"]);
  });
});

test.each([
  { limit: "{ rate: 30/min, per: session }", found: { max: 30, windowMs: 60_000, per: "session", scope: "global" } },
  { limit: "{ rate: 1/s, per: project }", found: { max: 1, windowMs: 1000, per: "project", scope: "global" } },
  {
    limit: "{ rate: 999999/h, per: role }",
    found: { max: 999_999, windowMs: 3_600_000, per: "role", scope: "global" },
  },
  {
    limit: "{ rate: 1/s, per: role, scope: gateway }",
    found: { max: 1, windowMs: 1000, per: "role", scope: "gateway" },
  },
])("limit $limit", ({ limit, found }) =>
  expect(model(role(`for: ${shop}, limit: ${limit}`)).roles[0]?.limit).toEqual(found),
);

test.each([
  { rest: "limit: { rate: 0/min, per: session }", code: "rate_invalid" },
  { rest: "limit: { rate: 30/minute, per: session }", code: "rate_invalid" },
  { rest: "limit: { rate: 30, per: session }", code: "wrong_type" },
  { rest: "limit: { rate: 30/min, per: user }", code: "unknown_value" },
  { rest: "ttl: 0s", code: "duration_invalid" },
  { rest: "ttl: 10", code: "wrong_type" },
  { rest: "ttl: 9s", code: "duration_out_of_bounds" },
  { rest: "ttl: 16m", code: "duration_out_of_bounds" },
  { rest: "ttl: 61m, until: pipeline", code: "duration_out_of_bounds" },
  { rest: "until: forever", code: "unknown_value" },
  { rest: "mode: watch", code: "unknown_value" },
  { rest: "id: A", code: "name_invalid" },
  { rest: "when: true == 1", code: "condition_types" },
  { rest: "when: true", code: "wrong_type" },
])("a role with $rest is refused as $code", ({ rest, code }) => {
  expect(codes(role(`for: ${shop}, ${rest}`))).toEqual([code]);
});
