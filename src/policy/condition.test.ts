import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type FactValue, factTable } from "../core/fact.ts";
import { checkCondition } from "./check-condition.ts";
import {
  type ConditionInput,
  compileCondition,
  evaluateCondition,
  factUses,
  foundValues,
  jobValues,
} from "./condition.ts";
import { jobFields } from "./condition-scope.ts";
import { condition, facts, job, openedAt } from "./policy.fake.ts";

const input = (values: Readonly<Record<string, FactValue>>, parts: Partial<ConditionInput> = {}): ConditionInput => ({
  job: jobValues(job(), "job"),
  target: "billing",
  operation: { kind: "http", method: "POST", host: "billing.internal", path: "/v1/releases", stream: false },
  facts: facts(values),
  now: openedAt + 1000,
  ...parts,
});

const evaluate = (source: string, values: Readonly<Record<string, FactValue>> = {}, parts = {}) =>
  evaluateCondition(compileCondition(condition(source)), input(values, parts), undefined);

describe("of what NATS is asked, a condition knows", () => {
  const operation = { kind: "nats", verb: "sub", subject: "deploy.events.*", queue: "workers" } as const;

  test.each([
    ["true", 'request.method == "sub" && request.subject.startsWith("deploy.") && request.queue == "workers"'],
    ["true", 'request.subject == "deploy.events.*" && request.target == "billing"'],
    ["false", 'request.queue in ["others"]'],
    ["error", 'request.path == "deploy.events.*"'],
    ["error", 'request.host == ""'],
  ])("%s: %s", (verdict, source) => {
    expect(evaluate(source, {}, { operation }).verdict).toBe(verdict);
  });

  test("no queue group where there is none, and no subject of what is not NATS", () => {
    const { queue: _, ...alone } = operation;
    expect(evaluate('request.queue == "workers"', {}, { operation: alone }).verdict).toBe("error");
    expect(evaluate('request.queue != "workers"', {}, { operation: alone }).verdict).toBe("error");
    expect(evaluate('request.subject == "/"').verdict).toBe("error");
    expect(evaluate("request.subject", {}, { operation }).verdict).toBe("error");
  });
});

describe("a condition is", () => {
  test.each([
    ["true", "change.merged && change.approvals >= 1", { "change.merged": true, "change.approvals": 1 }],
    ["false", "change.merged && change.approvals >= 2", { "change.merged": true, "change.approvals": 1 }],
    ["true", 'job.ref == "main" && job.project == "acme/shop"', {}],
    ["false", 'job.ref in ["release", "develop"]', {}],
    ["true", 'request.method == "POST" && request.path.startsWith("/v1/")', {}],
    ["true", 'request.target == "billing" && request.host == "billing.internal"', {}],
    ["true", 'now > timestamp("1970-01-01T00:16:40Z")', {}],
    ["false", 'now > timestamp("2026-01-01T00:00:00Z")', {}],
    ["true", 'change.merged || change.state == "opened"', { "change.merged": true }],
    ["false", "change.merged && change.approvals >= 1", { "change.merged": false }],
    ["true", "[1, 2, 3].exists(n, n == change.approvals)", { "change.approvals": 2 }],
    ["missing", "change.merged", {}],
    ["missing", "!change.merged", {}],
    ["missing", "change.merged && change.approvals >= 1", { "change.merged": true }],
    ["missing", 'change.merged || job.ref == "develop"', {}],
    ["missing", "change.merged ? true : true", {}],
    ["missing", "[change.merged].size() > 0", {}],
    ["error", 'job.environment_tier == "x"', {}],
    ["error", "job.kind", {}],
    ["error", 'change.state == "opened" && job.nope', { "change.state": "opened" }],
    ["error", "1 / 0 == 1", {}],
    ["error", "this is not CEL", {}],
    ["error", "", {}],
  ] as const)("%s: %s with %j", (verdict, source, values) => {
    expect(evaluate(source, values).verdict).toBe(verdict);
  });

  test.each(["has(change.merged)", "!has(change.merged)", 'change["merged"]', "change == {}", "size(change) == 0"])(
    "never true and never false where it looks at a variable as a whole: %s",
    (source) => {
      expect(["missing", "error"]).toContain(evaluate(source).verdict);
      expect(evaluate(source, { "change.merged": true }).verdict).toBe("error");
    },
  );

  test("missing by the first missing fact of the first part that needs one", () => {
    const source = 'job.ref == "main" && change.approvals >= 1 && change.merged';
    expect(evaluate(source, { "change.merged": true })).toMatchObject({
      verdict: "missing",
      missing: "change.approvals",
    });
  });

  test("missing from the moment a fact is stale", () => {
    const at = (now: number) => evaluate("change.merged", { "change.merged": true }, { now }).verdict;
    expect(at(openedAt + 59_999)).toBe("true");
    expect(at(openedAt + 60_000)).toBe("missing");
  });

  test("not fooled by facts that are no own property", () => {
    const inherited = Object.create(facts({ "change.merged": true }));
    expect(evaluate("change.merged", {}, { facts: inherited }).verdict).toBe("missing");
  });
});

test("a claim that names two projects is no project", () => {
  const two = job({ attributes: { project: ["acme/shop", "evil/shop"] } });
  expect(evaluate('job.project == "acme/shop"', {}, { job: jobValues(two, "job") }).verdict).toBe("error");
});

test("job offers what the checker promises", () => {
  const attributes = { ref_protected: true, source: "push" };
  const whole = job({ attributes, triggeredBy: { id: "9" } });
  expect(Object.keys(jobValues(whole, "agent")).toSorted()).toEqual(Object.keys(jobFields).toSorted());
});

