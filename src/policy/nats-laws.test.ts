import fc from "fast-check";
import { expect, test } from "vitest";
import { noCounts } from "../core/decision.ts";
import type { Facts } from "../core/fact.ts";
import type { JobIdentity } from "../core/identity.ts";
import type { NatsOperation } from "../core/target.ts";
import { compile } from "./compile.ts";
import { coversTokens } from "./match-nats.ts";
import type { PolicyModel } from "./model.ts";
import { deny, facts, job, openedAt, policyModel, role, selector, session, target } from "./policy.fake.ts";
import type { NatsConsumer, NatsRights, Policy } from "./policy.ts";
import { fakeVocabulary } from "./vocabulary.fake.ts";

// A small world, so that patterns and subjects meet often.
const patternToken = fc.constantFrom("a", "a", "b", "*", "${job.project_id}", "${environment.name}", "${job.ref_slug}");
const subjects = fc
  .tuple(fc.constantFrom("a", "b", "${environment.name}"), fc.array(patternToken, { maxLength: 2 }), fc.boolean())
  .map(([first, tokens, rest]) => [first, ...tokens, ...(rest ? [">"] : [])].join("."));
const consumers = fc
  .tuple(fc.constantFrom("S", "T", "*"), fc.constantFrom("c", "d", "*", "${job.project_id}"))
  .map(([stream, consumer]) => `${stream}.${consumer}`);
const patterns = fc.oneof(
  fc.tuple(fc.constantFrom("pub", "req", "sub"), subjects).map(([verb, subject]) => `${verb} ${subject}`),
  subjects.map((subject) => `sub ${subject} q`),
  consumers.map((consumer) => `pull ${consumer}`),
);
const operations = fc.array(patterns, { minLength: 1, maxLength: 4 });
const when = fc.constantFrom(
  ...[undefined, undefined, "change.merged", "!change.merged", "job.nope"],
  ...['request.subject == "a.b"', 'change.merged || request.method == "sub"'],
);
const kind = fc.constantFrom(undefined, undefined, "agent" as const);
const selectorOf = (who: "agent" | undefined) =>
  selector({ project: "acme/*" }, who === undefined ? {} : { kind: who });
const limit = { max: 1, windowMs: 1000, per: "role", scope: "global" } as const;

const roles = fc
  .array(fc.record({ operations, when, kind, limited: fc.nat(4), observed: fc.nat(3) }), { maxLength: 4 })
  .map((list) =>
    list.map((one, at) =>
      role(
        `role-${at}`,
        { events: one.operations },
        {
          for: [selectorOf(one.kind)],
          when: one.when,
          mode: one.observed === 0 ? "observe" : "enforce",
          ...(one.limited === 0 ? { limit } : {}),
        },
      ),
    ),
  );
const denies = fc.array(fc.record({ operations, when, kind, whole: fc.nat(5) }), { maxLength: 3 }).map((list) =>
  list.map((one, at) =>
    deny(`deny-${at}`, {
      for: [{ ...selectorOf(one.kind), fork: true }],
      when: one.when,
      ...(one.whole === 0 ? {} : { operations: { events: one.operations } }),
    }),
  ),
);
const policies: fc.Arbitrary<PolicyModel> = fc
  .record({ roles, deny: denies })
  .map((parts) => policyModel({ ...parts, targets: [target("events", "nats")] }));
const identities: fc.Arbitrary<JobIdentity> = fc
  .record({ kind: fc.constantFrom("job", "job", "agent"), environment: fc.constantFrom("a", "_INBOX_x", "b.c", "") })
  .map(({ kind: who, environment }) =>
    job({ kind: who, variables: { "job.project_id": "b", "environment.name": environment } }),
  );
const known = fc
  .constantFrom<Record<string, boolean>>({}, { "change.merged": true }, { "change.merged": false })
  .map((values) => facts(values));

/** Every subject of up to three tokens, and every consumer of two streams. */
const grow = (tokens: readonly string[]): string[] =>
  tokens.length > 2 ? [tokens.join(".")] : [tokens.join("."), ...["a", "b"].flatMap((next) => grow([...tokens, next]))];
const world = ["a", "b", "_INBOX_x"].flatMap((first) => grow([first]));
const wildcards = ["a.>", "a.*", "b.>", "a.*.b", "a.b.>", "_INBOX_x.>", "*.b", ">"];
const fetched = ["S", "T"].flatMap((stream) => ["b", "c", "d"].map((consumer) => `${stream}.${consumer}`));
const everything: readonly NatsOperation[] = [
  ...world.flatMap((subject) =>
    (["pub", "req", "sub"] as const).map((verb) => ({ kind: "nats" as const, verb, subject })),
  ),
  ...[...world, ...wildcards].map((subject) => ({ kind: "nats" as const, verb: "sub" as const, subject, queue: "q" })),
  ...wildcards.map((subject) => ({ kind: "nats" as const, verb: "sub" as const, subject })),
  ...fetched.map((subject) => ({ kind: "nats" as const, verb: "pull" as const, subject })),
];

const covers = (pattern: string, subject: string) => coversTokens(pattern.split("."), subject.split("."));
const nameOf = ({ stream, consumer }: NatsConsumer) => `${stream}.${consumer}`;

/** As a server reads the rights it was told. */
function grants(rights: NatsRights, { verb, subject, queue }: NatsOperation): boolean {
  if (verb === "sub") {
    return rights.sub.some((one) => (one.queue === undefined || one.queue === queue) && covers(one.subject, subject));
  }
  return (verb === "pull" ? rights.pull.map(nameOf) : rights[verb]).some((pattern) => covers(pattern, subject));
}

