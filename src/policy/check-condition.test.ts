import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { factTable } from "../core/fact.ts";
import { checkCondition } from "./check-condition.ts";
import { conditionScope } from "./condition-scope.ts";
import { conditionTokens } from "./condition-tokens.ts";

test.each([
  { source: "change.merged && change.approvals >= 1", facts: ["change.approvals", "change.merged"] },
  { source: "true", facts: [] },
  { source: 'job.ref == "main" || job.ref.startsWith("release/")', facts: [] },
  { source: 'job.environment in ["production", "staging"]', facts: [] },
  { source: "!change.draft && !(change.state == 'closed')", facts: ["change.draft", "change.state"] },
  { source: 'request.method == "GET" && request.path.matches("^/v1/(a|b)$")', facts: [], readsRequest: true },
  { source: 'now < timestamp("2027-01-01T00:00:00Z")', facts: [], readsNow: true },
  { source: 'now.getHours("Europe/Berlin") in [9, 10, 11]', facts: [], readsNow: true },
  { source: '["a", "b"].exists(x, job.ref == x)', facts: [] },
  { source: '["a", "b"].exists_one(x, job.ref == x)', facts: [] },
  { source: '["a"].map(x, x + job.ref).filter(y, y != "b").size() > 0', facts: [] },
  {
    source: 'environment.protected ? approval.count >= 2 : environment.tier == "testing"',
    facts: ["approval.count", "environment.protected", "environment.tier"],
  },
  { source: "change.approvals > 1.5 && -change.iid < 0", facts: ["change.approvals", "change.iid"] },
  { source: "int(job.pipeline_id) % 2 == 0 && size(job.ref) < 20", facts: [] },
  { source: 'now - timestamp("2026-01-01T00:00:00Z") > duration("24h")', facts: [], readsNow: true },
  { source: "// only then\nchange.merged", facts: ["change.merged"] },
  { source: "[1, 2][0] == 1 && ([] == [1] || 1 in [])", facts: [] },
])("$source is a condition", ({ source, facts, readsRequest = false, readsNow = false }) => {
  expect(checkCondition(source)).toEqual({ ok: true, condition: { source, facts, readsRequest, readsNow } });
});

/** The part of a condition that is refused, as it is written. */
function refusals(source: string): string[] {
  const checked = checkCondition(source);
  if (checked.ok) return [];
  return checked.problems.map(({ code, at, length }) => `${code}: ${source.slice(at, at + length)}`);
}

test.each([
  { source: "", found: ["condition_syntax: "] },
  { source: "change", found: ["condition_types: change"] },
  { source: "change.merged == 1", found: ["condition_types: change.merged == 1"] },
  { source: 'change.approvals == "1"', found: ['condition_types: change.approvals == "1"'] },
  { source: "change.merged < true", found: ["condition_types: change.merged < true"] },
  { source: "change.aprovals >= 1", found: ["condition_unknown: aprovals"] },
  { source: "job.ref", found: ["condition_not_boolean: job.ref"] },
  { source: "job.ref && change.merged", found: ["condition_not_boolean: job.ref"] },
  { source: "!job.ref", found: ["condition_not_boolean: job.ref"] },
  { source: 'jobs.ref == "main"', found: ["condition_unknown: jobs"] },
  { source: 'job.ref.lower() == "main"', found: ["condition_unknown: lower"] },
  { source: 'lower(job.ref) == "main"', found: ["condition_unknown: lower"] },
  { source: 'job.ref.name == "main"', found: ["condition_unknown: name"] },
  { source: 'job["ref"] == "main"', found: ["condition_types: job"] },
  { source: "job.ref.startsWith(1)", found: ["condition_types: 1"] },
  { source: "startsWith(job.ref, 'a')", found: ["condition_types: startsWith(job.ref, 'a')"] },
  { source: "job.ref.size(1) == 1", found: ["condition_types: job.ref.size(1)"] },
  { source: "job.ref.matches(job.project)", found: ["condition_not_literal: job.project"] },
  { source: 'job.ref.matches("^a|b$")', found: ['regex_unanchored: "^a|b$"'] },
  { source: 'job.ref.matches("^a\\\\$")', found: ['regex_unanchored: "^a\\\\$"'] },
  { source: 'job.ref.matches("^(?m)a$")', found: ['regex_unanchored: "^(?m)a$"'] },
  { source: 'job.ref.matches("^[a-$")', found: ['regex_invalid: "^[a-$"'] },
  { source: 'now > duration("1h")', found: ['condition_types: now > duration("1h")'] },
  { source: "now > timestamp(job.ref)", found: ["condition_not_literal: job.ref"] },
  { source: 'duration("soon") > duration("1h")', found: ['condition_types: "soon"'] },
  { source: 'now.getHours("Mars/Base") == 1', found: ['condition_types: "Mars/Base"'] },
  { source: "now.merged", found: ["condition_unknown: merged"] },
  { source: "[1, 'a'] == [1]", found: ["condition_types: 'a'"] },
  { source: "change.merged ? 1 : 'a'", found: ["condition_types: change.merged ? 1 : 'a'"] },
  { source: "job.ref in 'main'", found: ["condition_types: job.ref in 'main'"] },
  { source: "[1].exists(change, change == 1)", found: ["condition_shadows: [1].exists(change, change == 1)"] },
  { source: "[1].exists(x, x)", found: ["condition_not_boolean: x"] },
  { source: "'abc'.exists(x, true)", found: ["condition_types: 'abc'"] },
  { source: "[1].all(a, [2].all(b, [3].all(c, true)))", found: ["condition_too_big: [3].all(c, true)"] },
  { source: "[1].all(1, true)", found: ["condition_unknown: all"] },
  { source: "has(change.merged)", found: ["condition_has: has(change.merged)"] },
  { source: "change.merged == null", found: ["condition_unsupported: null"] },
  { source: "b'a' == b'a'", found: ["condition_unsupported: b'a'", "condition_unsupported: b'a'"] },
  { source: "{'a': 1} == {'a': 1}", found: ["condition_unsupported: {'a': 1}", "condition_unsupported: {'a': 1}"] },
  { source: "99999999999999999999 > 1", found: ["condition_types: 99999999999999999999"] },
  { source: "change.iid = 1", found: ["condition_syntax: ="] },
  { source: "change.merged and change.draft", found: ["condition_syntax: and"] },
  { source: "change.merged &&", found: ["condition_syntax: &&"] },
  { source: "(change.merged", found: ["condition_syntax: ("] },
  { source: "change.merged)", found: ["condition_syntax: )"] },
  { source: "job.ref == 'main", found: ["condition_syntax: '"] },
  { source: "change.merged change.draft", found: ["condition_syntax: change"] },
  { source: "if == 1", found: ["condition_syntax: if"] },
  { source: "change.aproved && job.reff == 1", found: ["condition_unknown: aproved", "condition_unknown: reff"] },
  { source: "change.iid + job.ref == 1", found: ["condition_types: change.iid + job.ref"] },
  { source: "__proto__ == 1", found: ["condition_unknown: __proto__"] },
  { source: "change.constructor == 1", found: ["condition_unknown: constructor"] },
  { source: "toString() == 1", found: ["condition_unknown: toString"] },
])("$source is refused at $found", ({ source, found }) => expect(refusals(source)).toEqual(found));

