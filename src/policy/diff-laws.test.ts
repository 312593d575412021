import fc from "fast-check";
import { expect, test } from "vitest";
import { type AccessRequest, noCounts } from "../core/decision.ts";
import { parsePath } from "../core/path.ts";
import { compile } from "./compile.ts";
import type { Issuers } from "./covers-selector.ts";
import { type Change, diffPolicies } from "./diff.ts";
import { askedTokens, coversTokens, fillNats } from "./match-nats.ts";
import { addPattern, httpEnd, matchHttp, segmentTrie } from "./match-path.ts";
import { compileSelector, matchesSelector } from "./match-selector.ts";
import type { OperationModel, PolicyModel } from "./model.ts";
import { job, openedAt, session } from "./policy.fake.ts";
import { unitsOf } from "./rights.ts";
import { denies, policies, requests } from "./small-world.fake.ts";
import { fakeVocabulary } from "./vocabulary.fake.ts";

const issuers: Issuers = { types: new Map([["gitlab", "gitlab"]]), vocabulary: fakeVocabulary };
const diff = (before: PolicyModel, after: PolicyModel) => diffPolicies(before, after, issuers);

/** What a gateway lets through: an allow, or whatever is observed. */
function passing(model: PolicyModel): (request: AccessRequest) => boolean {
  const policy = compile(model, fakeVocabulary);
  return (request) => {
    const { effect, mode } = policy.decide(request, noCounts);
    return effect === "allow" || mode === "observe";
  };
}

/** As a gateway asks: by a host of the target. */
const asked = requests.map((request): AccessRequest => {
  const { operation, target } = request;
  if (operation.kind !== "http") return request;
  return { ...request, operation: { ...operation, host: `${target}.internal` } };
});

/** Whether a change is about this request: its job, its address, its operation. */
function isAbout({ right }: Change, model: PolicyModel, request: AccessRequest): boolean {
  const target = model.targets.find(({ name }) => name === request.target);
  if (target === undefined || !unitsOf(target).includes(right.unit)) return false;
  if (right.who && !matchesSelector(compileSelector(right.who), request.session.identity, "role", fakeVocabulary))
    return false;
  return matchesOperation(right.operation, request);
}

function matchesOperation(allowed: OperationModel, { operation, session: { identity } }: AccessRequest): boolean {
  if (allowed.kind === "verb") return allowed.verb === "anything" || operation.kind === "verb";
  if (allowed.kind === "nats") {
    const tokens = operation.kind === "nats" ? askedTokens(operation) : undefined;
    const filled = fillNats(allowed.pattern, identity.variables);
    return tokens !== undefined && coversTokens(filled.tokens, tokens);
  }
  if (operation.kind !== "http") return false;
  const path = parsePath(operation.path, "refuse");
  if (!path.ok) return allowed.pattern.source === "* /**"; // what is observed passes however it is spelled
  const trie = segmentTrie<ReturnType<typeof httpEnd>>();
  const segments = allowed.pattern.segments.map((segment) =>
    segment.kind === "template" ? ({ kind: "param", name: "" } as const) : segment,
  );
  addPattern(trie, segments, httpEnd(allowed.pattern));
  return matchHttp(trie, operation.method, path).length > 0;
}

/** A policy and one that was edited a little: what merge requests do. */
const edited = fc
  .tuple(policies, policies, fc.nat({ max: 30 }))
  .map(([before, other, choice]): readonly [PolicyModel, PolicyModel] => {
    if (choice < 10) return [before, other];
    const roles = before.roles.filter((_, at) => at !== choice % 5);
    const extra = other.roles
      .slice(0, choice % 3)
      .map((role) => ({ ...role, id: `${role.id}-new`, name: `${role.id}-new` }));
    const deny = choice % 2 === 0 ? before.deny : [...before.deny.slice(1), ...other.deny.slice(0, 1)];
    const targets = choice % 7 === 0 ? other.targets : before.targets;
    return [before, { ...before, roles: [...roles, ...extra], deny, targets }];
  });

test("whoever may do what they could not is among the gains, and whoever no longer may among the losses", () => {
  const list = fc.sample(asked, { numRuns: 600, seed: 5 });
  let met = 0;
  fc.assert(
    fc.property(edited, ([before, after]) => {
      const found = diff(before, after);
      const [old, fresh] = [passing(before), passing(after)];
      for (const request of list) {
        const now = fresh(request);
        if (old(request) === now) continue;
        met++;
        const [changes, model] = now ? [found.gains, after] : [found.losses, before];
        expect(changes.some((change) => isAbout(change, model, request))).toBe(true);
      }
    }),
    { numRuns: 150 },
  );
  expect(met).toBeGreaterThan(500);
}, 60_000);

