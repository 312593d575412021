import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { noCounts } from "../core/decision.ts";
import type { JobIdentity } from "../core/identity.ts";
import { parsePath } from "../core/path.ts";
import { compile } from "./compile.ts";
import { addPattern, httpEnd, matchHttp, segmentTrie } from "./match-path.ts";
import type { HttpPattern, PolicyModel } from "./model.ts";
import { type NativeTarget, nativePolicy } from "./native.ts";
import { deny, facts, job, openedAt, policyModel, role, selector, session, target } from "./policy.fake.ts";
import { shopPolicy } from "./shop-policy.fake.ts";
import { fakeVocabulary } from "./vocabulary.fake.ts";

const billing = (model: PolicyModel, options?: { readonly counted: boolean }): NativeTarget => {
  const found = nativePolicy(model, options).targets.get("billing");
  if (found === undefined) throw new TypeError("no target billing");
  return found;
};

interface Request {
  readonly method: string;
  readonly path: string;
  readonly stream: boolean;
}

function matches(pattern: HttpPattern, { method, path }: Request, anySlash: boolean): boolean {
  const parsed = parsePath(path);
  const segments = pattern.segments.flatMap((one) =>
    one.kind === "template" ? [{ kind: "param" as const, name: "" }] : [one],
  );
  const trie = segmentTrie<ReturnType<typeof httpEnd>>();
  addPattern(trie, segments, httpEnd(pattern, anySlash));
  return parsed.ok && matchHttp(trie, method, parsed).length > 0;
}

/** What a gateway says that knows of a job no more than its token: undefined where it has to ask. */
function natively(
  at: NativeTarget,
  token: { roles: readonly string[]; denies: readonly string[] },
  request: Request,
): "allow" | "deny" | undefined {
  const { allows, denies, asked } = at;
  if (asked.some(({ pattern, rule }) => pattern === undefined || matches(pattern, request, rule === "deny")))
    return undefined;
  const refused = denies.some(
    (one) => token.denies.includes(one.deny) && (one.pattern === undefined || matches(one.pattern, request, true)),
  );
  if (refused) return "deny";
  const allowed = allows.some(
    (one) =>
      token.roles.includes(one.role) && (one.pattern.stream || !request.stream) && matches(one.pattern, request, false),
  );
  return allowed ? "allow" : "deny";
}

const segment = fc.constantFrom("a", "a", "b", "v1", "*", ":id", "a*", "**", "**", "**", "${job.project_id}");
const operation = fc
  .tuple(fc.constantFrom("GET", "POST", "*"), fc.array(segment, { maxLength: 3 }), fc.constantFrom("", "", " stream"))
  .filter(([, parts]) => parts.filter((part) => part === "**").length <= 2)
  .map(([method, parts, stream]) => `${method} /${parts.join("/")}${stream}`);
const operations = fc.array(operation, { minLength: 1, maxLength: 3 }).map((list) => ({ billing: list }));
const who = fc.constantFrom(
  selector({ project: "acme/shop" }),
  selector({ project: "acme/shop" }),
  selector({ group: "acme" }),
  selector({ ref: "release" }),
  selector({ project: "acme/shop" }, { kind: "agent" }),
);
const when = fc.constantFrom(undefined, undefined, undefined, undefined, "change.merged", 'request.method == "GET"');
const limit = fc.constantFrom(
  {},
  {},
  { limit: { max: 1, windowMs: 1000, per: "session" as const, scope: "global" as const } },
);
const roles = fc
  .array(fc.tuple(operations, who, when, limit, fc.constantFrom("enforce" as const, "observe" as const)), {
    maxLength: 5,
  })
  .map((all) =>
    all.map(([allow, one, condition, counted, mode], at) =>
      role(`role-${at}`, allow, { for: [one], when: condition, mode, ...counted }),
    ),
  );
const denies = fc.array(fc.tuple(fc.option(operations, { nil: undefined }), who, when), { maxLength: 2 }).map((all) =>
  all.map(([list, one, condition], at) =>
    deny(`deny-${at}`, {
      for: [one],
      when: condition,
      ...(list === undefined ? { targets: [] } : { operations: list }),
    }),
  ),
);
const model = fc.record({ roles, deny: denies }).map(policyModel);
const identity = fc.constantFrom<JobIdentity[]>(
  job(),
  job({ kind: "agent" }),
  job({ attributes: { ...job().attributes, ref: "release" } }),
  job({ variables: {}, attributes: { project: ["acme/other"], group: ["acme"] } }),
);
const request: fc.Arbitrary<Request> = fc.record({
  method: fc.constantFrom("GET", "POST", "DELETE"),
  path: fc
    .tuple(fc.array(fc.constantFrom("a", "a", "b", "v1", "ab", "1042"), { maxLength: 4 }), fc.constantFrom("", "/"))
    .map(([parts, end]) => (parts.length === 0 ? "/" : `/${parts.join("/")}${end}`)),
  stream: fc.boolean(),
});

