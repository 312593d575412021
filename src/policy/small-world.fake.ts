import fc from "fast-check";
import type { AccessRequest } from "../core/decision.ts";
import type { JobIdentity } from "../core/identity.ts";
import type { DenyModel, PolicyModel, RoleModel, SelectorModel } from "./model.ts";
import { deny, facts, job, openedAt, place, policyModel, role, selector, session, target } from "./policy.fake.ts";

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
export const denies: fc.Arbitrary<readonly DenyModel[]> = fc.array(denyParts, { maxLength: 2 }).map((list) =>
  list.map(({ allow: byTarget, when: condition, audience: who, whole }, at) =>
    deny(`deny-${at}`, {
      for: who,
      when: condition,
      ...(whole === "yes" ? {} : { operations: byTarget as Record<string, string[]> }),
    }),
  ),
);
export const policies: fc.Arbitrary<PolicyModel> = fc.record({ roles, deny: denies }).map((parts) =>
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
export const requests: fc.Arbitrary<AccessRequest> = fc
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
