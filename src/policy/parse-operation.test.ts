import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { parsePath } from "../core/path.ts";
import { type TargetKind, targetKinds, targetVerbs } from "../core/target.ts";
import { isAnchored, matchesPattern, parseStringPattern } from "./parse-glob.ts";
import { httpMethods, overlaps, parseHttpPattern, parseRoute } from "./parse-http-pattern.ts";
import { parseNatsPattern } from "./parse-nats-pattern.ts";
import { parseOperation } from "./parse-operation.ts";
import { defaultVariables, parseTemplate } from "./parse-template.ts";

const variables = defaultVariables;
const path = (source: string) => {
  const pattern = parseHttpPattern(source, false, variables);
  return pattern.ok ? pattern.value.segments : pattern.problem.code;
};

test.each([
  { source: "GET /", segments: [] },
  { source: "* /v1", segments: [{ kind: "literal", text: "v1" }] },
  { source: "GET /v1/**", segments: [{ kind: "literal", text: "v1" }, { kind: "any" }] },
  {
    source: "GET /*/x",
    segments: [
      { kind: "glob", parts: ["", ""] },
      { kind: "literal", text: "x" },
    ],
  },
  { source: "GET /v*.json", segments: [{ kind: "glob", parts: ["v", ".json"] }] },
  { source: "GET /:id", segments: [{ kind: "param", name: "id" }] },
  {
    source: "POST /pkg.Service/Method",
    segments: [
      { kind: "literal", text: "pkg.Service" },
      { kind: "literal", text: "Method" },
    ],
  },
  {
    source: "GET /a%20b/gr%C3%BC%C3%9Fe",
    segments: [
      { kind: "literal", text: "a b" },
      { kind: "literal", text: "grüße" },
    ],
  },
  { source: "GET /grüße", segments: [{ kind: "literal", text: "grüße" }] },
  { source: "GET /v1:batch", segments: [{ kind: "literal", text: "v1:batch" }] },
])("$source", ({ source, segments }) => expect(path(source)).toEqual(segments));

test("a template keeps its texts and names", () => {
  expect(path("GET /p-${job.project_id}/x")).toEqual([
    { kind: "template", template: { texts: ["p-", ""], names: ["job.project_id"], source: "p-${job.project_id}" } },
    { kind: "literal", text: "x" },
  ]);
});

test.each([
  { source: "GET", code: "operation_invalid" },
  { source: "", code: "operation_invalid" },
  { source: `GET /${"a".repeat(1024)}`, code: "operation_invalid" },
  { source: "GET /a /b", code: "operation_invalid" },
  { source: "get /", code: "method_unknown" },
  { source: "CONNECT /", code: "method_unknown" },
  { source: "GET a", code: "path_invalid" },
  { source: "GET //", code: "path_invalid" },
  { source: "GET /a/", code: "path_invalid" },
  { source: "GET /.", code: "path_invalid" },
  { source: "GET /a/../b", code: "path_invalid" },
  { source: "GET /a;b", code: "path_invalid" },
  { source: "GET /a\\b", code: "path_invalid" },
  { source: "GET /a%2fb", code: "path_invalid" },
  { source: "GET /a%2Ab", code: "path_invalid" },
  { source: "GET /a%zz", code: "path_invalid" },
  { source: "GET /a?b", code: "path_invalid" },
  { source: "GET /a#b", code: "path_invalid" },
  { source: "GET /{id}", code: "path_invalid" },
  { source: "GET /:", code: "path_invalid" },
  { source: "GET /:a/:a", code: "path_invalid" },
  { source: `GET ${"/a".repeat(33)}`, code: "path_invalid" },
  { source: "GET /a**", code: "glob_invalid" },
  { source: "GET /**/**/**", code: "glob_invalid" },
  { source: "GET /a*b*c*d*e*f", code: "glob_invalid" },
  { source: "GET /${job.id}*", code: "glob_invalid" },
  { source: "GET /${job}", code: "template_unknown" },
  { source: "GET /${job.id", code: "template_invalid" },
  { source: "GET /${}", code: "template_invalid" },
  { source: "GET /${job.id/x}", code: "template_invalid" },
])("$source is refused as $code", ({ source, code }) => expect(path(source)).toBe(code));

