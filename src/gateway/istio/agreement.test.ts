import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { noCounts } from "../../core/decision.ts";
import { noFacts } from "../../core/fact.ts";
import type { JobIdentity } from "../../core/identity.ts";
import { compile } from "../../policy/compile.ts";
import type { DenyModel, PolicyModel, RoleModel } from "../../policy/model.ts";
import { deny, job, openedAt, policyModel, role, selector, session, target } from "../../policy/policy.fake.ts";
import type { Policy } from "../../policy/policy.ts";
import { fakeVocabulary } from "../../policy/vocabulary.fake.ts";
import { askMesh, type MeshRequest } from "./mesh.fake.ts";
import { istioResources } from "./render.ts";
import type { IstioGatewaySettings } from "./settings.ts";

const issuer = "https://wayleave.acme.example";
const gateway: IstioGatewaySettings = {
  name: "mesh",
  targets: ["billing", "ledger"],
  brokerUrl: "http://wayleave.wayleave.svc.cluster.local:8700",
  mode: "native",
  namespace: "bank",
  workloads: [
    { target: "billing", labels: { app: "billing" }, port: 8080 },
    { target: "ledger", labels: { app: "ledger" }, port: 9090 },
  ],
  meshTrustDomain: "cluster.local",
};
const coordinate = "A".repeat(43);
const jwks = { keys: [{ kty: "EC", crv: "P-256", kid: "k1", x: coordinate, y: coordinate }] };

const often = <T>(usual: T, ...others: readonly T[]) =>
  fc.constantFrom(usual, usual, usual, usual, usual, usual, ...others);
const segments = ["a", "b", ":id", "*", "**", "v*", "${job.project_id}", "café", "a b"];
const path = fc
  .array(fc.constantFrom(...segments), { maxLength: 3 })
  .map((list) => list.map((part, at) => (part === ":id" ? `:id${at}` : part)))
  .map((list) => `/${list.join("/")}`);
const operation = fc.tuple(fc.constantFrom("GET", "POST", "*"), path).map(([method, text]) => `${method} ${text}`);
const allow = fc.record(
  {
    billing: fc.array(operation, { minLength: 1, maxLength: 3 }),
    ledger: fc.array(operation, { minLength: 1, maxLength: 2 }),
  },
  { requiredKeys: [] },
);
const who = fc
  .record({ project: fc.constantFrom("acme/shop", "acme/*"), agent: fc.boolean() })
  .map(({ project, agent }) => selector({ project }, agent ? { kind: "agent" } : {}));
const when = often<string | undefined>(undefined, "change.merged", 'request.method == "GET"');
const roles: fc.Arbitrary<RoleModel[]> = fc
  .array(fc.record({ allow, who: fc.array(who, { minLength: 1, maxLength: 2 }), when, limited: fc.nat({ max: 9 }) }), {
    maxLength: 4,
  })
  .map((list) =>
    list.map((parts, at) =>
      role(`role-${at}`, parts.allow as Record<string, string[]>, {
        for: parts.who,
        when: parts.when,
        ...(parts.limited === 0 ? { limit: { max: 1, windowMs: 1000, per: "role", scope: "global" } } : {}),
      }),
    ),
  );
const denies: fc.Arbitrary<DenyModel[]> = fc
  .array(fc.record({ allow, who: fc.array(who, { minLength: 1, maxLength: 2 }), when, whole: fc.nat({ max: 3 }) }), {
    maxLength: 2,
  })
  .map((list) =>
    list.map((parts, at) =>
      deny(`deny-${at}`, {
        for: parts.who,
        when: parts.when,
        ...(parts.whole === 0 ? { targets: ["billing"] } : { operations: parts.allow as Record<string, string[]> }),
      }),
    ),
  );
const targets = fc
  .record({ unidentified: fc.nat({ max: 12 }), assertion: fc.nat({ max: 12 }) })
  .map(({ unidentified, assertion }) => [
    target("billing", "http", {
      ...(unidentified === 0 ? { unidentified: ["GET /a"] } : {}),
      ...(assertion === 0 ? { assertion: "required" } : {}),
    }),
    target("ledger", "mesh"),
  ]);
const policies: fc.Arbitrary<PolicyModel> = fc.record({ roles, deny: denies, targets }).map(policyModel);
const identities: fc.Arbitrary<JobIdentity> = fc
  .record({ project: often("acme/shop", "acme/other", "evil/shop"), agent: fc.boolean() })
  .map(({ project, agent }) =>
    job({
      kind: agent ? "agent" : "job",
      project: { id: "1042", path: project },
      attributes: { project: [project] },
      variables: { "job.project_id": "1042" },
    }),
  );
const part = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.constantFrom("a", "b", "v1", "x", "1042", "a%20b", "caf%C3%A9", "a*b", "~!$&'()*+,=:@-_"),
  },
  { weight: 1, arbitrary: fc.constantFrom("caf%c3%a9", "..;", "%2F", "%2e%2e", "", ".", "..", "a;b", "%25") },
);
const written = fc.array(part, { maxLength: 3 }).map((list) => `/${list.join("/")}`);
const requests = fc.record({
  method: often("GET", "POST", "POST", "get", "TRACE", "PURGE"),
  host: often("billing.internal", "BILLING.internal:8443", "evil.example"),
  path: written,
  target: fc.constantFrom("billing", "ledger"),
  upgrade: often(undefined, "websocket"),
  audience: often(["billing", "ledger"], ["billing"], ["ledger"]),
});
type Asked = typeof requests extends fc.Arbitrary<infer T> ? T : never;

