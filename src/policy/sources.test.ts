import fc from "fast-check";
import { expect, test } from "vitest";
import { type AccessRequest, noCounts } from "../core/decision.ts";
import type { Bounds } from "./bounds.ts";
import { compile } from "./compile.ts";
import type { Diagnostic } from "./model.ts";
import { job, openedAt, session } from "./policy.fake.ts";
import { acceptSources, judgeSources, type PolicySourceTexts, sourceVersion } from "./sources.ts";
import { fakeVocabulary } from "./vocabulary.fake.ts";

const issuers = [{ name: "gitlab", type: "gitlab" }] as const;
const source = (name: string, value: object, bounds?: Bounds): PolicySourceTexts => ({
  name,
  files: [{ name: `${name}.yaml`, text: JSON.stringify({ version: 1, ...value }) }],
  ...(bounds === undefined ? {} : { bounds }),
});
const judged = (sources: readonly PolicySourceTexts[]) =>
  judgeSources(sources, { vocabulary: fakeVocabulary, issuers });

const platform = source("platform", {
  targets: { billing: { http: { hosts: ["billing.internal"] } }, payroll: { http: { hosts: ["payroll.internal"] } } },
  roles: {
    health: { for: [{ gitlab: { group: "acme" } }], allow: { billing: ["GET /health"], payroll: ["GET /health"] } },
  },
});
const bounds: Bounds = {
  projects: ["gitlab/acme/billing/**"],
  targets: ["billing", "own-*"],
  hosts: ["*.own.internal"],
};

const word = fc.constantFrom(
  ...[
    "acme/billing/api",
    "acme/billing",
    "acme/billing/**",
    "acme/**",
    "acme/payroll",
    "acme/*",
    "**",
    "acme/billing-2/x",
  ],
);
const selector = fc
  .record(
    {
      project: fc.oneof(word, fc.array(word, { minLength: 1, maxLength: 2 })),
      group: fc.constantFrom("acme", "acme/billing", "acme/billing/sub", "acme/*"),
      project_id: fc.constant("1042"),
      ref: fc.constantFrom("main", "*"),
      fork: fc.boolean(),
    },
    { requiredKeys: [] },
  )
  .map((clauses) => ({ gitlab: clauses }));
const target = fc.constantFrom("billing", "payroll", "own-1", "own-2", "health");
const host = fc.constantFrom("a.own.internal", "payroll.internal", "b.internal", "a.b.own.internal");
const written = fc.record(
  {
    mode: fc.constantFrom("observe", "enforce"),
    targets: fc.dictionary(
      target,
      fc.record(
        { http: host.map((one) => ({ hosts: [one] })), mode: fc.constantFrom("observe", "enforce") },
        { requiredKeys: ["http"] },
      ),
      { maxKeys: 2 },
    ),
    who: fc.dictionary(fc.constantFrom("us", "them"), selector, { maxKeys: 2 }),
    roles: fc.dictionary(
      fc.constantFrom("mine", "health", "more"),
      fc.record(
        {
          for: fc.array(fc.oneof(selector, fc.constantFrom("us", "them")), { minLength: 1, maxLength: 2 }),
          allow: fc.dictionary(target, fc.constant(["* /**"]), { minKeys: 1, maxKeys: 2 }),
          mode: fc.constantFrom("observe", "enforce"),
        },
        { requiredKeys: ["for", "allow"] },
      ),
      { maxKeys: 2 },
    ),
    deny: fc.array(
      fc.record(
        { for: selector, targets: fc.array(target, { minLength: 1, maxLength: 2 }), because: fc.constant("no") },
        { requiredKeys: ["for", "because"] },
      ),
      { maxLength: 2 },
    ),
  },
  { requiredKeys: [] },
);

const requests: readonly AccessRequest[] = [
  "acme/billing",
  "acme/billing/api",
  "acme/billing/sub/x",
  "acme/payroll",
  "acme/billing-2/x",
  "evil/x",
].flatMap((path) =>
  ["billing", "payroll", "own-1", "own-2"].flatMap((name) =>
    ["a.own.internal", "payroll.internal", "billing.internal", "b.internal", "a.b.own.internal"].map((asked) => {
      const parts = path.split("/");
      const group = parts.slice(0, -1).map((_, at) => parts.slice(0, at + 1).join("/"));
      const attributes = { project: [path], project_id: ["1042"], group, ref: "main", ref_type: "branch" };
      const identity = job({ project: { id: "1042", path }, attributes });
      const operation = { kind: "http", method: "GET", host: asked, path: "/x", stream: false } as const;
      return { session: session(identity), target: name, operation, narrowing: {}, facts: {}, now: openedAt };
    }),
  ),
);

/** `**` may be no part at all. */
const isOwnProject = (path: string) => path === "acme/billing" || path.startsWith("acme/billing/");

/** Whether the bounds let the source have a say in the request. */
const isInside = ({ session: { identity }, target: name, operation }: AccessRequest) =>
  isOwnProject(identity.project.path) &&
  (name === "billing" ||
    (name.startsWith("own-") && operation.kind === "http" && /^[^.]+\.own\.internal$/.test(operation.host)));

