import fc from "fast-check";
import { expect, test } from "vitest";
import { type AccessRequest, type Decision, noCounts } from "../core/decision.ts";
import { compile } from "./compile.ts";
import type { PolicyModel } from "./model.ts";
import { facts, openedAt } from "./policy.fake.ts";
import { denies, policies, requests } from "./small-world.fake.ts";
import { fakeVocabulary } from "./vocabulary.fake.ts";

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
