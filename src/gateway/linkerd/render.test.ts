import { readdirSync, readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { parseAllDocuments } from "yaml";
import { parsePath } from "../../core/path.ts";
import { addPattern, type FilledSegment, httpEnd, matchHttp, segmentTrie } from "../../policy/match-path.ts";
import type { PolicyModel, RoleModel, TargetModel } from "../../policy/model.ts";
import { deny, httpPattern, policyModel, role, target } from "../../policy/policy.fake.ts";
import { lintLinkerd } from "./lint.ts";
import { renderLinkerd } from "./render.ts";
import { schemaProblems } from "./schemas.fake.ts";
import type { LinkerdGatewaySettings } from "./settings.ts";

const gateway: LinkerdGatewaySettings = {
  name: "mesh",
  targets: ["ledger"],
  namespace: "bank",
  workloads: [{ target: "ledger", labels: { app: "ledger" }, port: 8080 }],
  meshTrustDomain: "cluster.local",
};
const account = (name: string) => `spiffe://cluster.local/ns/ci/sa/${name}`;
const read = role("read", { ledger: ["GET /v1/entries/**", "GET /v1/health"] }, { spiffeId: account("reader") });
const release = role(
  "release",
  { ledger: ["POST /v1/releases/:id", "GET /v1/entries/today"] },
  { spiffeId: account("release") },
);

interface Golden {
  readonly gateway?: Partial<LinkerdGatewaySettings>;
  readonly target?: {
    readonly kind?: "http" | "mesh";
    readonly mode?: "observe";
    readonly unidentified?: readonly string[];
  };
  readonly limit?: number;
}

/** Everything rendered, as one golden text. */
function golden(input: Golden, roles: readonly RoleModel[] = [read, release]): string {
  const { kind = "mesh", ...parts } = input.target ?? {};
  const limit =
    input.limit === undefined
      ? undefined
      : ({ max: input.limit, windowMs: 1000, per: "role", scope: "gateway" } as const);
  const model = policyModel({
    targets: [target("ledger", kind, parts)],
    roles: roles.map((one) => (limit && one.id === "release" ? { ...one, limit } : one)),
  });
  const { files, notes } = renderLinkerd({ gateway: { ...gateway, ...input.gateway }, model });
  const texts = files.map(({ path, mode, text }) => `===== ${path} ${mode.toString(8)}\n${text}`);
  return [...texts, "===== notes\n", ...notes.map((note) => `${note}\n`)].join("");
}

const folder = new URL("testdata/render/", import.meta.url);
const names = readdirSync(folder);

test("there are goldens", () => {
  expect(names.length).toBeGreaterThanOrEqual(3);
});

describe.each(names)("golden: %s", (name) => {
  const [input = "", expected = ""] = readFileSync(new URL(name, folder), "utf8").split("----------\n");
  test("is what is rendered, whatever the order of policy", () => {
    expect(golden(JSON.parse(input))).toBe(expected);
    expect(golden(JSON.parse(input), [release, read])).toBe(expected);
  });

  test("fits Linkerd's schemas", () => {
    const yaml = expected.split("===== notes")[0]?.split("\n").slice(1).join("\n") ?? "";
    const resources = parseAllDocuments(yaml).map((document) => document.toJS());
    expect(resources.length).toBeGreaterThan(3);
    expect(resources.flatMap(schemaProblems)).toEqual([]);
    const findings = lintLinkerd([{ file: "rendered.yaml", text: yaml }]);
    expect(findings.filter(({ severity }) => severity === "error")).toEqual([]);
  });
});

test("the schemas refuse what is wrong", () => {
  const metadata = { name: "x", namespace: "y" };
  const server = { apiVersion: "policy.linkerd.io/v1beta3", kind: "Server", metadata };
  expect(schemaProblems({ ...server, spec: { port: 1, podSelector: {} } } as never)).toEqual([]);
  for (const spec of [
    { port: 1 },
    { podSelector: {} },
    { port: 1, podSelector: {}, externalWorkloadSelector: {} },
    { port: 1, podSelector: {}, accessPolicy: "open" },
  ]) {
    expect(schemaProblems({ ...server, spec } as never)).not.toEqual([]);
  }
});

describe("refuses, naming the clause and its line", () => {
  const place = { file: "policy.yaml", line: 7, column: 1, length: 1 };
  test.each<{ what: string; model: Partial<PolicyModel>; words: RegExp }>([
    {
      what: "a role without a mesh identity",
      model: { roles: [role("r", { ledger: ["GET /"] }, { place })] },
      words: /policy.yaml:7: role r names no spiffe_id/,
    },
    {
      what: "an identity of another trust domain",
      model: { roles: [role("r", { ledger: ["GET /"] }, { spiffeId: "spiffe://acme.example/ns/ci/sa/x" })] },
      words: /no service account of this mesh/,
    },
    {
      what: "an identity that is no service account",
      model: { roles: [role("r", { ledger: ["GET /"] }, { spiffeId: "spiffe://cluster.local/ci/x" })] },
      words: /no service account of this mesh/,
    },
    {
      what: "a condition",
      model: { roles: [role("r", { ledger: ["GET /"] }, { spiffeId: account("r"), when: "change.merged" })] },
      words: /knows no facts/,
    },
    {
      what: "a deny of everything",
      model: { deny: [deny("d", { place })] },
      words: /policy.yaml:7: deny d is about jobs/,
    },
    {
      what: "a template",
      model: { roles: [role("r", { ledger: ["GET /${job.id}"] }, { spiffeId: account("r") })] },
      words: /filled from a job's claims/,
    },
    {
      what: "a stream",
      model: { roles: [role("r", { ledger: ["GET /s stream"] }, { spiffeId: account("r") })] },
      words: /cannot end an open stream/,
    },
    {
      what: "every method",
      model: { roles: [role("r", { ledger: ["* /s"] }, { spiffeId: account("r") })] },
      words: /cannot say every method/,
    },
    {
      what: "a method of its own",
      model: { roles: [role("r", { ledger: ["PURGE /s"] }, { spiffeId: account("r") })] },
      words: /no method PURGE/,
    },
    {
      what: "routes that contend",
      model: { roles: [read, role("r", { ledger: ["GET /v1/:x/y"] }, { spiffeId: account("r") })] },
      words: /share requests/,
    },
    {
      what: "a shared route that contends",
      model: { roles: [read], targets: [target("ledger", "mesh", { unidentified: ["GET /v1/**"] })] },
      words: /write a plain path/,
    },
    {
      what: "an observed route",
      model: { roles: [read], targets: [target("ledger", "mesh", { observe: ["GET /old"] })] },
      words: /only a whole target can be audited/,
    },
    {
      what: "an assertion",
      model: { roles: [read], targets: [target("ledger", "mesh", { assertion: "required" })] },
      words: /mints none/,
    },
    {
      what: "a proof",
      model: { roles: [read], targets: [target("ledger", "mesh", { proof: "required" })] },
      words: /checks none/,
    },
    {
      what: "hosts with templates",
      model: { roles: [read], targets: [target("ledger", "http", { hosts: ["${environment.slug}.x.example"] })] },
      words: /knows no job/,
    },
    ...(["session", "project"] as const).map((per) => ({
      what: `a limit per ${per}`,
      model: limited({ per }),
      words: new RegExp(`per ${per}`),
    })),
    { what: "a limit over all gateways", model: limited({ scope: "global" }), words: /each of Linkerd's proxies/ },
    { what: "a limit per minute", model: limited({ windowMs: 60_000 }), words: /only uses per second/ },
    {
      what: "a limit of an identity with two roles",
      model: limited({}, role("other", { ledger: ["POST /v1/z"] }, { spiffeId: account("r") })),
      words: /role other has the same identity/,
    },
    { what: "another kind", model: { targets: [target("ledger", "secret")] }, words: /of kind secret/ },
  ])("$what", ({ model, words }) => {
    const whole = policyModel({ targets: [target("ledger", "mesh")], ...model });
    expect(() => renderLinkerd({ gateway, model: whole })).toThrow(
      expect.objectContaining({ code: "render_refused", message: expect.stringMatching(words) }),
    );
  });

  test.each<{ what: string; settings: Partial<LinkerdGatewaySettings>; words: RegExp }>([
    { what: "no targets", settings: { targets: [] }, words: /fronts no target/ },
    { what: "an unknown target", settings: { targets: ["ledgre"], workloads: [] }, words: /no target "ledgre"/ },
    { what: "no workload", settings: { workloads: [] }, words: /no workload/ },
    {
      what: "labels that select every pod",
      settings: { workloads: [{ target: "ledger", labels: {}, port: 1 }] },
      words: /every pod/,
    },
    {
      what: "a stray workload",
      settings: { workloads: [{ target: "x", labels: { a: "b" }, port: 1 }] },
      words: /not under targets/,
    },
    {
      what: "two Servers of one pod",
      settings: { workloads: [...gateway.workloads, { target: "ledger", labels: { tier: "api" }, port: 8080 }] },
      words: /one pod and port/,
    },
    { what: "a name that is no label", settings: { name: "Mesh_1" }, words: /its name/ },
  ])("$what", ({ settings, words }) => {
    expect(() => golden({ gateway: settings })).toThrow(
      expect.objectContaining({ message: expect.stringMatching(words) }),
    );
  });
});

function limited(
  parts: Partial<NonNullable<RoleModel["limit"]>>,
  ...others: readonly RoleModel[]
): Partial<PolicyModel> {
  const limit = { max: 5, windowMs: 1000, per: "role", scope: "gateway", ...parts } as const;
  return { roles: [role("r", { ledger: ["GET /v1/x"] }, { spiffeId: account("r"), limit }), ...others] };
}

describe("what Linkerd enforces equals what policy allows an identity's roles", () => {
  const part = fc.constantFrom("a", "b", ":id", "**", "v*");
  const operation = fc
    .tuple(fc.constantFrom("GET", "POST"), fc.array(part, { maxLength: 3 }))
    .map(([method, parts]) => `${method} /${parts.map((one, at) => (one === ":id" ? `:id${at}` : one)).join("/")}`);
  const roles = fc
    .array(fc.tuple(fc.array(operation, { minLength: 1, maxLength: 3 }), fc.constantFrom("x", "y", "z")), {
      minLength: 1,
      maxLength: 3,
    })
    .map((list) =>
      list.map(([operations, sa], at) => role(`r${at}`, { ledger: operations }, { spiffeId: account(sa) })),
    );
  const request = fc.record({
    method: fc.constantFrom("GET", "POST", "PUT"),
    path: fc
      .array(fc.constantFrom("a", "b", "v1", "c", "..", ""), { maxLength: 3 })
      .map((list) => `/${list.join("/")}`),
    account: fc.constantFrom("x", "y", "nobody"),
    upgrade: fc.boolean(),
  });

  test("wherever it renders at all", () => {
    let rendered = 0;
    let allowed = 0;
    fc.assert(
      fc.property(roles, fc.array(request, { minLength: 1, maxLength: 12, size: "max" }), (list, requests) => {
        const model = policyModel({ targets: [target("ledger", "mesh", { unidentified: ["GET /a/b"] })], roles: list });
        const resources = renderedOf(model);
        if (resources === undefined) return;
        rendered++;
        for (const asked of requests) {
          const wanted = !asked.upgrade && mayUse(model, asked);
          if (wanted) allowed++;
          expect([asked, linkerdAllows(resources, asked)]).toEqual([asked, wanted]);
        }
      }),
      { numRuns: 300 },
    );
    expect(rendered).toBeGreaterThan(50);
    expect(allowed).toBeGreaterThan(20);
  }, 30_000);
});

interface Asked {
  readonly method: string;
  readonly path: string;
  readonly account: string;
  readonly upgrade: boolean;
}

function renderedOf(model: PolicyModel) {
  try {
    const [file] = renderLinkerd({ gateway, model }).files;
    return parseAllDocuments(file?.text ?? "").map((document) => document.toJS());
  } catch {
    return undefined; // refused by name: the table above has these
  }
}

function mayUse(model: PolicyModel, asked: Asked): boolean {
  const path = parsePath(asked.path);
  if (!path.ok) return false;
  const holds = (source: string) => {
    const pattern = httpPattern(source);
    const trie = segmentTrie<ReturnType<typeof httpEnd>>();
    addPattern(trie, pattern.segments as readonly FilledSegment[], httpEnd(pattern));
    return matchHttp(trie, asked.method, path).length > 0;
  };
  const mine = model.roles.filter(({ spiffeId }) => spiffeId === account(asked.account));
  const [only] = model.targets as readonly TargetModel[];
  const sources = [...mine.flatMap(({ allow }) => allow.ledger ?? []), ...(only?.unidentified ?? [])];
  return sources.some((one) => "pattern" in one && holds((one.pattern as { source: string }).source));
}

// biome-ignore lint/suspicious/noExplicitAny: documents of many kinds, read as Linkerd reads them
type Loose = any;

/** The best fit of Gateway API: an exact path, then the longer one, then more headers; its route's callers only. */
function linkerdAllows(resources: readonly Loose[], asked: Asked): boolean {
  const fits = resources
    .filter(({ kind }) => kind === "HTTPRoute")
    .flatMap((route) =>
      route.spec.rules.flatMap((rule: Loose) => rule.matches.map((match: Loose) => ({ route, match }))),
    )
    .filter(({ match }) => fitting(match, asked))
    .map((fit) => ({
      ...fit,
      rank: Number(fit.match.path.type === "Exact") * 2 + Number(fit.match.headers !== undefined),
    }));
  const best = Math.max(...fits.map(({ rank }) => rank));
  const verdicts = new Set(
    fits.filter(({ rank }) => rank === best).map(({ route }) => routeAllows(resources, route, asked)),
  );
  // Two routes that fit alike must not disagree: Linkerd takes the older.
  expect(verdicts.size).toBeLessThan(2);
  return verdicts.has(true);
}

function fitting(match: Loose, asked: Asked): boolean {
  if (match.method !== asked.method || (match.headers !== undefined && !asked.upgrade)) return false;
  return match.path.type === "Exact" ? match.path.value === asked.path : new RegExp(match.path.value).test(asked.path);
}

function routeAllows(resources: readonly Loose[], route: Loose, asked: Asked): boolean {
  const policies = resources.filter(
    ({ kind, spec }) => kind === "AuthorizationPolicy" && spec.targetRef.name === route.metadata.name,
  );
  return policies.some(({ spec }) =>
    spec.requiredAuthenticationRefs.every((ref: Loose) => {
      const found = resources.find(({ kind, metadata }) => kind === ref.kind && metadata.name === ref.name);
      return (
        found.kind === "NetworkAuthentication" ||
        found.spec.identities.includes(`${asked.account}.ci.serviceaccount.identity.linkerd.cluster.local`)
      );
    }),
  );
}