test.each([
  { source: "pub a.b", code: undefined },
  { source: "sub a.*.> workers", code: undefined },
  { source: "pub $KV.settings.>", code: undefined },
  { source: "sub $O.files.>", code: undefined },
  { source: "pull ORDERS.worker", code: undefined },
  { source: "pull ORDERS.*", code: undefined },
  { source: "pull *.*", code: undefined },
  { source: "pull P_${job.project_id}.worker-${job.id}", code: undefined },
  { source: "pub build.${job.project_id}.*", code: undefined },
  { source: "pub p-${job.id}-x", code: undefined },
  { source: "publish a", code: "verb_unknown" },
  { source: "", code: "verb_unknown" },
  { source: "pub ", code: "operation_invalid" },
  { source: "pub  a", code: "operation_invalid" },
  { source: "sub a b c", code: "operation_invalid" },
  { source: "pub .a", code: "subject_invalid" },
  { source: "pub a.", code: "subject_invalid" },
  { source: "pub >.a", code: "subject_invalid" },
  { source: "pub a>", code: "subject_invalid" },
  { source: "pub a.b*", code: "subject_invalid" },
  { source: "pub grüße", code: "subject_invalid" },
  { source: "pub ${job.id}*", code: "subject_invalid" },
  { source: `pub ${"a".repeat(256)}`, code: "subject_invalid" },
  { source: `pub a${".a".repeat(16)}`, code: "subject_invalid" },
  { source: "pub a q", code: "queue_invalid" },
  { source: "sub a q>", code: "queue_invalid" },
  { source: "pub ${job.nope}", code: "template_unknown" },
  { source: "pull ORDERS", code: "consumer_invalid" },
  { source: "pull ORDERS.worker.x", code: "consumer_invalid" },
  { source: "pull ORDERS.>", code: "consumer_invalid" },
  { source: "pull >", code: "consumer_invalid" },
  { source: "pull ORDERS/a.worker", code: "consumer_invalid" },
  { source: "pull ORDERS.a\\b", code: "consumer_invalid" },
  { source: "pull ORDERS.", code: "subject_invalid" },
  { source: "pull ORDERS.w*", code: "subject_invalid" },
  { source: "pull ORDERS.worker q", code: "queue_invalid" },
  { source: "req svc q", code: "queue_invalid" },
  { source: "pulls ORDERS.worker", code: "verb_unknown" },
])("$source on NATS: $code", ({ source, code }) => {
  const pattern = parseNatsPattern(source, variables, "role");
  expect(pattern.ok ? undefined : pattern.problem.code).toBe(code);
});

const reserved = [
  ...["sub >", "sub *", "pub *.x", "req *", "sub *.deploy.>", "pub >"],
  ...[
    "sub $SYS.>",
    "pub $JS.API.CONSUMER.CREATE.>",
    "req $JS.API.INFO",
    "sub $JS.EVENT.>",
    "sub $MQTT.msgs.>",
    "pub $",
  ],
  ...["sub $KVX.a", "sub $OX", "sub $kv.a", "pub $G.x"],
  ...["sub _INBOX.>", "pub _INBOX_0123456789abcdef.x", "sub _INBOX", "sub _INBOX_${job.id}.>"],
  ...["sub _R_.>", "pub _GR_.x.y", "pub Wayleave.x", "sub wayleave.>", "pub WAYLEAVE_X", "sub $${job.id}.x"],
  "pub wayleave${job.id}",
];
describe("a subject that is nobody's", () => {
  test.each(reserved)("in a role: %s", (source) => {
    const pattern = parseNatsPattern(source, variables, "role");
    expect(pattern).toMatchObject({ ok: false, problem: { code: "subject_reserved", at: 4, help: expect.anything() } });
  });

  test.each(reserved)("in a deny, where a wildcard gives nothing: %s", (source) => {
    const pattern = parseNatsPattern(source, variables, "deny");
    expect(pattern.ok).toBe(/ [*>]/.test(source));
  });

  test.each(reserved)("in a question: %s", (source) => {
    expect(parseNatsPattern(source, variables, "question").ok).toBe(true);
  });
});

test.each([
  "sub ${job.id}.x",
  "sub _INBO.x",
  "pub inbox.>",
  "pub way.leave",
  "sub R_.x",
  "sub a._INBOX.x",
  "sub a.$SYS",
])("%s is like any other subject", (source) => {
  expect(parseNatsPattern(source, variables, "role").ok).toBe(true);
});