test("conjuncts are told apart, brackets or not", () => {
  const { conjuncts } = compileCondition(condition('a.b && (change.merged && (job.ref == "x" || job.ref == "y"))'));
  expect(conjuncts.map(({ source }) => source)).toEqual(["a.b", "change.merged", 'job.ref == "x" || job.ref == "y"']);
  expect(conjuncts[2]?.reads).toEqual(["job.ref"]);
});

test("what is read is what the checker says is read", () => {
  const source =
    'change.approvals >= 1 && [1].all(x, x == change.iid) && request.method == "GET" && now > timestamp("2026-01-01T00:00:00Z")';
  const checked = checkCondition(source);
  const compiled = compileCondition(condition(source));
  expect(checked.ok && checked.condition.facts).toEqual([...compiled.facts].sort());
  expect(compiled.changing).toBe(true);
});

test.each([
  ["change.approvals >= 2", { "change.approvals": 1 }, "1"],
  ["change.state == job.ref", { "change.state": "opened" }, "change.state is opened, job.ref is main"],
  ["change.merged", {}, undefined],
] as const)("found in %s", (source, values, found) => {
  const [conjunct] = compileCondition(condition(source)).conjuncts;
  expect(conjunct && foundValues(conjunct, input(values))).toBe(found);
});

test("facts are recorded by name with their age, and only the live ones", () => {
  const some = {
    ...facts({ "change.merged": true, "change.iid": 77 }),
    "change.state": { value: "x", observedAt: 0, staleAt: 1 },
  };
  expect(factUses(["change.state", "change.merged", "change.iid", "change.merged"], some, openedAt + 4000)).toEqual([
    { name: "change.iid", value: 77, ageMs: 4000 },
    { name: "change.merged", value: true, ageMs: 4000 },
  ]);
});

// Conditions out of parts whose value can be known, missing or wrong.
const atom = fc.constantFrom(
  "change.merged",
  "change.draft",
  "change.approvals >= 1",
  'change.state == "opened"',
  'job.ref == "main"',
  "job.nope",
  "true",
  "false",
);
const { expression } = fc.letrec<{ expression: string }>((tie) => ({
  expression: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    atom,
    fc
      .tuple(tie("expression"), fc.constantFrom("&&", "||"), tie("expression"))
      .map(([a, by, b]) => `(${a} ${by} ${b})`),
    tie("expression").map((a) => `!(${a})`),
    fc.tuple(tie("expression"), tie("expression"), tie("expression")).map(([a, b, c]) => `(${a} ? ${b} : ${c})`),
    fc.tuple(tie("expression"), tie("expression")).map(([a, b]) => `[${a}, ${b}].exists(x, x)`),
    fc.tuple(tie("expression"), tie("expression")).map(([a, b]) => `[true, ${a}].all(x, x || ${b})`),
  ),
}));
const values = fc.record(
  {
    "change.merged": fc.boolean(),
    "change.draft": fc.boolean(),
    "change.approvals": fc.nat({ max: 2 }),
    "change.state": fc.constantFrom("opened", "merged"),
  },
  { requiredKeys: [] },
);

test("a fact that goes missing never makes a condition true or false that was not", () => {
  fc.assert(
    fc.property(
      expression,
      values,
      fc.constantFrom("change.merged", "change.draft", "change.approvals", "change.state"),
      (source, known, gone) => {
        const before = evaluate(source, known as Record<string, FactValue>).verdict;
        const { [gone]: _, ...fewer } = known as Record<string, FactValue>;
        const after = evaluate(source, fewer).verdict;
        if (after === "true" || after === "false") expect(after).toBe(before);
      },
    ),
    { numRuns: 500 },
  );
});

test("a kept result is the result", () => {
  fc.assert(
    fc.property(expression, fc.array(values, { minLength: 1, maxLength: 5 }), (source, series) => {
      const compiled = compileCondition(condition(source));
      const memo = { values: undefined, result: undefined };
      for (const known of series as Record<string, FactValue>[]) {
        expect(evaluateCondition(compiled, input(known), memo)).toEqual(
          evaluateCondition(compiled, input(known), undefined),
        );
      }
    }),
    { numRuns: 200 },
  );
});

test("no text is too strange to compile", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), (source) => {
      expect(() => evaluate(source)).not.toThrow();
    }),
  );
});

describe("every fact of the table", () => {
  const samples = { bool: [true, "true"], int: [7, "7"], string: ["x", '"x"'] } as const;
  test.each(Object.entries(factTable))("%s is what a condition sees of it", (name, { type }) => {
    const [value, literal] = samples[type];
    expect(evaluate(`${name} == ${literal}`, { [name]: value }).verdict).toBe("true");
    expect(evaluate(`${name} != ${literal}`, { [name]: value }).verdict).toBe("false");
    expect(evaluate(`${name} == ${literal}`).verdict).toBe("missing");
  });

  test("is recorded with who says it", () => {
    const fact = { value: true, observedAt: 900, staleAt: 2000 };
    const known = { "runner.ephemeral": { ...fact, claimed: true as const }, "change.merged": fact };
    expect(factUses(Object.keys(known), known, 1000)).toEqual([
      { name: "change.merged", value: true, ageMs: 100 },
      { name: "runner.ephemeral", value: true, ageMs: 100, claimed: true },
    ]);
  });
});

test("the job's name is known only where the CI's API said it", () => {
  const verdict = (source: string, identity = job({ job: { id: "7" } })) =>
    evaluate(source, {}, { job: jobValues(identity, "job") }).verdict;
  expect(verdict('job.name == "deploy"', job({ job: { id: "7", name: "deploy" } }))).toBe("true");
  expect(verdict('job.name == "deploy"')).not.toBe("true");
  expect(verdict('job.name != "deploy"')).not.toBe("true");
});
