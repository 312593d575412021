import type { AccessRequest, Counts, LimitUse, Outcome } from "../src/core/decision.ts";
import { outcomeOf } from "../src/core/decision.ts";
import { type Fact, type Facts, missingOf } from "../src/core/fact.ts";
import type { JobIdentity } from "../src/core/identity.ts";
import { type AuditEvent, type Recorder, recordJob } from "../src/core/record.ts";
import type { SessionView } from "../src/core/session.ts";
import type { HttpOperation } from "../src/core/target.ts";
import { vocabulary } from "../src/ci/providers.ts";
import { createDecisionPoint, type TokenVerdict } from "../src/gateway/decision-point.ts";
import { createLimits } from "../src/gateway/limits.ts";
import { besidePolicy } from "../src/policy/beside.ts";
import { compile } from "../src/policy/compile.ts";
import { parsePolicy } from "../src/policy/parse.ts";
import type { Policy } from "../src/policy/policy.ts";
import { policies } from "./recorded-day-policies.ts";

export type Effects = Record<"unchanged" | "newly_denied" | "newly_allowed" | "passes_differently" | "unknown", number>;

export interface Counted {
  readonly effects: Effects;
  /** Allowed requests by role, and by `<role> <target> <operation>`. */
  readonly used: Map<string, number>;
  /** Newly denied requests by project. */
  readonly broken: Map<string, number>;
}

/** What happened, counted as it happened by asking each policy alone. */
export interface Day {
  readonly requests: number;
  readonly candidate: string;
  readonly canary: number;
  readonly reasons: ReadonlyMap<string, number>;
  /** By `<effect> <target> <role> <reason>`. */
  readonly disagreements: ReadonlyMap<string, number>;
  readonly replayed: Readonly<Record<"candidate" | "draft", Counted>>;
}

/** Compiled by itself: nothing is shared with what is tested. */
function policyOf(name: keyof typeof policies): Policy {
  const { model, diagnostics } = parsePolicy({ files: [{ name, text: policies[name] }], vocabulary });
  if (model === undefined) throw new Error(JSON.stringify(diagnostics));
  return compile(model, vocabulary);
}

/** Uses by key and time, looked through from the beginning each time. */
class PlainCounts implements Counts {
  readonly #uses: { readonly key: string; readonly at: number }[] = [];
  readonly #now: () => number;
  constructor(now: () => number) {
    this.#now = now;
  }
  used(key: string, windowMs: number): number {
    const after = this.#now() - windowMs;
    let found = 0;
    for (let at = this.#uses.length - 1; at >= 0 && (this.#uses[at]?.at ?? 0) > after; at--)
      if (this.#uses[at]?.key === key) found++;
    return found;
  }
  count(use: LimitUse | undefined): void {
    if (use !== undefined) this.#uses.push({ key: use.key, at: this.#now() });
  }
}

/** The same numbers for the same seed. */
function dice(seed: number): (sides: number) => number {
  let state = seed;
  return (sides) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * sides);
  };
}