const now = openedAt + 1000;
const decide = (policy: Policy, identity: JobIdentity, operation: NatsOperation, given: Facts) =>
  policy.decide(
    { session: session(identity), narrowing: {}, target: "events", operation, facts: given, now },
    noCounts,
  );

const law = (name: string, property: (policy: Policy, identity: JobIdentity, given: Facts) => void) =>
  test(name, () => {
    fc.assert(
      fc.property(policies, identities, known, (model, identity, given) => {
        property(compile(model, fakeVocabulary), identity, given);
      }),
      { numRuns: 200 },
    );
  });

law("whatever a gateway lets through is within what the server was told", (policy, identity, given) => {
  const rights = policy.natsRights(identity, "events");
  for (const operation of everything) {
    const { effect, mode } = decide(policy, identity, operation, given);
    if (effect === "allow" || mode === "observe")
      expect([operation, grants(rights, operation)]).toEqual([operation, true]);
  }
});

law("what the server alone would let through now, the decision allows now", (policy, identity, given) => {
  const rights = policy.natsRightsNow(identity, "events", given, now);
  const taken = {
    pub: rights.deny.pub,
    req: rights.deny.pub,
    sub: rights.deny.sub,
    pull: rights.deny.pull.map(nameOf),
  };
  for (const operation of everything) {
    // Of a subscription by wildcard a server keeps back what is denied, message by message.
    if (/[*>]/.test(operation.subject) || !grants(rights, operation)) continue;
    if (taken[operation.verb].some((pattern) => covers(pattern, operation.subject))) continue;
    expect([operation, decide(policy, identity, operation, given).effect]).toEqual([operation, "allow"]);
  }
});

law("what is so now is within what may ever be", (policy, identity, given) => {
  const ever = policy.natsRights(identity, "events");
  const rights = policy.natsRightsNow(identity, "events", given, now);
  for (const operation of everything) {
    if (grants(rights, operation)) expect([operation, grants(ever, operation)]).toEqual([operation, true]);
  }
  expect(ever.roles).toEqual(expect.arrayContaining([...rights.roles]));
});

test("the small world has both: much that a server grants, and much that it does not", () => {
  let [granted, atOnce, refused, taken] = [0, 0, 0, 0];
  for (const [model, identity, given] of fc.sample(fc.tuple(policies, identities, known), { numRuns: 300, seed: 7 })) {
    const policy = compile(model, fakeVocabulary);
    const rights = policy.natsRightsNow(identity, "events", given, now);
    if (rights.deny.pub.length + rights.deny.sub.length + rights.deny.pull.length > 0) taken++;
    for (const operation of everything) {
      if (grants(rights, operation)) atOnce++;
      if (grants(policy.natsRights(identity, "events"), operation)) granted++;
      else refused++;
    }
  }
  expect(Math.min(granted, atOnce, refused)).toBeGreaterThan(100);
  expect(granted).toBeGreaterThan(atOnce);
  expect(taken).toBeGreaterThan(10);
});

test("no first token that nobody may name is ever told to a server", () => {
  fc.assert(
    fc.property(policies, known, fc.string(), (model, given, name) => {
      const identity = job({ variables: { "environment.name": name, "job.project_id": name, "job.ref_slug": name } });
      const policy = compile(model, fakeVocabulary);
      for (const rights of [
        policy.natsRights(identity, "events"),
        policy.natsRightsNow(identity, "events", given, now),
      ]) {
        const told = [...rights.pub, ...rights.req, ...rights.sub.map(({ subject }) => subject)];
        for (const subject of told) expect(subject).not.toMatch(/^([$>]|_INBOX|_G?R_|wayleave)/i);
      }
    }),
  );
});

test("renaming what keeps its id, and any other order, change no byte of what a server is told", () => {
  fc.assert(
    fc.property(policies, identities, known, (model, identity, given) => {
      const turned: PolicyModel = {
        ...model,
        roles: model.roles.toReversed().map((one) => ({
          ...one,
          name: `${one.name}-renamed`,
          allow: { events: (one.allow.events ?? []).toReversed() },
        })),
        deny: model.deny.toReversed(),
      };
      const told = (one: PolicyModel) => {
        const policy = compile(one, fakeVocabulary);
        const rights = [policy.natsRights(identity, "events"), policy.natsRightsNow(identity, "events", given, now)];
        return JSON.stringify(rights);
      };
      expect(told(turned)).toBe(told(model));
    }),
    { numRuns: 200 },
  );
});

test("adding a deny never gives a server more, now or ever", () => {
  fc.assert(
    fc.property(policies, denies, identities, known, (model, extra, identity, given) => {
      const more = { ...model, deny: [...model.deny, ...extra.map((one, at) => ({ ...one, id: `extra-${at}` }))] };
      const [before, after] = [model, more].map((one) => compile(one, fakeVocabulary));
      if (before === undefined || after === undefined) return;
      const [wide, narrow] = [before, after].map((one) => one.natsRightsNow(identity, "events", given, now));
      if (wide === undefined || narrow === undefined) return;
      for (const operation of everything) if (grants(narrow, operation)) expect(grants(wide, operation)).toBe(true);
      expect(after.natsRights(identity, "events")).toEqual(before.natsRights(identity, "events"));
    }),
    { numRuns: 200 },
  );
});
