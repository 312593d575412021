import { parseArgs } from "node:util";
import { noCounts } from "../src/core/decision.ts";
import { noFacts } from "../src/core/fact.ts";
import type { JobIdentity, Vocabulary } from "../src/core/identity.ts";
import type { SessionView } from "../src/core/session.ts";
import type { NatsOperation, Operation } from "../src/core/target.ts";
import { compile } from "../src/policy/compile.ts";
import type { PolicyModel } from "../src/policy/model.ts";
import { deny, policyModel, role, selector, target } from "../src/policy/policy.fake.ts";
import { machine, median, table, thousands } from "./machine.ts";

/**
 * Decisions per second on one core: the same mix for a policy of 10 roles and for one of 10,000 roles over 2,000 projects,
 * rounds of both taken in turn; and the same for NATS, where each job has 50 patterns. Measured in CPU time of the whole process, garbage collection included, so that a busy
 * machine changes it little; the wall clock is printed beside it. `node bench/decision.ts [--json] [--rounds 9]`
 */

const { values: options } = parseArgs({
  options: { json: { type: "boolean", default: false }, rounds: { type: "string", default: "9" } },
});

const text = { type: "string", arity: "every", anchors: true, doc: "" } as const;
const vocabulary: Vocabulary = {
  gitlab: { project: text, group: { ...text, arity: "any" }, ref: { ...text, arity: "one", anchors: false } },
  buildkite: {},
};
const now = 1_000_000;
const decisionsPerRound = 1_000_000;

const projectPath = (at: number) => `group-${at % 50}/project-${at}`;

/** Five roles a project, two of them with a glob or a second clause, over four services; one deny. */
function buildPolicy(projects: number): PolicyModel {
  const services = ["billing", "invoices", "releases", "search"];
  const roles = Array.from({ length: projects * 5 }, (_, at) => {
    const project = Math.floor(at / 5);
    const service = services[(at % 5) % 4] ?? "billing";
    const clauses = at % 5 === 4 ? { project: projectPath(project), ref: "main" } : { project: projectPath(project) };
    const allow = [`GET /v1/items/${at % 5}/**`, "GET /v1/health", `POST /v1/projects/:id/runs-${at % 5}`];
    return role(`role-${at}`, { [service]: allow }, { for: [selector(clauses)] });
  });
  return policyModel({
    targets: services.map((name) => target(name)),
    roles,
    deny: [deny("no-admin", { operations: { billing: ["* /v1/items/*/admin/**"] } })],
  });
}

function buildSessions(projects: number, count: number): readonly SessionView[] {
  return Array.from({ length: count }, (_, at) => {
    const project = at % projects;
    const path = projectPath(project);
    const identity: JobIdentity = {
      issuer: "gitlab",
      issuerType: "gitlab",
      kind: "job",
      project: { id: String(project), path },
      pipelineId: String(at),
      job: { id: String(at) },
      ref: "main",
      refType: "branch",
      fork: "no",
      attributes: { project: [path], group: [path.split("/")[0] ?? ""], ref: "main" },
      variables: { "job.project_id": String(project), "environment.slug": "production" },
    };
    return { id: `ses_${at}`, identity, state: "active", openedAt: now, hardEndAt: now + 3_600_000 };
  });
}

/** Five roles a project, 50 patterns altogether; one deny. */
function buildNatsPolicy(projects: number): PolicyModel {
  const roles = Array.from({ length: projects * 5 }, (_, at) => {
    const services = Array.from({ length: 3 }, (_, service) => `service-${at % 5}-${service}`);
    const events = [
      ...services.flatMap((service) => [
        `pub build.${service}.\${environment.slug}.*`,
        `sub deploy.${service}.> workers`,
      ]),
      ...services.map((service) => `req svc.${service}.*.ask`),
      `pull STREAM-${at % 5}.worker`,
    ];
    return role(`role-${at}`, { events }, { for: [selector({ project: projectPath(Math.floor(at / 5)) })] });
  });
  const closed = deny("no-secret", { operations: { events: ["sub deploy.*.secret", "pub build.*.*.secret"] } });
  return policyModel({ targets: [target("events", "nats")], roles, deny: [closed] });
}

/** About two allows to one deny, as for HTTP. */
const natsOperations: readonly (readonly [string, NatsOperation])[] = (
  [
    ["pub", "build.service-0-1.production.done"],
    ["pub", "build.service-4-2.production.failed"],
    ["req", "svc.service-2-0.eu.ask"],
    ["sub", "deploy.service-1-1.started"],
    ["pull", "STREAM-3.worker"],
    ["pub", "build.service-3-0.production.started"],
    ["pub", "build.service-0-1.production.secret"],
    ["pub", "build.service-9-9.production.done"],
    ["sub", "deploy.other.>"],
  ] as const
).map(([verb, subject]) => [
  "events",
  { kind: "nats", verb, subject, ...(verb === "sub" ? { queue: "workers" } : {}) },
]);

