import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { JobIdentity } from "../core/identity.ts";
import { compileSelector, explainSelector, matchesSelector, type SelectorUse } from "./match-selector.ts";
import type { SelectorModel } from "./model.ts";
import { job, selector } from "./policy.fake.ts";
import { indexSelectors } from "./selector-index.ts";
import { fakeVocabulary } from "./vocabulary.fake.ts";

const matches = (model: SelectorModel, identity: JobIdentity, use: SelectorUse = "role") =>
  matchesSelector(compileSelector(model), identity, use, fakeVocabulary);
const withAttributes = (attributes: JobIdentity["attributes"]) => job({ attributes });
const caused = job({
  cause: { event: "deploy", session: "ses_0000000000000002", job: "gitlab/7", project: "acme/image", depth: 1 },
});

describe("in a role, a selector matches", () => {
  test.each([
    ["an exact value", selector({ project: "acme/shop" }), job()],
    ["one of several", selector({ project: ["acme/other", "acme/shop"] }), job()],
    ["a glob within a segment", selector({ project: "acme/sh*" }), job()],
    ["a glob across segments", selector({ project: "acme/**" }), job()],
    ["any value of an `any` list", selector({ group: "acme" }), withAttributes({ group: ["x", "acme"] })],
    ["a boolean", selector({ ref_protected: true }), withAttributes({ ref_protected: true })],
    ["by the issuer's type", selector({ project: "acme/shop" }), job({ issuer: "gitlab-eu" })],
    ["a fork, with fork: true", selector({ project: "acme/shop" }, { fork: true }), job({ fork: "yes" })],
    ["no fork, with fork: true", selector({ project: "acme/shop" }, { fork: true }), job()],
    ["a job, with kind: agent", selector({ project: "acme/shop" }, { kind: "agent" }), job()],
    ["an agent, with kind: agent", selector({ project: "acme/shop" }, { kind: "agent" }), job({ kind: "agent" })],
    ["an event, with caused_by", selector({ project: "acme/shop" }, { causedBy: ["x", "deploy"] }), caused],
    ["any event, with caused_by: *", selector({ project: "acme/shop" }, { causedBy: ["*"] }), caused],
  ])("%s", (_, model, identity) => {
    expect(matches(model, identity)).toBe(true);
  });
});

describe("in a role, a selector does not match", () => {
  test.each([
    ["a value that begins alike", selector({ project: "acme/shop" }), withAttributes({ project: ["acme/shop-evil"] })],
    ["a glob's one segment as two", selector({ project: "acme/*" }), withAttributes({ project: ["acme/a/b"] })],
    ["another case", selector({ project: "acme/shop" }), withAttributes({ project: ["Acme/Shop"] })],
    [
      "one of two projects",
      selector({ project: "acme/shop" }),
      withAttributes({ project: ["acme/shop", "evil/shop"] }),
    ],
    ["an absent claim", selector({ project: "acme/shop", environment: "production" }), job()],
    ["an empty list", selector({ project: "**" }), withAttributes({ project: [] })],
    ["an absent boolean said false", selector({ ref_protected: false }), withAttributes({})],
    ["a boolean as text", selector({ ref_protected: "true" }), withAttributes({ ref_protected: true })],
    ["a claim of every object", selector({ constructor: "x" }), withAttributes({})],
    ["another issuer", selector({ project: "acme/shop" }, { issuer: "buildkite" }), job()],
    ["another issuer of the type", selector({ project: "acme/shop" }, { issuer: "gitlab-us" }), job()],
    ["a fork", selector({ project: "acme/shop" }), job({ fork: "yes" })],
    ["a job that may be a fork", selector({ project: "acme/shop" }), job({ fork: "unknown" })],
    ["an agent, unless it says so", selector({ project: "acme/shop" }), job({ kind: "agent" })],
    ["a person, unless it says so", selector({ project: "acme/shop" }), job({ kind: "person" })],
    ["a person, with kind: agent", selector({ project: "acme/shop" }, { kind: "agent" }), job({ kind: "person" })],
    ["a job, with kind: person", selector({ project: "acme/shop" }, { kind: "person" }), job()],
    ["no event, with caused_by", selector({ project: "acme/shop" }, { causedBy: ["deploy"] }), job()],
    ["no event, with caused_by: *", selector({ project: "acme/shop" }, { causedBy: ["*"] }), job()],
    ["an event, without caused_by", selector({ project: "acme/shop" }), caused],
    ["another event", selector({ project: "acme/shop" }, { causedBy: ["deploy-all", "deplo", "dep*"] }), caused],
    ["an event, with caused_by of nothing", selector({ project: "acme/shop" }, { causedBy: [] }), caused],
    [
      "a claim that calls itself a cause",
      selector({ project: "acme/shop" }, { causedBy: ["deploy"] }),
      withAttributes({ project: ["acme/shop"], caused_by: "deploy" }),
    ],
  ])("%s", (_, model, identity) => {
    expect(matches(model, identity)).toBe(false);
  });
});

