import { describe, expect, test } from "vitest";
import type { Cause, JobIdentity } from "../core/identity.ts";
import { compile } from "./compile.ts";
import { parsePolicy } from "./parse.ts";
import { facts, job, openedAt } from "./policy.fake.ts";
import type { CompiledEvent } from "./policy.ts";
import type { ConfiguredIssuer, PolicyText } from "./reading.ts";
import { fakeVocabulary } from "./vocabulary.fake.ts";

const head = `version: 1
targets: { events: { nats: { account: CI } } }
roles: { push: { for: [{ gitlab: { project: acme/** } }], allow: { events: ["pub image.>"] } } }
events:
`;
const on = 'on: { target: events, stream: IMAGES, subject: "image.pushed.*" }';
const start = "start: { gitlab: { project: acme/deploy, ref: main } }";
const shop = "for: [{ gitlab: { project: acme/shop } }]";

interface Options {
  readonly issuers?: readonly ConfiguredIssuer[];
  readonly lock?: PolicyText;
}

function parse(events: string, options: Options = {}) {
  return parsePolicy({ files: [{ name: "p.yaml", text: head + events }], vocabulary: fakeVocabulary, ...options });
}

function build(events: string, options: Options = {}) {
  const { model, diagnostics } = parse(events, options);
  if (!model) throw new TypeError(diagnostics.map((one) => `${one.code} ${one.message}`).join("\n"));
  return compile(model, fakeVocabulary);
}

function only(events: string, options: Options = {}): CompiledEvent {
  const [event] = build(events, options).events;
  if (!event) throw new TypeError("no event");
  return event;
}

const codes = (events: string, options: Options = {}) => parse(events, options).diagnostics.map((one) => one.code);
const cause = (parts: Partial<Cause> = {}): Cause => ({
  event: "deploy",
  session: "ses_0000000000000002",
  job: "gitlab/7",
  project: "acme/image",
  depth: 1,
  ...parts,
});

test("an event says which message starts which pipeline, with what, and how often; in order of names", () => {
  const variables = 'variables: { IMAGE: /image/name, TAG: "/tags/0", ODD: "/a~1b~0" }';
  const policy = build(
    `  z: { ${shop}, ${on}, start: { buildkite: { organization: acme, pipeline: deploy, branch: release/1.x } } }
  a: { ${shop}, ${on}, ${start}, ${variables}, limit: 3/h, depth: 3 }\n`,
  );
  expect(policy.events).toMatchObject([
    {
      name: "a",
      on: { target: "events", account: "CI", stream: "IMAGES", subject: "image.pushed.*" },
      start: { type: "gitlab", issuer: "gitlab", project: "acme/deploy", ref: "main" },
      variables: [
        { name: "IMAGE", pointer: "/image/name" },
        { name: "TAG", pointer: "/tags/0" },
        { name: "ODD", pointer: "/a~1b~0" },
      ],
      limit: { max: 3, windowMs: 3_600_000 },
      depth: 3,
    },
    {
      name: "z",
      start: {
        type: "buildkite",
        issuer: "buildkite",
        organization: "acme",
        pipeline: "deploy",
        branch: "release/1.x",
      },
      variables: [],
      limit: { max: 10, windowMs: 60_000 },
      depth: 1,
    },
  ]);
});

test("a policy without events has none", () => expect(build("").events).toEqual([]));

describe("the issuer of what is started", () => {
  const at = (written: string) =>
    `  a: { ${shop}, ${on}, start: { ${written}: { project: acme/deploy, ref: main } } }\n`;
  const one = [{ name: "gl", type: "gitlab" as const }];
  const two = [...one, { name: "gl-eu", type: "gitlab" as const }];

  test("is the configured one of its type", () => {
    expect(only(at("gitlab"), { issuers: one }).start.issuer).toBe("gl");
    expect(only(at("gl-eu"), { issuers: two }).start.issuer).toBe("gl-eu");
    expect(only(at("gitlab")).start.issuer).toBe("gitlab");
  });

  test("is unclear where several are of the type, and unknown where none is", () => {
    expect(codes(at("gitlab"), { issuers: two })).toEqual(["issuer_unclear"]);
    expect(codes(at("gitlab"), { issuers: [{ name: "bk", type: "buildkite" }] })).toEqual(["issuer_unknown"]);
    expect(codes(at("github"), { issuers: one })).toEqual(["issuer_unknown"]);
  });
});

describe("the started project's pin", () => {
  const lock = (text: string): Options => ({
    lock: { name: "wayleave.lock", text: `version: 1\npins: { ${text} }\n` },
    issuers: [{ name: "gl", type: "gitlab" }],
  });
  const event = `  a: { ${shop}, ${on}, ${start} }\n`;

  test("is told", () => {
    expect(only(event, lock('"gl/acme/deploy": "77", "gl/acme/shop": "1"')).startId).toBe("77");
    expect(only(event)).not.toHaveProperty("startId");
  });

  test("is asked for", () => {
    expect(codes(event, lock('"gl/acme/shop": "1"'))).toEqual(["project_unpinned"]);
    expect(codes(event.replace("acme/deploy", '"1042"'), lock('"gl/acme/shop": "1"'))).toEqual([]);
  });
});

