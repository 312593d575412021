import { type Fact, type Facts, missingOf } from "../src/core/fact.ts";
import type { JobIdentity } from "../src/core/identity.ts";
import { type AuditEvent, type Recorder, recordJob } from "../src/core/record.ts";
import type { SessionView } from "../src/core/session.ts";
import type { HttpOperation } from "../src/core/target.ts";
import { createDecisionPoint, type DecisionPoint, type TokenVerdict } from "../src/gateway/decision-point.ts";
import { createLimits } from "../src/gateway/limits.ts";
import { besidePolicy } from "../src/policy/beside.ts";
import type { Policy } from "../src/policy/policy.ts";
import { BruteForce, type Day, type Job, policyOf } from "./recorded-day-count.ts";

/** The same numbers for the same seed. */
function dice(seed: number): (sides: number) => number {
  let state = seed;
  return (sides) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * sides);
  };
}

const asked = ["change.approvals", "change.draft", "change.merged"];
const canary = { projects: ["acme/p-3", "acme/p-4"], share: 5 };

const requests: readonly (readonly [target: string, method: string, path: string])[] = [
  ["billing", "GET", "/v1/invoices/7"],
  ["billing", "GET", "/v1/invoices/7"],
  ["billing", "GET", "/v1/invoices/7/lines"],
  ["billing", "GET", "/v1/health"],
  ["billing", "GET", "/v2/health"],
  ["billing", "POST", "/v1/releases"],
  ["billing", "POST", "/v1/releases"],
  ["billing", "POST", "/v1/payments"],
  ["billing", "POST", "/v1/payments"],
  ["billing", "DELETE", "/v1/invoices/7"],
  ["billing", "DELETE", "/v1/invoices/8"],
  ["ledger", "GET", "/v1/entries"],
  ["ledger", "GET", "/v1/totals"],
  ["ledger", "POST", "/v1/entries"],
];

/** A day of decisions by the real decision point: jobs that come and go, facts that change, credentials that are none. */
export async function recordDay(
  recorder: Pick<Recorder, "note" | "settled">,
  time: { now: number },
  decisions: number,
): Promise<Day> {
  const now = () => time.now;
  const roll = dice(20_261_124);
  const jobs = new Map<string, Job>();
  const candidate = policyOf("candidate");
  const point = decisionPoint(recorder, now, candidate, jobs);
  const brute = new BruteForce(now);
  const live: string[] = [];
  for (let at = 0; at < decisions; at++) {
    time.now += 500 + roll(700);
    if (live.length < 60 || roll(40) === 0) nextJob(recorder, roll, jobs, live, now(), at);
    if (roll(60) === 0) changeFacts(recorder, roll, jobs.get(live[roll(live.length)] ?? ""), now());
    const id = live[roll(live.length)] ?? "";
    const [target = "", method = "", path = ""] = requests[roll(requests.length)] ?? [];
    const operation: HttpOperation = { kind: "http", method, path, host: `${target}.internal`, stream: false };
    const credential = credentialOf(roll(50), id);
    const answer = point.answer({ gateway: "edge-1", target, operation, authorization: credential });
    const asker = jobs.get(id);
    if (answer instanceof Promise || asker === undefined) throw new TypeError("a warm token is answered at once");
    brute.see(asker, target, operation, credential?.startsWith("Bearer valid") === true, answer);
    if (at % 5_000 === 0) await recorder.settled();
  }
  await recorder.settled();
  return brute.day(candidate.version);
}

/** Now and then none, or one whose time is over. */
function credentialOf(rolled: number, id: string): string | undefined {
  return rolled === 0 ? undefined : `Bearer ${rolled === 1 ? "expired" : "valid"} ${id}`;
}

function decisionPoint(
  recorder: Pick<Recorder, "note" | "settled">,
  now: () => number,
  candidate: Policy,
  jobs: ReadonlyMap<string, Job>,
): DecisionPoint {
  const clock = { now, monotonic: now };
  const onFault = (error: unknown) => {
    throw error;
  };
  const both = besidePolicy({ active: policyOf("active"), candidate, canary, shadow: createLimits(clock), onFault });
  return createDecisionPoint({
    clock,
    recorder,
    limits: createLimits(clock),
    durableBeforeAnswer: false,
    prove: async () => "proof_invalid",
    policy: () => both,
    session: (id) => jobs.get(id),
    revoked: () => false,
    token: (bearer): TokenVerdict => {
      const [state, sessionId = ""] = bearer.split(" ");
      const token = { jti: "j", sessionId, narrowing: {} };
      return state === "expired" ? { state, token } : { state: "valid", token };
    },
    assertion: async () => ({ state: "ours" }),
    subject: () => "",
    fingerprint: () => "f",
    passesOn: () => false,
    newTraceparent: () => "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01",
    onFault,
    mintAssertion: async () => "",
  });
}

const job = (view: SessionView): Pick<AuditEvent, "session" | "job"> => ({
  session: view.id,
  job: recordJob(view.identity),
});

function someFacts(roll: (sides: number) => number, at: number): Facts {
  const fact = (value: Fact["value"]): Fact => ({ value, observedAt: at, staleAt: Number.MAX_SAFE_INTEGER });
  return {
    ...(roll(5) === 0 ? {} : { "change.merged": fact(roll(2) === 0) }),
    ...(roll(5) === 0 ? {} : { "change.approvals": fact(roll(3)) }),
    "change.draft": fact(roll(4) === 0),
  };
}

/** One more job, in place of one that has lived long enough. */
function nextJob(
  recorder: Pick<Recorder, "note">,
  roll: (sides: number) => number,
  jobs: Map<string, Job>,
  live: string[],
  now: number,
  at: number,
): void {
  const project = roll(30);
  const ref = roll(2) === 0 ? "main" : "feature";
  const identity: JobIdentity = {
    issuer: "gitlab",
    issuerType: "gitlab",
    kind: "job",
    project: { id: String(project), path: `acme/p-${project}` },
    pipelineId: String(at),
    job: { id: String(at) },
    ref,
    refType: "branch",
    fork: "no",
    attributes: { project: [`acme/p-${project}`], group: ["acme"], ref, ref_type: "branch" },
    variables: { "job.project_id": String(project) },
  };
  const view: SessionView = {
    id: `ses_${at}`,
    identity,
    state: "active",
    openedAt: now,
    hardEndAt: now + 86_400_000 * 30,
  };
  const facts = someFacts(roll, now);
  const data = {
    identity,
    hard_end_at: view.hardEndAt,
    replay_key: `key-${at}`,
    replay_until: now,
    refresh_hash: "",
    roles: [],
    policy: "",
    token: "",
    facts,
    ...missingOf(facts, asked),
  };
  recorder.note({ kind: "session.opened", ...job(view), data });
  jobs.set(view.id, { view, facts });
  live.push(view.id);
  if (live.length > 60) {
    const [gone = ""] = live.splice(roll(60), 1);
    const ended = jobs.get(gone);
    if (ended !== undefined)
      recorder.note({ kind: "session.ended", ...job(ended.view), data: { reason: "job_finished" } });
    jobs.delete(gone);
  }
}

function changeFacts(
  recorder: Pick<Recorder, "note">,
  roll: (sides: number) => number,
  changed: Job | undefined,
  now: number,
): void {
  if (changed === undefined) return;
  changed.facts = someFacts(roll, now);
  const data = { facts: changed.facts, ...missingOf(changed.facts, asked) };
  recorder.note({ kind: "facts.read", ...job(changed.view), data });
}
