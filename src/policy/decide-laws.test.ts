import fc from "fast-check";
import { expect, test } from "vitest";
import { type AccessRequest, type Decision, noCounts } from "../core/decision.ts";
import type { JobIdentity } from "../core/identity.ts";
import { compile } from "./compile.ts";
import type { DenyModel, PolicyModel, RoleModel, SelectorModel } from "./model.ts";
import { deny, facts, job, openedAt, place, policyModel, role, selector, session, target } from "./policy.fake.ts";
import { fakeVocabulary } from "./vocabulary.fake.ts";

// A small world, so that rules and requests meet often.
/** Each word as often as its weight says. */
const among = <const T extends string>(weights: Readonly<Record<T, number>>): fc.Arbitrary<T> =>
  fc.constantFrom(...(Object.entries(weights) as [T, number][]).flatMap(([word, weight]) => Array(weight).fill(word)));
const projects = among({ "acme/shop": 3, "acme/other": 1, "acme/*": 2, "**": 2 });
const paths = among({
  ...{ "/": 1, "/a": 2, "/a/b": 2, "/a/*": 1, "/**": 2, "/a/:id": 1, "/**/b": 1 },
  ...{ "/${job.project_id}": 2, "/${job.ref_slug}": 3 },
});
const methods = fc.constantFrom("GET", "POST", "*");
const httpOperation = fc
  .tuple(methods, paths, fc.boolean())
  .map(([method, path, stream]) => `${method} ${path}${stream ? " stream" : ""}`);
const natsOperation = fc.constantFrom(
  ...["pub a.b", "pub a.*", "sub a.>", "sub a.*", "pub ${job.project_id}.x", "req a.b", "req a.>", "sub a.b q"],
  ...["pull S.c", "pull S.*", "pub a.${job.ref_slug}", "sub ${environment.name}.>"],
);
const allow = fc.record(
  {
    billing: fc.array(httpOperation, { minLength: 1, maxLength: 3 }),
    soft: fc.array(httpOperation, { minLength: 1, maxLength: 2 }),
    events: fc.array(natsOperation, { minLength: 1, maxLength: 3 }),
    heard: fc.array(natsOperation, { minLength: 1, maxLength: 2 }),
  },
  { requiredKeys: [] },
);
const when = fc.option(
  fc.constantFrom(
    "change.merged",
    "change.approvals >= 1",
    '!change.merged || request.method == "GET"',
    'request.subject == "a.b" || request.queue == "q"',
    'job.ref == "main"',
    "job.nope",
  ),
  { nil: undefined },
);
const kind = fc.option(fc.constantFrom("job", "agent"), { nil: undefined });
const selectors: fc.Arbitrary<SelectorModel> = fc
  .record({
    project: projects,
    ref: fc.option(fc.constantFrom("main", "dev*"), { nil: undefined }),
    fork: fc.boolean(),
    kind,
  })
  .map(({ project, ref, fork, kind: who }) =>
    selector({ project, ...(ref === undefined ? {} : { ref }) }, { fork, ...(who === undefined ? {} : { kind: who }) }),
  );
const audience = fc.array(selectors, { minLength: 1, maxLength: 2 });
const roleParts = fc.record({
  allow,
  when,
  audience,
  limited: fc.boolean(),
  mode: fc.constantFrom("enforce", "enforce", "observe"),
});
const roles: fc.Arbitrary<readonly RoleModel[]> = fc.array(roleParts, { maxLength: 5 }).map((list) =>
  list.map(({ allow: byTarget, when: condition, audience: who, limited, mode }, at) =>
    role(`role-${at}`, byTarget as Record<string, string[]>, {
      for: who,
      when: condition,
      mode,
      place: place(at),
      ...(limited ? { limit: { max: 1, windowMs: 1000, per: "role" as const, scope: "global" } } : {}),
    }),
  ),
);
const denyParts = fc.record({ allow, when, audience, whole: among({ yes: 1, no: 4 }) });
const denies: fc.Arbitrary<readonly DenyModel[]> = fc.array(denyParts, { maxLength: 2 }).map((list) =>
  list.map(({ allow: byTarget, when: condition, audience: who, whole }, at) =>
    deny(`deny-${at}`, {
      for: who,
      when: condition,
      ...(whole === "yes" ? {} : { operations: byTarget as Record<string, string[]> }),
    }),
  ),
);
const policies: fc.Arbitrary<PolicyModel> = fc.record({ roles, deny: denies }).map((parts) =>
  policyModel({
    ...parts,
    targets: [
      target("billing"),
      target("soft", "http", { mode: "observe", enforce: ["* /a"] }),
      target("events", "nats"),
      target("heard", "nats", { mode: "observe" }),
    ],
  }),
);

