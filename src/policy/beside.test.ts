import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type AccessRequest, noCounts, outcomeOf } from "../core/decision.ts";
import { noFacts } from "../core/fact.ts";
import type { JobIdentity } from "../core/identity.ts";
import type { Canary } from "../core/policy-record.ts";
import { besidePolicy, canaryTest, type ShadowCounts } from "./beside.ts";
import { compile } from "./compile.ts";
import type { PolicyModel } from "./model.ts";
import { deny, job, openedAt, role, session, target } from "./policy.fake.ts";
import type { Policy } from "./policy.ts";
import { http, shopPolicy } from "./shop-policy.fake.ts";
import { fakeVocabulary } from "./vocabulary.fake.ts";

const nobody: Canary = { projects: [], share: 0 };
const shop: Canary = { projects: ["acme/shop"], share: 0 };

const model = (version: string, parts: Partial<PolicyModel> = {}): PolicyModel => ({
  ...shopPolicy,
  version,
  ...parts,
});
const compiled = (parts: Partial<PolicyModel>, version = "candidate") => compile(model(version, parts), fakeVocabulary);
const active = compile(model("active"), fakeVocabulary);

function both(candidate: Policy, canary = nobody, shadow: ShadowCounts = { used: () => 0, count: () => undefined }) {
  const faults: unknown[] = [];
  return {
    policy: besidePolicy({ active, candidate, canary, shadow, onFault: (error) => faults.push(error) }),
    faults,
  };
}

const ask = (text: string, parts: Partial<AccessRequest> = {}): AccessRequest => ({
  session: session(),
  narrowing: {},
  target: "billing",
  operation: http(text),
  facts: noFacts,
  now: openedAt + 1000,
  ...parts,
});

const failing = new Proxy(compiled({}), {
  get(policy, name) {
    const value = Reflect.get(policy, name);
    return typeof value === "function" ? () => fail() : value;
  },
});
function fail(): never {
  throw new Error("the candidate is broken");
}

describe("a candidate that decides nothing", () => {
  const health = compiled({ roles: [role("read", { billing: ["GET /v1/health", "PUT /v1/x"] })], deny: [] });

  test.each([
    { asked: "GET /v1/health", beside: undefined },
    { asked: "GET /v1/invoices/7", beside: { policy: "candidate", outcome: "deny", reason: "no_role" } },
    { asked: "PUT /v1/x", beside: { policy: "candidate", outcome: "allow", reason: "allowed", rule: "read" } },
    { asked: "PATCH /v1/x", beside: undefined },
  ])("$asked: the answer is the active policy's, with $beside beside it", ({ asked, beside }) => {
    const { policy } = both(health);
    const { beside: said, ...decision } = policy.decide(ask(asked), noCounts);
    expect(decision).toEqual(active.decide(ask(asked), noCounts));
    expect(said).toEqual(beside);
  });

  test("changes nothing about a job, whatever it says of it", () => {
    const { policy } = both(compiled({ roles: [], deny: [deny("all", { targets: ["billing"] })] }));
    const identity = job();
    expect(policy.rolesFor(identity)).toEqual(active.rolesFor(identity));
    expect(policy.deniesFor(identity, ["billing"])).toEqual(active.deniesFor(identity, ["billing"]));
    expect(policy.natsRights(identity, "events")).toEqual(active.natsRights(identity, "events"));
    expect(policy.versionFor(identity)).toBe("active");
    expect([...policy.targets.keys()]).toEqual([...active.targets.keys()]);
  });

  test("that throws leaves every answer as it is, and is told of", () => {
    const { policy, faults } = both(failing);
    expect(policy.decide(ask("GET /v1/health"), noCounts)).toEqual(active.decide(ask("GET /v1/health"), noCounts));
    expect(policy.unidentified("billing", "GET", "/x")).toEqual(active.unidentified("billing", "GET", "/x"));
    expect(policy.factsFor(job())).toEqual(active.factsFor(job()));
    expect(faults).toHaveLength(3);
  });

  test("gets the facts it needs: both policies' are asked for", () => {
    const candidate = compiled({ roles: [role("read", { billing: ["GET /v1/health"] }, { when: "approval.given" })] });
    expect(both(candidate).policy.factsFor(job())).toEqual(
      [...new Set([...active.factsFor(job()), "approval.given"])].sort(),
    );
  });

  test("says of a route without identity only where it would do otherwise", () => {
    const soft = compiled({ targets: [target("billing", "http", { mode: "observe" }), target("ledger", "mesh")] });
    const { policy } = both(soft);
    expect(policy.unidentified("billing", "GET", "/x")).toEqual({
      pass: false,
      mode: "enforce",
      beside: { policy: "candidate", pass: false, mode: "observe" },
    });
    expect(policy.unidentified("ledger", "GET", "/x")).toEqual({ pass: false, mode: "enforce" });
  });

  test("uses its limits by itself: only what a gateway asks counts, and the real counts stay as they are", () => {
    const limit = { max: 1, windowMs: 60_000, per: "role", scope: "global" } as const;
    const counted: string[] = [];
    const shadow = { used: () => counted.length, count: ({ key }: { key: string }) => void counted.push(key) };
    const { policy } = both(
      compiled({ roles: [role("read", { billing: ["GET /v1/health"] }, { limit })] }),
      nobody,
      shadow,
    );
    expect(policy.decide(ask("GET /v1/health"), noCounts).beside).toBeUndefined();
    expect(counted).toEqual([]);
    const earnest = ask("GET /v1/health", { gateway: "edge-1" });
    expect(policy.decide(earnest, noCounts).beside).toBeUndefined();
    expect(policy.decide(earnest, noCounts).beside).toMatchObject({ outcome: "deny", reason: "limit_exceeded" });
    expect(counted).toHaveLength(1);
  });
});

