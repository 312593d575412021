import { parseArgs } from "node:util";
import { recordLine } from "../src/audit/record-line.ts";
import { noCounts } from "../src/core/decision.ts";
import { noFacts } from "../src/core/fact.ts";
import type { JobIdentity, Vocabulary } from "../src/core/identity.ts";
import type { AuditEvent } from "../src/core/record.ts";
import type { SessionView } from "../src/core/session.ts";
import { createDecisionPoint } from "../src/gateway/decision-point.ts";
import { createLimits } from "../src/gateway/limits.ts";
import { besidePolicy } from "../src/policy/beside.ts";
import { compile } from "../src/policy/compile.ts";
import { policyModel, role, selector, target } from "../src/policy/policy.fake.ts";
import type { Policy } from "../src/policy/policy.ts";
import { machine, median, table, thousands } from "./machine.ts";

/**
 * What a candidate beside the active policy costs: decisions of the decision point with a warm token, each with its record's
 * line, with no candidate, with one that agrees, with one that disagrees on a tenth, and in a canary. CPU time, rounds of all
 * taken in turn. `node bench/candidate.ts [--json] [--rounds 9]`
 */

const { values: options } = parseArgs({
  options: { json: { type: "boolean", default: false }, rounds: { type: "string", default: "9" } },
});

const text = { type: "string", arity: "every", anchors: true, doc: "" } as const;
const vocabulary: Vocabulary = { gitlab: { project: text }, buildkite: {} };
const now = 1_000_000;
const perRound = 50_000;
const projects = 200;

function policyOf(version: string, without: number): Policy {
  const roles = Array.from({ length: projects * 5 }, (_, at) => {
    const allow = [`GET /v1/items/${at % 5}/**`, ...(at % 10 < without ? [] : ["GET /v1/health"])];
    return role(`role-${at}`, { billing: allow }, { for: [selector({ project: `acme/p-${Math.floor(at / 5)}` })] });
  });
  return compile(policyModel({ targets: [target("billing")], roles, version }), vocabulary);
}

const sessions = new Map(
  Array.from({ length: 500 }, (_, at): [string, { view: SessionView; facts: typeof noFacts }] => {
    const path = `acme/p-${at % projects}`;
    const identity: JobIdentity = {
      issuer: "gitlab",
      issuerType: "gitlab",
      kind: "job",
      project: { id: String(at % projects), path },
      pipelineId: String(at),
      job: { id: String(at) },
      fork: "no",
      attributes: { project: [path] },
      variables: {},
    };
    const view = { id: `ses_${at}`, identity, state: "active", openedAt: now, hardEndAt: now * 10 } as const;
    return [view.id, { view, facts: noFacts }];
  }),
);
const bearers = [...sessions.keys()].map((id) => `Bearer ${id}`);
const paths = ["/v1/items/0/7", "/v1/items/3/a/b", "/v1/health", "/v1/items/9/x", "/v1/items/1/7"];

function subject(name: string, policy: Policy) {
  const clock = { now: () => now, monotonic: () => now };
  let written = 0;
  const write = (event: AuditEvent) => {
    written += recordLine({ ...event, v: 1, id: "rec_abcd00000001", seq: 1, time: "2026-11-24T00:00:00.000Z" }).length;
    return "rec_abcd00000001";
  };
  const point = createDecisionPoint({
    clock,
    recorder: { note: write, settled: async () => undefined },
    limits: createLimits(clock),
    durableBeforeAnswer: false,
    prove: async () => "proof_invalid",
    policy: () => policy,
    session: (id) => sessions.get(id),
    revoked: () => false,
    token: (bearer) => ({ state: "valid", token: { jti: "j", sessionId: bearer, narrowing: {} } }),
    assertion: async () => ({ state: "ours" }),
    subject: () => "",
    fingerprint: () => "",
    passesOn: () => false,
    newTraceparent: () => "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01",
    onFault(error) {
      throw error;
    },
    mintAssertion: async () => "",
  });
  const round = (decide: boolean): { cpu: number; bytes: number } => {
    written = 0;
    const before = process.cpuUsage();
    for (let at = 0; at < perRound; at++) {
      const path = paths[at % paths.length] ?? "";
      const operation = { kind: "http", method: "GET", host: "billing.internal", path, stream: false } as const;
      const authorization = bearers[(at * 7) % bearers.length] ?? "";
      if (!decide) void point.answer({ gateway: "edge-1", target: "billing", operation, authorization });
      else {
        const session = sessions.get(authorization.slice(7))?.view;
        if (session !== undefined)
          policy.decide(
            { session, narrowing: {}, target: "billing", operation, facts: noFacts, gateway: "e", now },
            noCounts,
          );
      }
    }
    const { user, system } = process.cpuUsage(before);
    return { cpu: (user + system) / 1000, bytes: written / perRound };
  };
  return { name, round };
}

const active = policyOf("aaaaaaaaaaaa", 0);
const beside = (candidate: Policy, projectsTried: readonly string[] = []) =>
  besidePolicy({
    active,
    candidate,
    canary: { projects: projectsTried, share: 0 },
    shadow: createLimits({ monotonic: () => now }),
    onFault(error) {
      throw error;
    },
  });
const everybody = Array.from({ length: projects }, (_, at) => `acme/p-${at}`);
const subjects = [
  subject("no candidate", active),
  subject("a candidate that agrees", beside(policyOf("bbbbbbbbbbbb", 0))),
  subject("a candidate that disagrees on a tenth", beside(policyOf("cccccccccccc", 10))),
  subject("everybody in the canary", beside(policyOf("dddddddddddd", 0), everybody)),
];
const rounds = Math.max(1, Number(options.rounds));
const measured = subjects.map(() => ({ answers: [] as number[], decisions: [] as number[], bytes: 0 }));
for (let round = -2; round < rounds; round++) {
  for (const [at, one] of subjects.entries()) {
    const [answers, decisions] = [one.round(false), one.round(true)];
    const into = measured[at];
    if (round < 0 || into === undefined) continue; // the first two rounds warm up
    into.answers.push(answers.cpu);
    into.decisions.push(decisions.cpu);
    into.bytes = answers.bytes;
  }
}
const micros = (cpu: readonly number[]) => (median(cpu) * 1000) / perRound;
const [base] = measured;
const results = subjects.map(({ name }, at) => {
  const { answers, decisions, bytes } = measured[at] ?? { answers: [], decisions: [], bytes: 0 };
  return {
    name,
    decision_us: micros(decisions),
    answer_us: micros(answers),
    ratio: median(answers) / median(base?.answers ?? []),
    record_bytes: bytes,
  };
});

if (options.json) console.log(JSON.stringify({ benchmark: "candidate", rounds, results, machine: machine() }));
else {
  console.log(`a candidate beside the active policy, median of ${rounds} rounds of ${thousands(perRound)}\n`);
  const rows = results.map(({ name, decision_us, answer_us, ratio, record_bytes }) => [
    name,
    decision_us.toFixed(2),
    answer_us.toFixed(2),
    ratio.toFixed(2),
    String(Math.round(record_bytes)),
  ]);
  console.log(table([["", "decision µs", "answer µs", "of none", "record bytes"], ...rows]));
  console.log(`\n${machine()}`);
}