/** About two allows to one deny: no role, a deny rule, another host. */
const httpOperations: readonly (readonly [string, Operation])[] = (
  [
    ["billing", "GET", "/v1/items/0/lines/7"],
    ["invoices", "GET", "/v1/health"],
    ["releases", "POST", "/v1/projects/42/runs-2"],
    ["search", "GET", "/v1/items/3"],
    ["billing", "GET", "/v1/items/0/a/b/c/d"],
    ["invoices", "GET", "/v1/items/1/x"],
    ["billing", "DELETE", "/v1/items/0"],
    ["billing", "GET", "/v1/items/0/admin/keys"],
    ["search", "GET", "/v2/other"],
  ] as const
).map(([name, method, path]) => [name, { kind: "http", method, path, host: `${name}.internal`, stream: false }]);

interface Round {
  /** CPU and wall time, ms. */
  readonly cpu: number;
  readonly wall: number;
  readonly allowed: number;
}

interface Subject {
  readonly kind: "http" | "nats";
  readonly roles: number;
  readonly projects: number;
  /** Sessions that ask, in random order: what they touch competes for the processor's cache. */
  readonly live: number;
  readonly round: () => Round;
}

function buildSubject(kind: Subject["kind"], projects: number, live: number): Subject {
  const model = kind === "http" ? buildPolicy(projects) : buildNatsPolicy(projects);
  const operations = kind === "http" ? httpOperations : natsOperations;
  const policy = compile(model, vocabulary);
  const sessions = buildSessions(projects, live);
  // A fixed random order of sessions and operations: the same for every round, and no pattern for a cache to learn.
  let seed = 12345;
  const order = Uint32Array.from({ length: 65_536 }, () => {
    seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0;
    return seed >>> 8;
  });
  const round = () => {
    let allowed = 0;
    const start = performance.now();
    const before = process.cpuUsage();
    for (let at = 0; at < decisionsPerRound; at++) {
      const pick = order[at & 65_535] ?? 0;
      const session = sessions[pick % sessions.length];
      const [target, operation] = operations[pick % operations.length] ?? [];
      if (session === undefined || target === undefined || operation === undefined) continue;
      const decision = policy.decide({ session, narrowing: {}, target, operation, facts: noFacts, now }, noCounts);
      if (decision.effect === "allow") allowed++;
    }
    const { user, system } = process.cpuUsage(before);
    return { cpu: (user + system) / 1000, wall: performance.now() - start, allowed };
  };
  return { kind, roles: model.roles.length, projects, live, round };
}

const few = 2;
const many = 2000;
const subjects = (["http", "nats"] as const).flatMap((kind) =>
  [500, 2000].flatMap((live) => [buildSubject(kind, few, live), buildSubject(kind, many, live)]),
);
const rounds = Math.max(1, Number(options.rounds));
const measured = subjects.map((): Round[] => []);
for (let round = -2; round < rounds; round++) {
  for (const [at, subject] of subjects.entries()) {
    const result = subject.round();
    if (round >= 0) measured[at]?.push(result); // the first two rounds warm up
  }
}

const rate = (ms: readonly number[]) => Math.round((decisionsPerRound / median(ms)) * 1000);
const results = subjects.map(({ kind, roles, projects, live }, at) => {
  const runs = measured[at] ?? [];
  return {
    kind,
    roles,
    projects,
    sessions: live,
    decisions_per_cpu_second: rate(runs.map(({ cpu }) => cpu)),
    decisions_per_second: rate(runs.map(({ wall }) => wall)),
    allowed: (runs[0]?.allowed ?? 0) / decisionsPerRound,
  };
});

/** How many times slower many roles are, with the same number of sessions. */
const ratios = results.flatMap((result, at) => {
  const before = results[at - 1];
  if (before === undefined || result.projects !== many) return [];
  const { kind, sessions, decisions_per_cpu_second } = result;
  return [{ kind, sessions, ratio: before.decisions_per_cpu_second / decisions_per_cpu_second }];
});

if (options.json) console.log(JSON.stringify({ benchmark: "decision", rounds, results, ratios, machine: machine() }));
else {
  console.log(`decision function, sessions in random order, median of ${rounds} rounds of 1,000,000\n`);
  const head = ["kind", "roles", "projects", "sessions", "per CPU second", "per second", "allowed"];
  const rows = results.map((result) => [
    result.kind,
    ...[result.roles, result.projects, result.sessions].map(thousands),
    ...[result.decisions_per_cpu_second, result.decisions_per_second].map(thousands),
    `${Math.round(result.allowed * 100)} %`,
  ]);
  console.log(table([head, ...rows]));
  for (const { kind, sessions, ratio } of ratios) {
    console.log(`\n${kind}: 10 roles over 10,000, with ${thousands(sessions)} sessions: ${ratio.toFixed(2)}`);
  }
  console.log(`\n${machine()}`);
}