const identities: fc.Arbitrary<JobIdentity> = fc
  .record({
    project: among({ "acme/shop": 4, "acme/other": 1, "evil/shop": 1 }),
    second: fc.nat({ max: 4 }).map((at) => at === 0),
    ref: fc.option(fc.constantFrom("main", "develop"), { nil: undefined }),
    fork: among({ no: 6, yes: 1, unknown: 1 }),
    kind: among({ job: 5, agent: 1 }),
  })
  .map(({ project, second, ref, fork, kind: who }) =>
    job({
      kind: who,
      fork,
      project: { id: "1042", path: project },
      attributes: { project: second ? [project, "acme/shop"] : [project], ...(ref === undefined ? {} : { ref }) },
      variables: { "job.project_id": "1042", "environment.name": "_INBOX_0123456789abcdef" },
    }),
  );
const requestPath = among({ "/": 2, "/a": 3, "/a/": 1, "/a/b": 3, "/a/b/c": 1, "/1042": 2, "/x": 2, "/a//b": 1 });
const operations = fc.oneof(
  fc.record({
    kind: fc.constant("http" as const),
    method: among({ GET: 4, POST: 2, HEAD: 1 }),
    host: among({ "billing.internal": 6, "soft.internal": 2, "evil.example": 1 }),
    path: requestPath,
    stream: fc.nat({ max: 3 }).map((at) => at === 0),
  }),
  fc.record({
    kind: fc.constant("nats" as const),
    verb: fc.constantFrom("pub", "sub", "req", "pull"),
    subject: among({
      "a.b": 3,
      "a.c": 1,
      "a.*": 1,
      "a.>": 2,
      "1042.x": 1,
      ">": 1,
      "S.c": 2,
      "_INBOX_0123456789abcdef.>": 1,
    }),
  }),
  fc.record({
    kind: fc.constant("nats" as const),
    verb: fc.constant("sub" as const),
    subject: among({ "a.b": 2, "a.>": 1 }),
    queue: fc.constantFrom("q", "r"),
  }),
);
const known = fc.record(
  { "change.merged": fc.boolean(), "change.approvals": fc.nat({ max: 2 }) },
  { requiredKeys: [] },
);
const narrowings = fc.record(
  { targets: fc.subarray(["billing", "soft", "events", "heard"]), roles: fc.subarray(["role-0", "role-1", "role-2"]) },
  { requiredKeys: [] },
);
const requests: fc.Arbitrary<AccessRequest> = fc
  .record({
    identity: identities,
    narrowing: fc.oneof({ weight: 4, arbitrary: fc.constant({}) }, { weight: 1, arbitrary: narrowings }),
    target: among({ billing: 6, soft: 2, events: 4, heard: 2, nope: 1 }),
    operation: operations,
    values: known,
    state: among({ active: 8, suspended: 1, ended: 1 }),
    late: fc.nat({ max: 100_000 }),
  })
  .map(({ identity, values, state, late, ...rest }) => ({
    ...rest,
    session: session(identity, { state, hardEndAt: openedAt + 90_000 }),
    facts: facts(values as Record<string, boolean | number>),
    now: openedAt + late,
  }));

const decide = (model: PolicyModel, request: AccessRequest): Decision =>
  compile(model, fakeVocabulary).decide(request, noCounts);
const allows = (model: PolicyModel, request: AccessRequest) => decide(model, request).effect === "allow";
/** What a gateway lets through: an allow, or whatever is observed. */
const passes = (model: PolicyModel, request: AccessRequest) => {
  const { effect, mode } = decide(model, request);
  return effect === "allow" || mode === "observe";
};

const law = (name: string, property: (model: PolicyModel, request: AccessRequest) => void, numRuns = 400) =>
  test(name, () => {
    fc.assert(fc.property(policies, requests, property), { numRuns });
  });

test("the small world is not empty: its requests meet every answer that these rules can give", () => {
  const seen = new Set<string>();
  for (const [model, request] of fc.sample(fc.tuple(policies, requests), { numRuns: 2000, seed: 7 })) {
    seen.add(decide(model, request).reason);
  }
  expect([...seen].toSorted()).toEqual(
    [
      ...["allowed", "ambiguous_path", "condition_failed", "denied", "fact_missing", "host_mismatch", "no_role"],
      ...[
        "outside_narrowing",
        "session_ended",
        "session_suspended",
        "stream_refused",
        "subject_refused",
        "target_unknown",
        "template_unfilled",
      ],
    ].toSorted(),
  );
});

test("adding a deny never allows or lets through more", () => {
  fc.assert(
    fc.property(policies, requests, denies, (model, request, extra) => {
      const more = { ...model, deny: [...model.deny, ...extra.map((one, at) => ({ ...one, id: `extra-${at}` }))] };
      if (allows(more, request)) expect(allows(model, request)).toBe(true);
      if (passes(more, request)) expect(passes(model, request)).toBe(true);
    }),
    { numRuns: 400 },
  );
});

law("removing a role never allows or lets through more", (model, request) => {
  for (const gone of model.roles) {
    const less = { ...model, roles: model.roles.filter((one) => one !== gone) };
    if (allows(less, request)) expect(allows(model, request)).toBe(true);
    if (passes(less, request)) expect(passes(model, request)).toBe(true);
  }
});