describe("kinds", () => {
  const verbs: Readonly<Record<TargetKind, string>> = {
    ...{ http: "GET /", mesh: "GET /", nats: "pub a" },
    ...{ tcp: "connect", kubernetes: "login", cloud: "assume", secret: "read" },
  };
  const same = (a: TargetKind, b: TargetKind) => verbs[a] === verbs[b];

  test.each(targetKinds.flatMap((kind) => targetKinds.map((other) => ({ kind, other, source: verbs[other] }))))(
    "$source on a $kind target",
    ({ kind, other, source }) => expect(parseOperation(source, kind, false, variables).ok).toBe(same(kind, other)),
  );

  test.each(targetKinds)("a stream on a %s target", (kind) => {
    expect(parseOperation(verbs[kind], kind, true, variables).ok).toBe(kind === "http" || kind === "mesh");
  });

  test("every verb of every kind is an operation", () => {
    for (const [kind, known] of Object.entries(targetVerbs)) {
      for (const verb of known)
        expect(parseOperation(verb, kind as TargetKind, false, [])).toEqual({
          ok: true,
          value: { kind: "verb", verb },
        });
    }
  });
});

const literal = fc.stringMatching(/^[A-Za-z0-9._~-]{1,8}$/).filter((text) => !/^\.+$/.test(text));
const name = fc.constantFrom(...variables);

test("a template is put together again from its texts and names", () => {
  const text = fc.string().filter((part) => !part.includes("${"));
  fc.assert(
    fc.property(text, fc.array(fc.tuple(name, text)), (first, holes) => {
      const source = first + holes.map(([hole, rest]) => `\${${hole}}${rest}`).join("");
      const texts = [first, ...holes.map(([, rest]) => rest)];
      const expected = { ok: true, value: { texts, names: holes.map(([hole]) => hole), source } };
      // "…$" before "{…" would begin a hole of its own.
      fc.pre(source.split("${").length === holes.length + 1);
      expect(parseTemplate(source, variables)).toEqual(expected);
    }),
  );
});

test("a path pattern is read as it was put together", () => {
  const segment = fc.oneof(
    literal.map((text) => ({ source: text, segment: { kind: "literal", text } })),
    fc.tuple(literal, literal).map(([a, b]) => ({ source: `${a}*${b}`, segment: { kind: "glob", parts: [a, b] } })),
    name.map((hole) => {
      const source = `x-\${${hole}}`;
      return { source, segment: { kind: "template", template: { texts: ["x-", ""], names: [hole], source } } };
    }),
    fc
      .stringMatching(/^[a-z][a-z0-9_]{0,8}$/)
      .map((text) => ({ source: `:${text}`, segment: { kind: "param", name: text } })),
    fc.constant({ source: "**", segment: { kind: "any" } }),
  );
  fc.assert(
    fc.property(
      fc.constantFrom("*", ...httpMethods),
      fc.array(segment, { minLength: 1, maxLength: 8 }),
      fc.boolean(),
      (method, parts, stream) => {
        const params = parts.map((part) => part.source).filter((source) => source.startsWith(":"));
        fc.pre(new Set(params).size === params.length && parts.filter((part) => part.source === "**").length <= 2);
        const source = `${method} /${parts.map((part) => part.source).join("/")}`;
        const value = { method, segments: parts.map((part) => part.segment), stream, source };
        expect(parseHttpPattern(source, stream, variables)).toEqual({ ok: true, value });
      },
    ),
  );
});

test("a subject is read as it was put together", () => {
  const token = fc.oneof(
    literal.filter((text) => !text.includes(".")).map((text) => ({ source: text, token: { kind: "literal", text } })),
    fc.constant({ source: "*", token: { kind: "star" } }),
    name.map((hole) => {
      const source = `\${${hole}}`;
      return { source, token: { kind: "template", template: { texts: ["", ""], names: [hole], source } } };
    }),
  );
  fc.assert(
    fc.property(
      fc.constantFrom("pub", "sub", "req"),
      fc.array(token, { minLength: 1, maxLength: 8 }),
      fc.boolean(),
      (verb, parts, rest) => {
        const all = rest ? [...parts, { source: ">", token: { kind: "rest" } }] : parts;
        const source = `${verb} ${all.map((part) => part.source).join(".")}`;
        const value = { verb, tokens: all.map((part) => part.token), source };
        expect(parseNatsPattern(source, variables, "question")).toEqual({ ok: true, value });
      },
    ),
  );
});

