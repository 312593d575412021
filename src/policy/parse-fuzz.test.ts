import fc from "fast-check";
import { expect, test, vi } from "vitest";
import { stringify } from "yaml";
import { parsePolicy } from "./parse.ts";
import { fakeVocabulary } from "./vocabulary.fake.ts";

const parse = (text: string) => parsePolicy({ files: [{ name: "p.yaml", text }], vocabulary: fakeVocabulary });

// Long enough for a busy machine; nothing here is about time.
vi.setConfig({ testTimeout: 120_000 });

/** Every answer is a model or errors, each at a place that is in the file. */
function expectAnswer(text: string): void {
  const { model, diagnostics } = parse(text);
  expect(model === undefined).toBe(diagnostics.some((one) => one.severity === "error"));
  const lines = text.split("\n");
  for (const { place, code } of diagnostics) {
    const line = lines[place.line - 1];
    expect(line, code).toBeDefined();
    expect(place.column, code).toBeGreaterThanOrEqual(1);
    expect(place.column + place.length, code).toBeLessThanOrEqual(Math.max(1, [...(line ?? "")].length) + 1 + 1);
  }
}

const words = [
  ...[
    "version: 1\n",
    "targets:",
    "who:",
    "roles:",
    "deny:",
    "tests:",
    "mode: ",
    "http",
    "hosts",
    "gitlab",
    "project",
    "for",
    "allow",
    "when",
  ],
  ...[
    " ",
    "  ",
    "\n",
    ": ",
    "- ",
    "[",
    "]",
    "{",
    "}",
    ",",
    "'",
    '"',
    "|",
    ">",
    "&a",
    "*a",
    "!t",
    "#",
    "%",
    "---\n",
    "\t",
    "?",
    "~",
    "1",
    "true",
  ],
  ...[
    "acme/shop",
    "GET /",
    "${job.id}",
    "change.merged",
    "**",
    "\\",
    "é",
    "😀",
    "\u0000",
    "\r\n",
    "null",
    "__proto__",
    "<<",
  ],
];

test("no text makes it throw, and every diagnostic has a place in the text", () => {
  const text = fc.oneof(
    fc.string({ unit: "binary" }),
    fc.array(fc.constantFrom(...words), { maxLength: 60 }).map((parts) => parts.join("")),
    fc.array(fc.constantFrom(...words), { maxLength: 60 }).map((parts) => `version: 1\n${parts.join("")}`),
  );
  fc.assert(fc.property(text, expectAnswer), { numRuns: 1000 });
});

const selector = fc.constantFrom<unknown>(
  "shop",
  "nobody",
  { gitlab: { project: "acme/shop" } },
  { kind: "agent" },
  {},
  [],
  7,
  null,
);
const operation = fc.constantFrom<unknown>(
  "GET /",
  "read",
  "pub a",
  "pull S.${job.id}",
  "sub > q",
  { op: "GET /", stream: true },
  { op: 1 },
  null,
  "GET /${job.id}",
);
const target = fc.constantFrom<unknown>(
  { http: { hosts: ["a.b"] } },
  { secret: { vault: "a/b", fields: ["x"] } },
  { nats: {} },
  { nats: { account: "P_${job.id}", records: "fast" } },
  { nats: { account: "CI" } },
  {},
  null,
  "x",
);
const anything = fc.jsonValue({ maxDepth: 2 });
const maybe = <T>(value: fc.Arbitrary<T>) =>
  fc.oneof({ weight: 9, arbitrary: value as fc.Arbitrary<unknown> }, { weight: 1, arbitrary: anything });
const names = fc.constantFrom("api", "db", "shop", "a", "Bad Name", "toString");

const role = fc.record(
  {
    for: maybe(fc.oneof(selector, fc.array(selector))),
    allow: maybe(fc.dictionary(names, maybe(fc.array(operation)))),
    when: maybe(fc.constantFrom("change.merged", "job.ref", "1 +", "")),
    ttl: maybe(fc.constantFrom("10m", "2h", 600)),
    limit: maybe(fc.constantFrom({ rate: "1/s", per: "role" }, { rate: "x" })),
    extra: anything,
  },
  { requiredKeys: [] },
);

const event = fc.record(
  {
    for: maybe(fc.oneof(selector, fc.array(selector))),
    on: maybe(
      fc.record({
        target: names,
        stream: fc.constantFrom("S", "", "a.b", 1),
        subject: fc.constantFrom("a.*", ">", "$", 1),
      }),
    ),
    start: maybe(
      fc.dictionary(
        fc.constantFrom("gitlab", "buildkite", "x", "toString"),
        maybe(
          fc.record(
            { project: fc.constantFrom("a/b", "", 7), ref: fc.constantFrom("main", "*") },
            { requiredKeys: [] },
          ),
        ),
      ),
    ),
    variables: maybe(
      fc.dictionary(fc.constantFrom("A", "CI_A", "a", "toString"), maybe(fc.constantFrom("/a", "", "a.b"))),
    ),
    limit: maybe(fc.constantFrom("1/s", "x", 1)),
    depth: maybe(fc.constantFrom(1, 0, 1e9, "1", -0.5)),
    when: maybe(fc.constantFrom("change.merged", "request.subject == ''", "1 +")),
  },
  { requiredKeys: [] },
);

test("whatever shape the values have, the answer is a model or errors with places", () => {
  const policy = fc.record(
    {
      targets: maybe(fc.dictionary(names, maybe(target))),
      who: maybe(fc.dictionary(names, maybe(selector))),
      roles: maybe(fc.dictionary(names, maybe(role))),
      deny: maybe(
        fc.array(
          maybe(
            fc.record(
              { for: selector, because: fc.constantFrom("x", "", 1), targets: fc.array(names) },
              { requiredKeys: [] },
            ),
          ),
        ),
      ),
      events: maybe(fc.dictionary(names, maybe(event))),
      tests: maybe(
        fc.array(
          maybe(
            fc.record(
              { name: fc.string(), as: anything, with: anything, can: maybe(fc.array(fc.string())) },
              { requiredKeys: [] },
            ),
          ),
        ),
      ),
      mode: fc.constantFrom("observe", "x"),
      junk: anything,
    },
    { requiredKeys: [] },
  );
  fc.assert(
    fc.property(policy, fc.boolean(), (value, flow) => {
      expectAnswer(
        stringify({ version: 1, ...value }, { aliasDuplicateObjects: false, collectionStyle: flow ? "flow" : "block" }),
      );
    }),
    { numRuns: 250 },
  );
});

test("a deny, a comment or a second reading changes no role", () => {
  const text =
    "version: 1\ntargets: { api: { http: { hosts: [a.b] } } }\nroles: { a: { for: { gitlab: { project: a/b } }, allow: { api: [GET /] } } }\n";
  const roles = parse(text).model?.roles;
  expect(roles).toHaveLength(1);
  expect(parse(text)).toEqual(parse(text));
  expect(parse(`${text}deny: [{ for: {}, because: frozen }]\n`).model?.roles).toEqual(roles);
  expect(parse(`${text}# nothing\n`).model?.roles).toEqual(roles);
});