test("a policy differs in nothing from itself, nor from itself in other words and another order", () => {
  fc.assert(
    fc.property(policies, (model) => {
      const nothing = { gains: [], losses: [], unpinned: [], pinned: [] };
      expect(diff(model, model)).toEqual(nothing);
      const other: PolicyModel = {
        ...model,
        targets: model.targets.toReversed(),
        roles: model.roles
          .map((one) => ({
            ...one,
            id: `${one.id}-renamed`,
            name: `${one.name}-renamed`,
            for: one.for.toReversed().map((who) => ({ ...who, name: "renamed", clauses: who.clauses.toReversed() })),
          }))
          .toReversed(),
        deny: model.deny.map((one, at) => ({ ...one, id: `renamed-${at}`, for: one.for.toReversed() })).toReversed(),
      };
      expect(diff(model, other)).toEqual(nothing);
    }),
  );
});

test("what one direction gains the other loses", () => {
  fc.assert(
    fc.property(edited, ([before, after]) => {
      const [there, back] = [diff(before, after), diff(after, before)];
      expect(back).toEqual({
        gains: there.losses,
        losses: there.gains,
        unpinned: there.pinned,
        pinned: there.unpinned,
      });
    }),
  );
});

test("a deny more is never a gain, a role less neither, and a role more never a loss", () => {
  fc.assert(
    fc.property(policies, denies, (model, extra) => {
      const denied = { ...model, deny: [...model.deny, ...extra.map((one, at) => ({ ...one, id: `extra-${at}` }))] };
      expect(diff(model, denied).gains).toEqual([]);
      expect(diff(denied, model).losses).toEqual([]);
      for (const gone of model.roles) {
        const less = { ...model, roles: model.roles.filter((one) => one !== gone) };
        expect(diff(model, less).gains).toEqual([]);
        expect(diff(less, model).losses).toEqual([]);
      }
    }),
  );
});

/** Where each gain must show: policies of one HTTP target that only selectors and patterns decide, and every kind of request. */
const plain = policies.map((model) => ({
  ...model,
  deny: [],
  targets: model.targets.filter(({ name }) => name === "billing"),
  roles: model.roles.map(({ when: _when, limit: _limit, ...role }) => ({
    ...role,
    mode: "enforce" as const,
    allow: Object.fromEntries(Object.entries(role.allow).filter(([name]) => name === "billing")),
    for: role.for.map(({ kind: _kind, ...who }) => who),
  })),
}));
const everything: readonly AccessRequest[] = ["acme/shop", "acme/other", "acme/new", "evil/shop", "x/y/z"].flatMap(
  (project) =>
    [undefined, "main", "develop", "feature"].flatMap((ref) =>
      (["no", "yes"] as const).flatMap((fork) => {
        const attributes = { project: [project], ...(ref === undefined ? {} : { ref }) };
        const variables = { "job.project_id": "1042", "job.ref_slug": "slug" };
        const identity = job({ project: { id: "1042", path: project }, fork, attributes, variables });
        return ["/", "/a", "/a/b", "/a/new", "/new", "/new/b", "/x/y/z", "/1042", "/slug"].flatMap((path) =>
          ["GET", "POST", "PUT"].flatMap((method) =>
            [false, true].map((stream) => {
              const operation = { kind: "http", method, host: "billing.internal", path, stream } as const;
              const now = openedAt;
              return { session: session(identity), target: "billing", operation, narrowing: {}, facts: {}, now };
            }),
          ),
        );
      }),
    ),
);

test("where nothing but who and what decides, each gain is somebody's who could not before", () => {
  fc.assert(
    fc.property(plain, plain, (before, after) => {
      const [old, fresh] = [compile(before, fakeVocabulary), compile(after, fakeVocabulary)];
      const gained = everything.filter(
        (request) =>
          fresh.decide(request, noCounts).effect === "allow" && old.decide(request, noCounts).effect === "deny",
      );
      for (const change of diff(before, after).gains) {
        expect(gained.some((request) => isAbout(change, after, request))).toBe(true);
      }
    }),
    { numRuns: 60 },
  );
});