test("a literal path pattern stands for exactly the path that requests of it have", () => {
  fc.assert(
    fc.property(fc.webPath(), (raw) => {
      const parsed = parsePath(raw);
      const pattern = parseHttpPattern(`GET ${raw}`, false, variables);
      fc.pre(parsed.ok && !parsed.trailingSlash && pattern.ok && !/[*:$]/.test(raw));
      if (!parsed.ok || !pattern.ok) return;
      expect(pattern.value.segments).toEqual(parsed.segments.map((text) => ({ kind: "literal", text })));
    }),
  );
});

test("no text makes a parser throw, and every problem lies inside the text", () => {
  const parsers = [
    (text: string) => parseHttpPattern(text, false, variables),
    (text: string) => parseNatsPattern(text, variables, "role"),
    (text: string) => parseTemplate(text, variables),
    (text: string) => parseStringPattern(text),
    ...targetKinds.map((kind) => (text: string) => parseOperation(text, kind, false, variables)),
  ];
  const unit = fc.constantFrom(
    "GET ",
    "pub ",
    "/",
    ".",
    "*",
    "**",
    ":",
    "${",
    "}",
    "job.id",
    "%20",
    "%2F",
    ">",
    " ",
    "a",
    "é",
    "\u0000",
  );
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.string({ unit })), (text) => {
      for (const parse of parsers) {
        const result = parse(text);
        if (result.ok) continue;
        expect(result.problem.at).toBeGreaterThanOrEqual(0);
        expect(result.problem.at + result.problem.length).toBeLessThanOrEqual(Math.max(1, text.length));
      }
    }),
    { numRuns: 1000 },
  );
});

test.each([
  { a: "GET /a", b: "GET /a", overlap: true },
  { a: "GET /a", b: "POST /a", overlap: false },
  { a: "* /a", b: "POST /a", overlap: true },
  { a: "GET /a/**", b: "GET /a", overlap: true },
  { a: "GET /a/**", b: "GET /a/b/c", overlap: true },
  { a: "GET /**/z", b: "GET /a/**", overlap: true },
  { a: "GET /a/:id", b: "GET /a/b", overlap: true },
  { a: "GET /a/:id", b: "GET /a/b/c", overlap: false },
  { a: "GET /a/*", b: "GET /b/*", overlap: false },
  { a: "GET /", b: "GET /a", overlap: false },
])("$a and $b overlap: $overlap", ({ a, b, overlap }) => {
  const [one, other] = [parseRoute(a), parseRoute(b)];
  if (!one.ok || !other.ok) throw new TypeError("both must be patterns");
  expect(overlaps(one.value, other.value)).toBe(overlap);
  expect(overlaps(other.value, one.value)).toBe(overlap);
});

describe("a value that is an address", () => {
  test.each([
    { text: "spiffe://mesh.example/runner/*", value: "spiffe://mesh.example/runner/7", matches: true },
    { text: "spiffe://mesh.example/**", value: "spiffe://mesh.example/runner/7", matches: true },
    { text: "spiffe://mesh.example/runner/*", value: "spiffe://mesh.example/runner/7/x", matches: false },
    { text: "spiffe://mesh.example/runner/*", value: "spiffe:/mesh.example/runner/7", matches: false },
    { text: "spiffe://mesh.example/runner/*", value: "spiffe:///mesh.example/runner/7", matches: false },
    { text: "spiffe://mesh.example/runner/*", value: "spiffe://mesh.example.evil/runner/7", matches: false },
    { text: "spiffe://*/runner/7", value: "spiffe://mesh.example/runner/7", matches: true },
  ])("$text and $value: $matches", ({ text, value, matches }) => {
    const pattern = parseStringPattern(text);
    if (!pattern.ok) throw new TypeError("a pattern");
    expect(matchesPattern(pattern.value, value)).toBe(matches);
  });

  test.each([
    { text: "spiffe://mesh.example/*", anchored: true },
    { text: "spiffe://*/runner", anchored: false },
    { text: "https://**", anchored: false },
  ])("$text names somebody: $anchored", ({ text, anchored }) => {
    const pattern = parseStringPattern(text);
    expect(pattern.ok && isAnchored(pattern.value)).toBe(anchored);
  });

  test.each(["acme//*", "//acme/*", "spiffe:///x/*", "spiffe://x//*", "Spiffe://x/*", "a/b://c/*"])(
    "%s has an empty segment",
    (text) => {
      expect(parseStringPattern(text)).toMatchObject({ ok: false, problem: { code: "glob_invalid" } });
    },
  );
});
