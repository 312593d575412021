import { vocabulary } from "../src/ci/providers.ts";
import { type AccessRequest, type Counts, type LimitUse, type Outcome, outcomeOf } from "../src/core/decision.ts";
import type { Facts } from "../src/core/fact.ts";
import type { SessionView } from "../src/core/session.ts";
import type { HttpOperation } from "../src/core/target.ts";
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
export function policyOf(name: keyof typeof policies): Policy {
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

export interface Job {
  view: SessionView;
  facts: Facts;
}

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

interface Answered {
  readonly outcome: Outcome;
  readonly reason: string;
  readonly decision?: { readonly canary?: true };
}

/** Each request by each policy alone, with everything that was true then. */
export class BruteForce {
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

  /** @param usable False for a request without a credential, or with one whose time is over. */
  see(job: Job, target: string, operation: HttpOperation, usable: boolean, answer: Answered): void {
    this.#requests++;
    add(this.#reasons, answer.reason);
    if (!usable) {
      // Who asked is known where the token was one of a session that there is.
      const asker = answer.reason === "no_credential" ? "" : job.view.identity.project.path;
      this.#withoutCredential(asker, target, answer.outcome);
      return;
    }
    const { view, facts } = job;
    const now = this.#now();
    const asked: AccessRequest = { session: view, narrowing: {}, target, operation, facts, gateway: "edge-1", now };
    this.#compare(asked, answer);
    const alone = this.#candidate.decide(asked, this.#alone);
    if (alone.effect === "allow") this.#alone.count(alone.limit);
    this.#count("candidate", asked, operation, answer.outcome, alone);
    const possible = [undefined, true, false].map((value) => {
      const fact = value === undefined ? {} : { "environment.protected": { value, observedAt: now, staleAt: now + 1 } };
      return this.#draft.decide({ ...asked, facts: { ...facts, ...fact } }, this.#alone);
    });
    const known = new Set(possible.map(outcomeOf)).size === 1;
    this.#count("draft", asked, operation, answer.outcome, known ? possible[0] : undefined);
  }

  #compare(asked: AccessRequest, answer: Answered): void {
    const { path } = asked.session.identity.project;
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
    if (effect === "unchanged") return;
    const [allows, refuses] = candidate.effect === "allow" ? [candidate, active] : [active, candidate];
    add(this.#disagreements, `${effect} ${asked.target} ${allows.rule ?? ""} ${refuses.reason}`);
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
    { target, session }: AccessRequest,
    { method, path }: HttpOperation,
    outcome: Outcome,
    decision: ReturnType<Policy["decide"]> | undefined,
  ): void {
    const { effects, used, broken } = this.#replayed[name];
    const effect = decision === undefined ? "unknown" : effectOf(outcome, outcomeOf(decision));
    effects[effect]++;
    if (effect === "newly_denied") add(broken, session.identity.project.path);
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