describe("in a deny, a selector matches what is absent or unknown", () => {
  test.each([
    ["an absent claim", selector({ environment: "production" }), job()],
    ["an empty list", selector({ project: "acme/shop" }), withAttributes({ project: [] })],
    [
      "one of two projects",
      selector({ project: "acme/shop" }),
      withAttributes({ project: ["acme/shop", "evil/shop"] }),
    ],
    ["a job that may be no fork", selector({}, { fork: false }), job({ fork: "unknown" })],
    ["a fork", selector({ project: "acme/shop" }, { fork: true }), job({ fork: "yes" })],
    ["an agent", selector({ project: "acme/shop" }), job({ kind: "agent" })],
    ["any issuer where it names none", selector({}, { anyIssuer: true }), job({ issuerType: "buildkite" })],
    ["an event's job, without caused_by", selector({ project: "acme/shop" }), caused],
    ["an event's job, with caused_by", selector({}, { causedBy: ["deploy"] }), caused],
    ["any event's job, with caused_by: *", selector({}, { causedBy: ["*"] }), caused],
  ])("%s", (_, model, identity) => {
    expect(matches(model, identity, "deny")).toBe(true);
  });

  test.each([
    ["another value", selector({ project: "acme/other" }), job()],
    ["another issuer, whatever is absent", selector({ step: "x" }, { issuer: "buildkite" }), job()],
    ["a fork, with fork: false", selector({}, { fork: false }), job({ fork: "yes" })],
    ["a person, with kind: agent", selector({}, { kind: "agent" }), job({ kind: "person" })],
    ["a job that no event caused: that is known", selector({}, { causedBy: ["deploy"] }), job()],
    ["a job that another event caused", selector({}, { causedBy: ["other"] }), caused],
  ])("and not %s", (_, model, identity) => {
    expect(matches(model, identity, "deny")).toBe(false);
  });
});

test("the nearest miss is told by its first part in field order, with the job's own value", () => {
  const model = compileSelector(selector({ project: "acme/shop", step: "x", ref: ["main", "release/*"] }));
  const identity = withAttributes({ project: ["acme/shop"], ref: "feature/x" });
  expect(explainSelector(model, identity, fakeVocabulary)).toEqual({
    met: 1,
    of: 3,
    failed: "ref: [main, release/*]",
    found: "feature/x",
  });
});

test.each([
  [selector({ project: "acme/shop" }, { causedBy: ["other"] }), caused, "caused_by: other", "deploy"],
  [selector({ project: "acme/shop" }), caused, "caused_by: deploy", "deploy"],
  [selector({ project: "acme/shop" }, { causedBy: ["deploy"] }), job(), "caused_by: deploy", "no event"],
])("a cause that does not fit is what failed", (model, identity, failed, found) => {
  expect(explainSelector(compileSelector(model), identity, fakeVocabulary)).toMatchObject({
    met: 1,
    of: 2,
    failed,
    found,
  });
});

const word = fc.constantFrom("a", "b", "a/b", "b/a", "a/b/c");
const glob = fc.constantFrom("a/*", "a/**", "**", "*/b", "a*");
const values = fc.array(fc.oneof(word, glob), { minLength: 1, maxLength: 3 });
const clauses = fc.dictionary(fc.constantFrom("project", "group", "ref", "environment", "ref_protected"), values, {
  maxKeys: 3,
});
const model = fc.tuple(clauses, fc.boolean()).map(([by, anyIssuer]) => selector(by, { anyIssuer, fork: true }));
const list = fc.array(word, { maxLength: 2 });
const identity = fc
  .record(
    { project: list, group: list, ref: word, environment: word, ref_protected: fc.boolean() },
    { requiredKeys: [] },
  )
  .map(withAttributes);

test.each(["role", "deny"] as const)("the index finds every selector of a %s that matches", (use) => {
  fc.assert(
    fc.property(fc.array(model, { maxLength: 12 }), identity, (models, who) => {
      const entries = models.map((one, rule) => ({ selector: compileSelector(one), rule }));
      const found = [...indexSelectors(entries, use, fakeVocabulary).candidates(who)];
      const match = (entry: (typeof entries)[number]) => matchesSelector(entry.selector, who, use, fakeVocabulary);
      expect(
        found
          .filter(match)
          .map(({ rule }) => rule)
          .toSorted(),
      ).toEqual(
        entries
          .filter(match)
          .map(({ rule }) => rule)
          .toSorted(),
      );
      expect(new Set(found).size).toBe(found.length);
    }),
    { numRuns: 500 },
  );
});

test("among thousands of projects, a job's own selectors are all the index offers", () => {
  const entries = Array.from({ length: 5000 }, (_, at) => ({
    selector: compileSelector(selector({ group: "acme", project: `acme/p${at}`, environment: "production" })),
    rule: at,
  }));
  const index = indexSelectors(entries, "role", fakeVocabulary);
  const who = withAttributes({ group: ["acme"], project: ["acme/p42"], environment: "production" });
  expect([...index.candidates(who)].map(({ rule }) => rule)).toEqual([42]);
});
