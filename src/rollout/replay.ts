import type { Outcome } from "../core/decision.ts";
import type { AuditRecord } from "../core/record.ts";
import type { Policy } from "../policy/policy.ts";
import { type Judgement, judge, type ReplayCounts } from "./judge.ts";
import { type KnownSession, KnownSessions, type Recall, sessionKinds } from "./known-sessions.ts";
import { type RecordedRequest, requestKinds, requestsOf } from "./recorded-request.ts";

/** `passes_differently`: let through either way, by one of the two only because it observes. */
export type ReplayEffect = "unchanged" | "newly_denied" | "newly_allowed" | "passes_differently" | "unknown";

/** One recorded request and what the draft makes of it. */
export interface Replayed {
  readonly request: RecordedRequest;
  readonly session?: KnownSession;
  readonly judgement: Judgement;
  readonly effect: ReplayEffect;
}

/** Requests of one project, changed in the same way. */
export interface ReplayGroup {
  readonly effect: Exclude<ReplayEffect, "unchanged">;
  readonly project: string;
  readonly target: string;
  /** Of whoever allows it: the policy of then, or the draft. */
  readonly role: string;
  /** Why the other one refuses, or what cannot be known. */
  readonly because: string;
  readonly count: number;
  /** One of them, and its record: the newest. */
  readonly example: string;
  readonly record: string;
}

export interface ReplayReport {
  readonly requests: number;
  readonly effects: Readonly<Record<ReplayEffect, number>>;
  /** Most first. */
  readonly groups: readonly ReplayGroup[];
  /** Requests in groups that there was no room for. */
  readonly ungrouped: number;
  /** Exchanges that found no role: who would have one under the draft is not recorded. */
  readonly without_role: number;
  readonly first?: string;
  readonly last?: string;
}

/** Kinds of records a replay reads. */
export const replayKinds = [...requestKinds, ...sessionKinds, "exchange.refused"] as const;

const maxGroups = 2_000;

/** Recorded requests against a draft, record by record in order. What it keeps is bounded, however many there are. */
export class Replay {
  readonly #draft: Policy;
  readonly #counts: ReplayCounts;
  readonly #sessions: KnownSessions;
  readonly #onReplayed: (replayed: Replayed) => void;
  readonly #effects = { unchanged: 0, newly_denied: 0, newly_allowed: 0, passes_differently: 0, unknown: 0 };
  readonly #groups = new Map<string, { -readonly [K in keyof ReplayGroup]: ReplayGroup[K] }>();
  #requests = 0;
  #ungrouped = 0;
  #withoutRole = 0;
  #first: string | undefined;
  #last: string | undefined;

  constructor(options: {
    readonly draft: Policy;
    readonly counts: ReplayCounts;
    readonly recall: Recall;
    /** Told of each request. */
    readonly onReplayed?: (replayed: Replayed) => void;
  }) {
    this.#draft = options.draft;
    this.#counts = options.counts;
    this.#sessions = new KnownSessions(options.recall);
    this.#onReplayed = options.onReplayed ?? (() => undefined);
  }

  /** How many requests were replayed so far. */
  get requests(): number {
    return this.#requests;
  }

  async take(record: AuditRecord): Promise<void> {
    this.#first ??= record.time;
    this.#last = record.time;
    if (record.kind === "exchange.refused" && record.data.code === "no_role") this.#withoutRole++;
    const requests = requestsOf(record);
    const { session: id } = record;
    const wanted = requests.length > 0 && id !== undefined;
    const known = wanted ? (this.#sessions.now(id) ?? (await this.#sessions.at(id, record.id))) : undefined;
    for (const request of requests) this.#replay(request, known);
    this.#sessions.see(record);
  }

  report(): ReplayReport {
    const groups = [...this.#groups.values()].sort((a, b) => b.count - a.count || (a.record < b.record ? -1 : 1));
    return {
      requests: this.#requests,
      effects: { ...this.#effects },
      groups,
      ungrouped: this.#ungrouped,
      without_role: this.#withoutRole,
      ...(this.#first === undefined ? {} : { first: this.#first }),
      ...(this.#last === undefined ? {} : { last: this.#last }),
    };
  }

  #replay(request: RecordedRequest, session: KnownSession | undefined): void {
    const judgement = judge(this.#draft, request, session, this.#counts);
    const effect = "unknown" in judgement ? "unknown" : effectOf(request.outcome, judgement.outcome);
    this.#requests++;
    this.#effects[effect]++;
    this.#onReplayed({ request, judgement, effect, ...(session === undefined ? {} : { session }) });
    if (effect !== "unchanged") this.#group(effect, request, judgement);
  }

  #group(effect: ReplayGroup["effect"], request: RecordedRequest, judgement: Judgement): void {
    const { project = "", target, text: example, record } = request;
    const { role, because } = sides(effect, request, judgement);
    const key = JSON.stringify([effect, project, target, role, because]);
    const known = this.#groups.get(key);
    if (known !== undefined) {
      known.count++;
      known.example = example;
      known.record = record;
    } else if (this.#groups.size >= maxGroups) this.#ungrouped++;
    else this.#groups.set(key, { effect, project, target, role, because, count: 1, example, record });
  }
}

function sides(
  effect: ReplayGroup["effect"],
  request: RecordedRequest,
  judgement: Judgement,
): Pick<ReplayGroup, "role" | "because"> {
  if ("unknown" in judgement) return { role: request.rule ?? "", because: judgement.unknown };
  const [allows, refuses] = effect === "newly_allowed" ? [judgement, request] : [request, judgement];
  return { role: allows.rule ?? "", because: refuses.reason };
}

function effectOf(was: Outcome, would: Outcome): ReplayEffect {
  if (was === would) return "unchanged";
  if (was !== "deny" && would !== "deny") return "passes_differently";
  return would === "deny" ? "newly_denied" : "newly_allowed";
}