const alone = judged([platform]).model;
if (alone === undefined) throw new TypeError("the platform's policy is valid");
const byPlatform = compile(alone, fakeVocabulary);
const outside = requests
  .filter((request) => !isInside(request))
  .map((request) => ({ request, was: byPlatform.decide(request, noCounts) }));

test("whatever a bounded source writes, nobody outside its bounds is let through by it, nor kept from what is not its", () => {
  let accepted = 0;
  fc.assert(
    fc.property(written, (value) => {
      const { model } = judged([platform, source("team", value, bounds)]);
      if (model === undefined) return;
      accepted++;
      const after = compile(model, fakeVocabulary);
      for (const { request, was } of outside) {
        const is = after.decide(request, noCounts);
        const { hosts = [] } = after.targets.get(request.target) ?? {};
        expect([is.effect, was.effect]).not.toEqual(["allow", "deny"]);
        if (!hosts.some((one) => one.endsWith(".own.internal"))) expect(is.mode).toBe(was.mode);
        const foreign = request.target === "payroll" && !isOwnProject(request.session.identity.project.path);
        if (foreign) expect(is.effect).toBe(was.effect);
      }
    }),
    { numRuns: 800 },
  );
  expect(accepted).toBeGreaterThan(30);
});

const errorsOf = (sources: readonly PolicySourceTexts[]): readonly Diagnostic[] =>
  judged(sources).diagnostics.filter(({ severity }) => severity === "error");
const goodOf = (...sources: readonly PolicySourceTexts[]) => new Map(sources.map((one) => [one.name, one]));
const versions = (sources: readonly PolicySourceTexts[]) => sources.map((one) => `${one.name} ${sourceVersion(one)}`);

const grant = (name: string, path: string, on = "billing") =>
  source("team", { roles: { [name]: { for: [{ gitlab: { project: path } }], allow: { [on]: ["GET /x"] } } } }, bounds);
const good = grant("mine", "acme/billing/api");

test("a source that oversteps keeps its last good version, and the others go on", () => {
  const newer = source("platform", {
    ...JSON.parse(platform.files[0]?.text ?? ""),
    who: { us: { gitlab: { project: "acme/x" } } },
  });
  const wrong = grant("mine", "acme/payroll");
  const { accepted, refused } = acceptSources([newer, wrong], goodOf(platform, good), errorsOf);
  expect(versions(accepted)).toEqual(versions([newer, good]));
  expect(refused.get("team")?.[0]).toMatchObject({ code: "source_oversteps", place: { file: "team.yaml", line: 1 } });
  expect([...refused.keys()]).toEqual(["team"]);
});

test("of two that claim one name, the one that was there first stays, whatever the order", () => {
  const claims = grant("health", "acme/billing/api");
  for (const [fresh, last] of [
    [[platform, claims], goodOf(platform, good)],
    [[claims, platform], goodOf(platform, good)],
  ] as const) {
    const { accepted, refused } = acceptSources(fresh, last, errorsOf);
    expect([...refused.keys()]).toEqual(["team"]);
    expect(versions(accepted).toSorted()).toEqual(versions([platform, good]).toSorted());
  }
});

test("two changes that need each other come in together, whichever is read first", () => {
  const { targets, roles } = JSON.parse(platform.files[0]?.text ?? "") as { targets: object; roles: object };
  const adds = source("platform", { targets: { ...targets, "own-9": { http: { hosts: ["nine.internal"] } } }, roles });
  const uses = grant("mine", "acme/billing/api", "own-9");
  for (const fresh of [
    [adds, uses],
    [uses, adds],
  ]) {
    const { accepted, refused } = acceptSources(fresh, goodOf(platform, good), errorsOf);
    expect([versions(accepted), refused.size]).toEqual([versions(fresh), 0]);
  }
});

test("what was good is good no more where the bounds became narrower", () => {
  const narrower = { ...good, bounds: { ...bounds, projects: ["gitlab/acme/other"] } };
  const { accepted, refused } = acceptSources([platform, narrower], goodOf(platform, narrower), errorsOf);
  expect(versions(accepted)).toEqual(versions([platform]));
  expect(refused.get("team")?.[0]?.code).toBe("source_oversteps");
});

test("a test of one source keeps out its own change and nobody else's", () => {
  const tests: string[][] = [];
  const judge = (sources: readonly PolicySourceTexts[], testsOf: readonly string[]) => {
    tests.push([...testsOf]);
    return errorsOf(sources);
  };
  acceptSources([platform, grant("more", "acme/billing/x")], goodOf(platform, good), judge);
  expect(tests).toEqual([["team"]]);
});

test("whatever sources say, what is accepted is valid as a whole", () => {
  fc.assert(
    fc.property(written, written, (first, second) => {
      const fresh = [platform, source("team", first, bounds), source("wide", second)];
      const { accepted, refused } = acceptSources(fresh, goodOf(platform), errorsOf);
      expect(errorsOf(accepted)).toEqual([]);
      expect(accepted.length + refused.size).toBe(3);
    }),
    { numRuns: 100 },
  );
});