describe("bounds", () => {
  test.each([
    { what: "4 KiB of text", source: `job.ref == "${"a".repeat(4096)}"` },
    { what: "brackets 25 deep", source: `${"(".repeat(25)}true${")".repeat(25)}` },
    { what: "501 parts", source: Array.from({ length: 251 }, () => "true").join("||") },
    { what: "a list of 65", source: `1 in [${Array.from({ length: 65 }, () => "1").join()}]` },
    { what: "a chain of thousands", source: `a${".b".repeat(2000)}` },
  ])("$what is too much", ({ source }) => {
    const checked = checkCondition(source);
    expect(checked.ok ? [] : checked.problems.map((problem) => problem.code)).toEqual(["condition_too_big"]);
  });

  test("24 brackets, 500 parts and two loops are not", () => {
    expect(refusals(`${"(".repeat(24)}true${")".repeat(24)}`)).toEqual([]);
    expect(refusals(Array.from({ length: 250 }, () => "true").join("||"))).toEqual([]);
    expect(refusals("[1].all(a, [2].all(b, a < b))")).toEqual([]);
  });
});

test("every fact of the table can be named, and has the type it says", () => {
  const samples = { bool: "true", int: "1", string: '"a"' } as const;
  for (const [name, { type }] of Object.entries(factTable)) {
    expect(refusals(`${name} == ${samples[type]}`), name).toEqual([]);
    expect(refusals(`${name} == now`), name).toEqual([`condition_types: ${name} == now`]);
  }
  expect([...conditionScope.keys()].sort()).toEqual(["approval", "change", "environment", "job", "request", "runner"]);
});

const word = fc.constantFrom(
  ...[
    "job",
    "change",
    "now",
    ".",
    "ref",
    "merged",
    "approvals",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ",",
    "?",
    ":",
    "&&",
    "||",
  ],
  ...[
    "!",
    "==",
    "<",
    ">=",
    "+",
    "-",
    "in",
    "1",
    "1.5",
    "'a'",
    '"b"',
    "true",
    "null",
    "x",
    ".all(x, ",
    ".map(x, ",
    "has(",
  ],
  ...["size(", "timestamp(", "matches(", "//", "\n", " ", "é", "😀", "'", '"', "\\", "`", "@", "r'", '"""', "0x", "1u"],
);

test("whatever is written, the answer is a condition or places inside what was written", () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.array(word, { maxLength: 40 }).map((words) => words.join("")),
      ),
      (source) => {
        const checked = checkCondition(source);
        if (checked.ok) return;
        expect(checked.problems.length).toBeGreaterThan(0);
        for (const { at, length } of checked.problems) {
          expect(at).toBeGreaterThanOrEqual(0);
          expect(at + length).toBeLessThanOrEqual(Math.max(1, source.length));
        }
      },
    ),
    { numRuns: 2000 },
  );
});

test("tokens cover everything but white space and comments, in order", () => {
  fc.assert(
    fc.property(
      fc.array(word).map((words) => words.join("")),
      (source) => {
        let end = 0;
        for (const token of conditionTokens(source)) {
          expect(token.start).toBeGreaterThanOrEqual(end);
          expect(source.slice(token.start, token.end)).toBe(token.text);
          end = token.end;
        }
      },
    ),
  );
});