describe("a gateway that knows only the token decides as the decision function, wherever it need not ask", () => {
  const counts = { native: 0, asked: 0, allowed: 0 };
  const decided = (made: PolicyModel, who_: JobIdentity, asks: Request, merged: boolean) => {
    const policy = compile(made, fakeVocabulary);
    const operationOf = { kind: "http" as const, host: "billing.internal", ...asks };
    const decision = policy.decide(
      {
        session: session(who_),
        narrowing: {},
        target: "billing",
        operation: operationOf,
        facts: facts({ "change.merged": merged }),
        now: openedAt + 1,
      },
      noCounts,
    );
    const token = { roles: policy.rolesFor(who_).map(({ id }) => id), denies: policy.deniesFor(who_, ["billing"]) };
    return { decision, token };
  };

  test("as a property", () => {
    fc.assert(
      fc.property(model, identity, request, fc.boolean(), (made, who_, asks, merged) => {
        const { decision, token } = decided(made, who_, asks, merged);
        const own = natively(billing(made), token, asks);
        if (own === undefined) {
          counts.asked++;
          return;
        }
        counts.native++;
        if (own === "allow") counts.allowed++;
        expect(own).toBe(decision.effect);
      }),
      { numRuns: 5_000 },
    );
    expect(counts.native).toBeGreaterThan(1_000);
    expect(counts.asked).toBeGreaterThan(500);
    expect(counts.allowed).toBeGreaterThan(100);
  });

  test("a route without asked clauses is never asked about", () => {
    fc.assert(
      fc.property(model, request, (made, asks) => {
        const at = billing(made);
        const mine = at.routes.filter(({ pattern }) => matches(pattern, asks, false));
        if (!mine.some((route) => route.asked.length === 0)) return;
        expect(natively(at, { roles: [], denies: [] }, asks)).toBeDefined();
      }),
      { numRuns: 2_000 },
    );
  });

  test("the order of a policy changes nothing", () => {
    fc.assert(
      fc.property(model, (made) => {
        const turned = {
          ...made,
          roles: made.roles.toReversed(),
          deny: made.deny.toReversed(),
          targets: made.targets.toReversed(),
        };
        expect(nativePolicy(turned)).toEqual(nativePolicy(made));
      }),
    );
  });
});

test("only http and mesh targets are seen", () => {
  expect([...nativePolicy(shopPolicy).targets.keys()]).toEqual([
    "billing",
    "ledger",
    "partly",
    "review",
    "slashed",
    "soft",
  ]);
});

test("each route says who allows it, what bears on it, and why it is asked about", () => {
  const { routes } = billing(shopPolicy);
  const of = (source: string) => routes.find(({ pattern }) => pattern.source === source);
  expect(of("GET /v1/health")).toMatchObject({
    roles: ["read"],
    denies: [],
    asked: [],
    mode: "enforce",
    stream: false,
  });
  expect(of("GET /v1/invoices/**")).toMatchObject({ denies: ["no-legal"], asked: [{ rule: "deny", id: "no-draft" }] });
  expect(of("POST /v1/releases")?.asked).toMatchObject([{ rule: "role", id: "release" }]);
  expect(of("POST /v1/runs")?.asked[0]?.because).toBe("role limited has a limit");
  expect(of("GET /v1/projects/${job.project_id}/**")?.asked[0]?.because).toContain("for each job");
  expect(of("GET /v1/stream")).toMatchObject({ stream: true, asked: [] });
  expect(of("POST /v1/trial")?.asked[0]?.because).toContain("when: change.merged");
});

test("limits that were asked about in front are no clause", () => {
  expect(billing(shopPolicy, { counted: true }).asked.map(({ id }) => id)).not.toContain("limited");
  expect(billing(shopPolicy).asked.map(({ id }) => id)).toContain("limited");
});

test("modes and shared routes are told", () => {
  const made = policyModel({
    targets: [target("billing", "http", { mode: "observe", enforce: ["* /admin/**"], unidentified: ["GET /ready"] })],
    roles: [role("r", { billing: ["GET /admin/x", "GET /ready", "GET /b"] })],
  });
  expect(billing(made).routes.map(({ pattern, mode, shared }) => [pattern.source, mode, shared])).toEqual([
    ["GET /admin/x", "enforce", false],
    ["GET /b", "observe", false],
    ["GET /ready", "observe", true],
  ]);
});