describe("a canary", () => {
  const candidate = compiled({
    targets: [target("billing"), target("fresh")],
    roles: [role("read", { billing: ["GET /v1/health"], fresh: ["GET /x"] })],
    deny: [],
  });
  const other = job({ project: { id: "77", path: "acme/other" } });

  test("is decided by the candidate in everything, and nobody else is", () => {
    const { policy } = both(candidate, shop);
    expect(policy.decide(ask("GET /v1/invoices/7"), noCounts)).toMatchObject({
      effect: "deny",
      policyVersion: "candidate",
      canary: true,
      beside: { policy: "active", outcome: "allow", rule: "read" },
    });
    expect(policy.decide(ask("GET /v1/health"), noCounts)).toMatchObject({ effect: "allow", canary: true });
    expect(policy.rolesFor(job())).toEqual(candidate.rolesFor(job()));
    expect(policy.versionFor(job())).toBe("candidate");
    expect(policy.targetFor("fresh", job())?.name).toBe("fresh");
    expect(policy.versionFor(other)).toBe("active");
    expect(policy.targetFor("fresh", other)).toBeUndefined();
    const asked = ask("GET /x", { session: session(other), target: "fresh" });
    expect(policy.decide(asked, noCounts)).toMatchObject({ effect: "deny", reason: "target_unknown" });
  });

  test("is refused where the candidate fails: it is the one that decides", () => {
    const { policy } = both(failing, shop);
    expect(() => policy.decide(ask("GET /v1/health"), noCounts)).toThrow("broken");
  });

  test("hears the reason of the deny that refused it, not of one with the same id", () => {
    const because = (text: string) => [deny("deny-1", { targets: ["billing"], because: text })];
    const mine = besidePolicy({
      active: compiled({ deny: because("active") }, "a"),
      candidate: compiled({ deny: because("candidate") }, "c"),
      canary: shop,
      shadow: { used: () => 0, count: () => undefined },
      onFault: fail,
    });
    expect(mine.denyReason("deny-1", job())?.because).toBe("candidate");
    expect(mine.denyReason("deny-1", other)?.because).toBe("active");
  });

  test.each([
    { project: { id: "1", path: "acme/shop" }, tries: true },
    { project: { id: "1", path: "acme/shop-evil" }, tries: false },
    { project: { id: "1", path: "evil/acme/shop" }, tries: false },
    { project: { id: "acme/shop", path: "evil" }, tries: true },
    { project: { id: "1", path: "Acme/Shop" }, tries: false },
  ])("$project.path ($project.id): $tries", ({ project, tries }) => {
    expect(canaryTest(shop, "c")(job({ project }))).toBe(tries);
  });

  const projects = Array.from({ length: 500 }, (_, at) => job({ project: { id: String(at), path: `acme/p-${at}` } }));
  const share = (percent: number, version = "c"): readonly JobIdentity[] =>
    projects.filter(canaryTest({ projects: [], share: percent }, version));

  test("a share is about so many projects, each larger one holds each smaller one, and each candidate has its own", () => {
    expect(share(0)).toEqual([]);
    expect(share(100)).toHaveLength(projects.length);
    expect(share(10).length).toBeGreaterThan(20);
    expect(share(10).length).toBeLessThan(90);
    expect(share(30)).toEqual(expect.arrayContaining([...share(10)]));
    expect(share(10, "other")).not.toEqual(share(10));
  });
});

test("whatever stands beside it, the outcome is that of the policy that decides", () => {
  const roles = fc.subarray([...shopPolicy.roles]);
  const denies = fc.subarray([...shopPolicy.deny]);
  const paths = [
    "GET /v1/health",
    "GET /v1/invoices/7",
    "POST /v1/releases",
    "GET /v1/invoices/legal",
    "DELETE /v1/runs",
  ];
  fc.assert(
    fc.property(roles, denies, fc.constantFrom(...paths), fc.boolean(), (own, against, path, tries) => {
      const candidate = compiled({ roles: own, deny: against });
      const { policy } = both(candidate, tries ? shop : nobody);
      const decision = policy.decide(ask(path), noCounts);
      const [decides, other] = tries ? [candidate, active] : [active, candidate];
      expect(outcomeOf(decision)).toBe(outcomeOf(decides.decide(ask(path), noCounts)));
      const said = outcomeOf(other.decide(ask(path), noCounts));
      expect(decision.beside?.outcome ?? outcomeOf(decision)).toBe(said);
    }),
    { numRuns: 200 },
  );
});

test("another canary or candidate is another text: whoever watches sees it", () => {
  const texts = [
    active.inForce,
    both(compiled({})).policy.inForce,
    both(compiled({}), shop).policy.inForce,
    both(compiled({}), { projects: ["acme/shop"], share: 1 }).policy.inForce,
    both(compiled({}, "next"), shop).policy.inForce,
  ];
  expect(new Set(texts).size).toBe(texts.length);
});