/** Everything a dialect of ours refuses before it decides. */
function refusedByDialect({ method, upgrade }: Asked): boolean {
  return upgrade !== undefined || !/^[A-Z]+$/.test(method) || method === "TRACE";
}

/** A policy, compiled and rendered once. */
interface World {
  readonly policy: Policy;
  readonly resources: ReturnType<typeof istioResources>["resources"];
}

const worldOf = (model: PolicyModel): World => ({
  policy: compile(model, fakeVocabulary),
  resources: istioResources({ gateway, model, issuer, jwks }).resources,
});

function decided({ policy }: World, identity: JobIdentity, asked: Asked): boolean {
  if (refusedByDialect(asked)) return false;
  const host = asked.host.toLowerCase().split(":")[0] ?? "";
  const question = {
    session: session(identity),
    narrowing: { targets: asked.audience },
    target: asked.target,
    operation: { kind: "http", method: asked.method, host, path: asked.path, stream: false } as const,
    facts: noFacts,
    now: openedAt + 1000,
  };
  return policy.decide(question, noCounts).effect === "allow";
}

function tokenOf({ policy }: World, identity: JobIdentity, audience: readonly string[]) {
  return {
    iss: issuer,
    sub: "spiffe://acme.example/ci/gitlab/1042",
    aud: audience,
    sid: "ses_1",
    roles: policy.rolesFor(identity).map(({ id }) => id),
    denies: policy.deniesFor(identity, audience),
    pol: policy.version,
  };
}

/** What the rendered resources of the asked target do with a request. */
function meshAnswer({ resources }: World, asked: Asked, token: MeshRequest["token"], answer: boolean) {
  const mine = resources.filter(({ metadata }) => metadata.name.includes(asked.target));
  const { method, host, path: text, upgrade } = asked;
  const request: MeshRequest = {
    method,
    host,
    path: text,
    port: asked.target === "billing" ? 8080 : 9090,
    ...(upgrade === undefined ? {} : { upgrade }),
    ...(token === undefined ? {} : { token }),
  };
  return askMesh(mine, request, () => answer);
}

const manyRequests = fc.array(fc.tuple(identities, requests), { minLength: 1, maxLength: 12, size: "max" });

describe("what the mesh enforces equals what the decision function says", () => {
  test("for every token of the policy that was rendered", () => {
    const seen: Record<string, number> = {};
    fc.assert(
      fc.property(policies, manyRequests, (model, list) => {
        const world = worldOf(model);
        for (const [identity, asked] of list) {
          const allowed = decided(world, identity, asked);
          const answer = meshAnswer(world, asked, tokenOf(world, identity, asked.audience), allowed);
          const key = `${answer.allowed ? "allowed" : "refused"} by ${answer.by}`;
          seen[key] = (seen[key] ?? 0) + 1;
          expect({ asked, ...answer, allowed }).toEqual({ asked, ...answer });
        }
      }),
      { numRuns: 400 },
    );
    // The property means something only where each of them was met.
    for (const way of [
      "allowed by allow",
      "refused by allow",
      "allowed by asked",
      "refused by asked",
      "refused by guard",
    ]) {
      expect([way, (seen[way] ?? 0) > 10]).toEqual([way, true]);
    }
    expect(seen["refused by deny"]).toBeGreaterThan(3);
  }, 30_000);

  test.each<{ what: string; token: (good: ReturnType<typeof tokenOf>) => MeshRequest["token"] }>([
    { what: "no token", token: () => undefined },
    { what: "an invalid token", token: () => "invalid" },
    { what: "a token of another issuer", token: (good) => ({ ...good, iss: `${issuer}/evil` }) },
    { what: "a token for other targets", token: (good) => ({ ...good, aud: ["other"] }) },
    { what: "a token of another policy", token: (good) => ({ ...good, pol: "ffffffffffff" }) },
    { what: "a token without roles", token: (good) => ({ ...good, roles: [] }) },
    { what: "a key-bound token sent as Bearer", token: (good) => ({ ...good, cnf: { jkt: "x" } }) },
  ])("nothing is native for $what", ({ token }) => {
    fc.assert(
      fc.property(policies, manyRequests, (model, list) => {
        const world = worldOf(model);
        for (const [identity, asked] of list) {
          const answer = meshAnswer(world, asked, token(tokenOf(world, identity, asked.audience)), false);
          expect(answer.allowed).toBe(false);
        }
      }),
      { numRuns: 40 },
    );
  });
});

test("a sidecar without the guard serves nothing", () => {
  const model = policyModel({
    targets: [target("billing"), target("ledger", "mesh")],
    roles: [role("r", { billing: ["* /**"] })],
  });
  const world = worldOf(model);
  const all = world.resources.filter(({ metadata }) => metadata.name.includes("billing"));
  const request = {
    method: "GET",
    host: "billing.internal",
    path: "/a",
    port: 8080,
    token: tokenOf(world, job(), ["billing"]),
  };
  expect(askMesh(all, request, () => false).allowed).toBe(true);
  const unguarded = all.filter(({ kind }) => kind !== "EnvoyFilter");
  expect(askMesh(unguarded, request, () => true).allowed).toBe(false);
});