interface Job {
  view: SessionView;
  facts: Facts;
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

/** What an operation covers, written again by hand. */
const operations: Readonly<Record<string, RegExp>> = {
  "GET /v1/invoices/**": /^GET \/v1\/invoices(\/.*)?$/,
  "GET /v1/invoices/:id": /^GET \/v1\/invoices\/[^/]+$/,
  "GET /v1/health": /^GET \/v1\/health$/,
  "GET /v1/**": /^GET \/v1(\/.*)?$/,
  "GET /v1/entries": /^GET \/v1\/entries$/,
  "POST /v1/releases": /^POST \/v1\/releases$/,
  "POST /v1/payments": /^POST \/v1\/payments$/,
  "DELETE /v1/invoices/:id": /^DELETE \/v1\/invoices\/[^/]+$/,
};
/** By role and target, as the policies of that day have them. */
const covered: Readonly<Record<"candidate" | "draft", Readonly<Record<string, readonly string[]>>>> = {
  candidate: {
    "read billing": ["GET /v1/invoices/:id"],
    "read ledger": ["GET /v1/entries"],
    "release billing": ["POST /v1/releases"],
    "pay billing": ["POST /v1/payments"],
    "delete billing": ["DELETE /v1/invoices/:id"],
  },
  draft: {
    "read billing": ["GET /v1/invoices/**"],
    "read ledger": ["GET /v1/entries"],
    "release billing": ["POST /v1/releases"],
    "merged billing": ["POST /v1/releases"],
    "pay billing": ["POST /v1/payments"],
    "delete billing": ["DELETE /v1/invoices/:id"],
  },
};

const add = (counts: Map<string, number>, key: string): void => void counts.set(key, (counts.get(key) ?? 0) + 1);

/** A day of decisions by the real decision point: jobs that come and go, facts that change, credentials that are none. */
export async function recordDay(
  recorder: Pick<Recorder, "note" | "settled">,
  time: { now: number },
  decisions: number,
): Promise<Day> {
  const now = () => time.now;
  const roll = dice(20_261_124);
  const clock = { now, monotonic: now };
  const [active, candidate] = [policyOf("active"), policyOf("candidate")];
  const both = besidePolicy({
    active,
    candidate,
    canary,
    shadow: createLimits(clock),
    onFault(error) {
      throw error;
    },
  });
  const jobs = new Map<string, Job>();
  const point = createDecisionPoint({
    clock,
    recorder,
    limits: createLimits(clock),
    durableBeforeAnswer: false,
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
    onFault(error) {
      throw error;
    },
    mintAssertion: async () => "",
  });
  const brute = new BruteForce(now);
  const live: string[] = [];
  for (let at = 0; at < decisions; at++) {
    time.now += 500 + roll(700);
    if (live.length < 60 || roll(40) === 0) nextJob(recorder, roll, jobs, live, now(), at);
    if (roll(60) === 0) changeFacts(recorder, roll, jobs.get(live[roll(live.length)] ?? ""), now());
    const id = live[roll(live.length)] ?? "";
    const job = jobs.get(id);
    const [target = "", method = "", path = ""] = requests[roll(requests.length)] ?? [];
    const operation: HttpOperation = { kind: "http", method, path, host: `${target}.internal`, stream: false };
    const credential = roll(50);
    const authorization = credential === 0 ? undefined : `Bearer ${credential === 1 ? "expired" : "valid"} ${id}`;
    const answer = point.answer({ gateway: "edge-1", target, operation, authorization });
    if (answer instanceof Promise || job === undefined) throw new TypeError("a warm token is answered at once");
    brute.see(job, target, operation, credential, answer);
    if (at % 1_000 === 0) await recorder.settled();
  }
  await recorder.settled();
  return brute.day(candidate.version);
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
  const view: SessionView = { id: `ses_${at}`, identity, state: "active", openedAt: now, hardEndAt: now + 86_400_000 * 30 };
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
    if (ended !== undefined) recorder.note({ kind: "session.ended", ...job(ended.view), data: { reason: "job_finished" } });
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

/** Each request by each policy alone, with everything that was true then. */
class BruteForce {
  readonly #now: () => number;
  readonly #active = policyOf("active");
  readonly #candidate = policyOf("candidate");
  readonly #draft = policyOf("draft");
  readonly #real: PlainCounts;
  readonly #shadow: PlainCounts;
  readonly #alone: PlainCounts;
  readonly #reasons = new Map<string, number>();
  readonly #disagreements = new Map<string, number>();
  readonly #replayed = { candidate: nothing(), draft: nothing() };
  readonly #tries = new Map<string, boolean>();
  #requests = 0;
  #canary = 0;

  constructor(now: () => number) {
    this.#now = now;
    this.#real = new PlainCounts(now);
    this.#shadow = new PlainCounts(now);
    this.#alone = new PlainCounts(now);
  }

  see(
    { view, facts }: Job,
    target: string,
    operation: HttpOperation,
    credential: number,
    answer: { readonly outcome: Outcome; readonly reason: string; readonly decision?: { readonly canary?: true } },
  ): void {
    this.#requests++;
    add(this.#reasons, answer.reason);
    // Who asked is known where the token was one of a session that there is.
    const asker = credential === 0 ? "" : view.identity.project.path;
    if (credential < 2) return this.#withoutCredential(asker, target, answer.outcome);
    const now = this.#now();
    const asked: AccessRequest = { session: view, narrowing: {}, target, operation, facts, gateway: "edge-1", now };
    const { path } = view.identity.project;
    const tried = answer.decision?.canary === true;
    if ((this.#tries.get(path) ?? tried) !== tried) throw new Error(`${path} is decided by one, and by the other`);
    this.#tries.set(path, tried);
    if (tried) this.#canary++;
    const active = this.#active.decide(asked, this.#real);
    const candidate = this.#candidate.decide(asked, tried ? this.#real : this.#shadow);
    const decides = tried ? candidate : active;
    if (outcomeOf(decides) !== answer.outcome) throw new Error(`${answer.outcome}, and alone ${outcomeOf(decides)}`);
    if (decides.effect === "allow") this.#real.count(decides.limit);
    if (!tried && candidate.effect === "allow") this.#shadow.count(candidate.limit);
    const effect = effectOf(outcomeOf(active), outcomeOf(candidate));
    if (effect !== "unchanged") {
      const [allows, refuses] = candidate.effect === "allow" ? [candidate, active] : [active, candidate];
      add(this.#disagreements, `${effect} ${target} ${allows.rule ?? ""} ${refuses.reason}`);
    }
    const alone = this.#candidate.decide(asked, this.#alone);
    if (alone.effect === "allow") this.#alone.count(alone.limit);
    this.#count("candidate", path, target, operation, answer.outcome, alone);
    const possible = [undefined, true, false].map((value) => {
      const fact = value === undefined ? {} : { "environment.protected": { value, observedAt: now, staleAt: now + 1 } };
      return this.#draft.decide({ ...asked, facts: { ...facts, ...fact } }, this.#alone);
    });
    const known = new Set(possible.map(outcomeOf)).size === 1;
    this.#count("draft", path, target, operation, answer.outcome, known ? possible[0] : undefined);
  }

  day(candidate: string): Day {
    return {
      requests: this.#requests,
      candidate,
      canary: this.#canary,
      reasons: this.#reasons,
      disagreements: this.#disagreements,
      replayed: this.#replayed,
    };
  }

  /** Only a target's mode matters; the candidate's are those of the active policy. */
  #withoutCredential(project: string, target: string, outcome: Outcome): void {
    this.#replayed.candidate.effects.unchanged++;
    const would = this.#draft.targets.get(target)?.mode === "observe" ? "would_deny" : "deny";
    const effect = effectOf(outcome, would);
    this.#replayed.draft.effects[effect]++;
    if (effect === "newly_denied") add(this.#replayed.draft.broken, project);
  }

  #count(
    name: "candidate" | "draft",
    project: string,
    target: string,
    { method, path }: HttpOperation,
    outcome: Outcome,
    decision: ReturnType<Policy["decide"]> | undefined,
  ): void {
    const { effects, used, broken } = this.#replayed[name];
    const effect = decision === undefined ? "unknown" : effectOf(outcome, outcomeOf(decision));
    effects[effect]++;
    if (effect === "newly_denied") add(broken, project);
    if (decision?.effect !== "allow" || decision.rule === undefined) return;
    add(used, decision.rule);
    for (const operation of covered[name][`${decision.rule} ${target}`] ?? []) {
      if (operations[operation]?.test(`${method} ${path}`)) add(used, `${decision.rule} ${target} ${operation}`);
    }
  }
}

const nothing = (): Counted => ({
  effects: { unchanged: 0, newly_denied: 0, newly_allowed: 0, passes_differently: 0, unknown: 0 },
  used: new Map(),
  broken: new Map(),
});

function effectOf(was: Outcome, would: Outcome): keyof Effects {
  if (was === would) return "unchanged";
  if (was !== "deny" && would !== "deny") return "passes_differently";
  return would === "deny" ? "newly_denied" : "newly_allowed";
}