describe("a message may start the pipeline", () => {
  const now = openedAt + 1000;
  const ask = (events: string, who: JobIdentity = job(), known = {}) =>
    only(`  deploy: { ${on}, ${start}, ${events} }\n`).mayCause(who, facts(known), now);

  test.each([
    ["of a job that the event is for", shop, job(), {}],
    ["whose condition holds", `${shop}, when: change.merged`, job(), { "change.merged": true }],
    ["whose condition asks about the job", `${shop}, when: 'job.ref == "main"'`, job(), {}],
    [
      "of an agent, where the event says so",
      "for: [{ gitlab: { project: acme/shop }, kind: agent }]",
      job({ kind: "agent" }),
      {},
    ],
    [
      "of a job that acts as an agent",
      `for: [{ gitlab: { project: acme/shop }, kind: agent }], when: 'job.kind == "agent"'`,
      job(),
      {},
    ],
    [
      "that was started by an event, where the event says so and is deep enough",
      "for: [{ gitlab: { project: acme/shop }, caused_by: deploy }], depth: 2",
      job({ cause: cause() }),
      {},
    ],
  ])("%s", (_, events, who, known) => {
    expect(ask(events, who, known)).toEqual({ allowed: true });
  });

  const other = job({ project: { id: "7", path: "acme/other" }, attributes: { project: ["acme/other"] } });
  test.each([
    ["of another project", shop, other, {}, "not_for", "it is for project: acme/shop; this job has acme/other"],
    [
      "of another issuer",
      shop,
      job({ issuer: "bk", issuerType: "buildkite" }),
      {},
      "not_for",
      "it is not for jobs of bk",
    ],
    ["of a fork", shop, job({ fork: "unknown" }), {}, "not_for", "it is for fork: true; this job has fork unknown"],
    ["of an agent", shop, job({ kind: "agent" }), {}, "not_for", "it is for kind: job; this job has agent"],
    [
      "of a job that an event caused, unless it says so",
      `${shop}, depth: 8`,
      job({ cause: cause() }),
      {},
      "not_for",
      "it is for caused_by: deploy; this job has deploy",
    ],
    [
      "that would make the chain too long",
      'for: [{ gitlab: { project: acme/shop }, caused_by: "*" }]',
      job({ cause: cause() }),
      {},
      "too_deep",
      "it would be start 2 of a chain that may be 1 long",
    ],
    [
      "of a cause whose depth is no number",
      'for: [{ gitlab: { project: acme/shop }, caused_by: "*" }], depth: 8',
      job({ cause: cause({ depth: Number.NaN }) }),
      {},
      "too_deep",
      "it would be start NaN of a chain that may be 8 long",
    ],
    ["whose fact is missing", `${shop}, when: change.merged`, job(), {}, "fact_missing", "change.merged"],
    [
      "whose condition asks what is not known",
      `${shop}, when: 'job.user != "7"'`,
      job(),
      {},
      "condition_failed",
      'job.user != "7"',
    ],
    [
      "whose condition is false",
      `${shop}, when: change.merged`,
      job(),
      { "change.merged": false },
      "condition_failed",
      "change.merged",
    ],
  ] as const)("not %s", (_, events, who, known, reason, detail) => {
    expect(ask(events, who, known)).toEqual({ allowed: false, reason, detail });
  });

  test("not where the fact is stale", () => {
    const event = only(`  deploy: { ${on}, ${start}, ${shop}, when: change.merged }\n`);
    const verdict = event.mayCause(job(), facts({ "change.merged": true }), openedAt + 60_000);
    expect(verdict).toMatchObject({ allowed: false, reason: "fact_missing" });
  });

  test("not where the path was given to another project", () => {
    const lock = { name: "wayleave.lock", text: 'version: 1\npins: { "gitlab/acme/shop": "7" }\n' };
    const verdict = only(`  deploy: { ${on}, ${start}, ${shop} }\n`, { lock }).mayCause(job(), {}, now);
    expect(verdict).toMatchObject({ allowed: false, reason: "not_for", detail: expect.stringContaining("pinned") });
  });
});

test("the facts of a job are also those of the events it may cause, and of no others", () => {
  const policy = build(
    `  a: { ${shop}, ${on}, ${start}, when: change.merged }
  b: { for: [{ gitlab: { project: acme/other } }], ${on}, ${start}, when: change.draft }\n`,
  );
  expect(policy.factsFor(job())).toEqual(["change.merged"]);
});