const reversed = <T>(record: Readonly<Record<string, readonly T[]>>) =>
  Object.fromEntries(
    Object.entries(record)
      .toReversed()
      .map(([key, list]) => [key, list.toReversed()]),
  );

law("renaming what keeps its id, and any other order, change nothing", (model, request) => {
  const other: PolicyModel = {
    ...model,
    targets: model.targets.toReversed(),
    roles: model.roles
      .map((one) => ({
        ...one,
        name: `${one.name}-renamed`,
        for: one.for.toReversed().map((who) => ({ ...who, name: "renamed", clauses: who.clauses.toReversed() })),
        allow: reversed(one.allow),
      }))
      .toReversed(),
    deny: model.deny
      .map((one) => ({
        ...one,
        for: one.for.toReversed(),
        targets: one.targets.toReversed(),
        operations: reversed(one.operations),
      }))
      .toReversed(),
  };
  expect(decide(other, request)).toEqual(decide(model, request));
});

law("the same question has the same answer, whatever was asked before", (model, request) => {
  const policy = compile(model, fakeVocabulary);
  const fresh = decide(model, request);
  expect(policy.decide(request, noCounts)).toEqual(fresh);
  policy.decide({ ...request, facts: {}, narrowing: {}, session: { ...request.session, state: "active" } }, noCounts);
  policy.decide({ ...request, narrowing: { roles: [] } }, noCounts);
  expect(policy.decide(request, noCounts)).toEqual(fresh);
});

law("a fact that is missing never allows", (model, request) => {
  if (allows(model, { ...request, facts: {} })) expect(allows(model, request)).toBe(true);
});

law("a session that is not active is never allowed, nor one past its hard end", (model, request) => {
  for (const state of ["suspended", "ended"] as const) {
    expect(allows(model, { ...request, session: { ...request.session, state } })).toBe(false);
  }
  expect(allows(model, { ...request, now: request.session.hardEndAt })).toBe(false);
});

law("narrowing never widens", (model, request) => {
  const wide = { ...request, narrowing: {} };
  if (allows(model, request)) expect(allows(model, wide)).toBe(true);
  if (passes(model, request)) expect(passes(model, wide)).toBe(true);
});

law("what is unconditional is so: neither facts nor counts nor time change it", (model, request) => {
  const decision = decide(model, request);
  if (!decision.unconditional) return;
  const policy = compile(model, fakeVocabulary);
  const later = { ...request, facts: facts({ "change.merged": true, "change.approvals": 2 }), now: openedAt };
  expect(policy.decide(later, { used: () => 1_000_000 })).toEqual(decision);
});

law("a denial is explained by a part that does not hold", (model, request) => {
  const { effect, closest } = decide(model, request);
  if (effect === "allow") expect(closest).toBeUndefined();
  if (closest === undefined) return;
  expect(closest.met).toBeLessThan(closest.of);
  expect(closest.failed).not.toBe("");
});

test("what nobody may name is not let through even where everything is only observed", () => {
  const barred = fc.constantFrom(
    ...[">", "*", "*.b", "$SYS.>", "$JS.API.INFO", "_INBOX.>", "_INBOX_0123456789abcdef.x", "_R_.x", "a..b", "", "a b"],
  );
  fc.assert(
    fc.property(
      policies,
      requests,
      barred,
      fc.constantFrom("pub", "sub", "req", "pull"),
      (model, request, subject, verb) => {
        const asked: AccessRequest = { ...request, target: "heard", operation: { kind: "nats", verb, subject } };
        fc.pre(verb !== "pull" || subject.split(".").length !== 2 || /[*>]/.test(subject));
        expect(passes(model, asked)).toBe(false);
      },
    ),
    { numRuns: 400 },
  );
});

test("nothing that can be sent makes it throw, or allows", () => {
  const text = fc.string({ unit: "binary" });
  const hostile = fc.oneof(
    fc.record({ kind: fc.constant("http"), method: text, host: text, path: text, stream: fc.anything() }),
    fc.record({ kind: fc.constant("nats"), verb: text, subject: text, queue: text }),
    fc.record({ kind: text, verb: text }),
    fc.anything(),
  );
  fc.assert(
    fc.property(policies, requests, hostile, text, fc.anything(), (model, request, operation, name, strange) => {
      const policy = compile(model, fakeVocabulary);
      const ask = (parts: object) => policy.decide({ ...request, ...parts } as AccessRequest, noCounts).effect;
      expect(ask({ operation, target: name })).toBe("deny");
      expect(["allow", "deny"]).toContain(ask({ operation }));
      expect(ask({ session: strange })).toBe("deny");
      expect(ask({ session: { ...request.session, identity: strange } })).toBe("deny");
      expect(["allow", "deny"]).toContain(ask({ facts: strange, narrowing: {} }));
    }),
    { numRuns: 200 },
  );
});