test("a role that says caused_by is for what the event started, and for nothing else", () => {
  const roles =
    'roles: { push: { for: [{ gitlab: { project: acme/** }, caused_by: deploy }], allow: { events: ["pub image.>"] } } }';
  const text = `${head.replace(/roles: .*/, () => roles)}  deploy: { ${shop}, ${on}, ${start} }\n`;
  const { model } = parsePolicy({ files: [{ name: "p.yaml", text }], vocabulary: fakeVocabulary });
  if (!model) throw new TypeError("it parses");
  const policy = compile(model, fakeVocabulary);
  expect(policy.rolesFor(job({ cause: cause() })).map(({ id }) => id)).toEqual(["push"]);
  expect(policy.rolesFor(job({ cause: cause({ event: "other" }) }))).toEqual([]);
  expect(policy.rolesFor(job())).toEqual([]);
});

describe("events over several files", () => {
  const event = `events:\n  a: { ${shop}, ${on}, ${start} }\n`;
  const check = (...texts: readonly string[]) =>
    parsePolicy({ files: texts.map((text, at) => ({ name: `${at}.yaml`, text })), vocabulary: fakeVocabulary });
  const caused = `version: 1\nwho: { x: { gitlab: { project: acme/x }, caused_by: a } }\nroles: { r: { for: x, allow: { events: [pub b] } } }\n`;

  test("are known in each", () => {
    expect(check(`${head}${event.slice("events:\n".length)}`, caused).diagnostics).toEqual([]);
    expect(check(caused, `${head}${event.slice("events:\n".length)}`).diagnostics).toEqual([]);
  });

  test("have one name each", () => {
    const found = check(`${head}${event.slice("events:\n".length)}`, `version: 1\n${event}`).diagnostics;
    expect(found).toMatchObject([{ code: "duplicate_event", place: { file: "1.yaml" }, note: "first at 0.yaml:5" }]);
  });

  test("that cannot be read are no second mistake where they are named", () => {
    const broken = `${head}  a: { ${shop}, ${on}, ${start}, limit: often }\n`;
    expect(check(broken, caused).diagnostics.map(({ code }) => code)).toEqual(["rate_invalid"]);
  });
});

test.each([
  [
    "more variables than a pipeline is given",
    `variables: { ${Array.from({ length: 33 }, (_, at) => `V${at}: /x`).join(", ")} }`,
    "too_many_variables",
  ],
  ["a chain without an end", "depth: 9", "depth_invalid"],
  ["a depth as text", 'depth: "2"', "wrong_type"],
  ["a limit as a number", "limit: 10", "wrong_type"],
  ["a condition that is none", "when: change.mergd", "condition_unknown"],
  ["a variable from two places", "variables: { A: [/a, /b] }", "wrong_type"],
  ["a variable's value written out", "variables: { A: main }", "pointer_invalid"],
  ["an id as a number", "id: 7", "unknown_key"],
  ["a mode", "mode: observe", "unknown_key"],
  ["a credential", "token: glptt-0123456789", "unknown_key"],
])("an event is refused with %s", (_, text, code) => {
  expect(codes(`  a: { ${shop}, ${on}, ${start}, ${text} }\n`)).toEqual([code]);
});

test.each([
  ...[
    "refs/heads/main",
    "-x",
    "/main",
    "main/",
    "a..b",
    "a b",
    "a:b",
    "a~1",
    "a^",
    "a?",
    "a*",
    "a[b",
    "a\\\\b",
    "@",
    "a@{1}",
  ],
  ...["a//b", ".hidden", "a/.b", "x.lock", "x.lock/y", "main.", "${job.ref_slug}", ""],
])("%j is no branch or tag to start", (ref) => {
  expect(codes(`  a: { ${shop}, ${on}, start: { gitlab: { project: acme/deploy, ref: "${ref}" } } }\n`)).toEqual([
    "event_start_invalid",
  ]);
});

test("an id of a project is text", () => {
  const unquoted = `  a: { ${shop}, ${on}, start: { gitlab: { project: 1042, ref: main } } }\n`;
  expect(codes(unquoted)).toEqual(["wrong_type"]);
  expect(codes(unquoted.replace("1042", '"1042"'))).toEqual([]);
});

test.each(["main", "release/1.x", "v1.2.3", "feature/a-b_c", "grün", "1042"])(
  "%j is a branch or tag to start",
  (ref) => {
    expect(codes(`  a: { ${shop}, ${on}, start: { gitlab: { project: acme/deploy, ref: "${ref}" } } }\n`)).toEqual([]);
  },
);

test.each(["acme", "/acme/x", "acme/", "acme//x", "acme/../x", "acme/x y", "acme/*", "0", "https://x/y", "-a/b", ""])(
  "%j is no project to start",
  (project) => {
    expect(codes(`  a: { ${shop}, ${on}, start: { gitlab: { project: "${project}", ref: main } } }\n`)).toEqual([
      "event_start_invalid",
    ]);
  },
);
