import type { EventChange, EventMessageRef, EventPending } from "../core/event-record.ts";
import { encodeBase32 } from "../core/ids.ts";
import {
  causeVariable,
  type PipelineStarter,
  type StartedPipeline,
  type StartOutcome,
} from "../core/pipeline-start.ts";
import { startedProject } from "../policy/parse-event-start.ts";
import type { CompiledEvent } from "../policy/policy.ts";
import { backOffMs } from "./back-off.ts";
import type { CauseTable, EventEntry } from "./cause-table.ts";
import { type Judgement, judge } from "./judge.ts";
import type { EventDeps, EventMessage } from "./ports.ts";

/** What the stream is told of a message. */
export type Verdict =
  | { readonly kind: "ack" }
  | { readonly kind: "later"; readonly afterMs: number }
  | { readonly kind: "term"; readonly reason: string };

/** Waits so many ms while the message is kept; false where it cannot be kept for so long. */
export type Hold = (ms: number) => Promise<boolean>;

/** One message under way. */
export interface Case {
  readonly rule: CompiledEvent;
  readonly message: EventMessage;
  readonly ref: EventMessageRef;
  readonly key: string;
  readonly hold: Hold;
  /** A person asked for it: neither its age nor the number of deliveries matters. */
  readonly byHand: boolean;
}

/**
 * So long after an attempt began, ms, a CI may still make its pipeline: we wait 10 s for the answer, and GitLab works on a
 * request for up to 60 s after we stopped to listen.
 */
const settleMs = 80_000;

/** Deliveries after which it is given up: some 2½ hours of outage. The consumer itself delivers a few times more. */
const maxDeliveries = 36;

/** The attempts to start a message's pipeline, from the judgement to the verdict. Used for one message at a time. */
export class StartAttempts {
  readonly #deps: EventDeps;
  readonly #table: CauseTable;
  /** Attempts of which the CI said that they made nothing; forgotten at a restart, which then looks. */
  readonly #empty = new Set<string>();
  /** By issuer: not before. */
  readonly #gates = new Map<string, number>();

  constructor(deps: EventDeps, table: CauseTable) {
    this.#deps = deps;
    this.#table = table;
  }

  async settle(asked: Case): Promise<Verdict> {
    const entry = this.#table.find(asked.key);
    if (entry?.state === "started") return { kind: "ack" };
    if (entry?.state === "refused" || entry?.state === "dead") return term(entry.code ?? entry.state);
    return (entry === undefined ? undefined : await this.#lookUp(asked, entry)) ?? this.#tryStart(asked);
  }

  /** Makes it a dead letter. */
  async giveUp(asked: Case, code: string, detail: string): Promise<Verdict> {
    const entry = this.#table.find(asked.key);
    const uncertain = entry !== undefined && this.#mayHaveStarted(entry);
    await this.record([deadLetter(asked.ref, entry, { code, detail }, uncertain)]);
    if (entry !== undefined) this.#empty.delete(attemptId(entry));
    return term(code);
  }

  async record(changes: readonly EventChange[]): Promise<void> {
    for (const each of await this.#deps.recorder.append(changes)) this.#table.apply(each);
  }

  #mayHaveStarted(entry: EventEntry): boolean {
    return entry.open && !this.#empty.has(attemptId(entry));
  }

  /** What became of an attempt nobody heard the end of; undefined once it is sure that there is no pipeline. */
  async #lookUp(asked: Case, entry: EventEntry): Promise<Verdict | undefined> {
    const { last, attemptedAt = 0 } = entry;
    if (last === undefined || !this.#mayHaveStarted(entry)) return undefined;
    const { ref, cause, issuer } = last;
    const found = await this.#deps.starter(issuer)?.find({ ...projectOf(last), ref, cause, since: attemptedAt });
    if (found === undefined)
      return this.giveUp(asked, "uncertain", `No credential of ${issuer} can say whether it started.`);
    if (found.kind === "found") return this.#started(entry, found.pipeline, "look_up");
    if (found.kind === "unknown") {
      if (found.final) return this.giveUp(asked, "uncertain", found.detail);
      return this.#retryLater(asked, found.detail, found.afterMs);
    }
    const unsettledMs = attemptedAt + settleMs - this.#deps.now();
    return unsettledMs > 0 ? { kind: "later", afterMs: unsettledMs } : undefined;
  }

  async #tryStart(asked: Case): Promise<Verdict> {
    const { rule, message, hold, byHand } = asked;
    for (;;) {
      const judged = await judge(this.#deps, this.#table, rule, message, { anyAge: byHand });
      if (!judged.allowed) return this.#refuse(asked, judged);
      const starter = this.#deps.starter(rule.start.issuer);
      if (starter === undefined) return this.#refuse(asked, { ...judged, ...noCredential(rule) });
      const waitMs = this.#waitMs(rule);
      if (waitMs <= 0) return this.#attempt(asked, judged, starter);
      if (!(await hold(waitMs))) return { kind: "later", afterMs: byHand ? waitMs : 0 };
      // What was true before the wait need not be now.
    }
  }

  /** ms until the event's own limit and the CI let it start one more. */
  #waitMs({ name, limit, start }: CompiledEvent): number {
    const now = this.#deps.now();
    return Math.max(this.#table.freeInMs(name, limit, now), (this.#gates.get(start.issuer) ?? 0) - now);
  }

  /** Once it is recorded that it may, the CI is asked. */
  async #attempt(
    asked: Case,
    judged: Extract<Judgement, { allowed: true }>,
    starter: PipelineStarter,
  ): Promise<Verdict> {
    const before = this.#table.find(asked.key);
    const { rule, ref } = asked;
    const cause = before?.last?.cause ?? `evt_${encodeBase32(this.#deps.random(10))}`;
    const data = {
      ...ref,
      cause,
      attempt: (before?.attempt ?? 0) + 1,
      issuer: rule.start.issuer,
      project: startedProject(rule.start),
      ...(rule.startId === undefined ? {} : { project_id: rule.startId }),
      ref: rule.start.type === "gitlab" ? rule.start.ref : rule.start.branch,
      variables: Object.keys(judged.variables).sort(),
      depth: judged.depth,
      ...(judged.parent === undefined ? {} : { parent: judged.parent }),
      policy: this.#deps.policyVersion(),
    };
    await this.record([{ kind: "event.pending", session: judged.session, job: judged.job, data }]);
    const variables = { ...judged.variables, [causeVariable]: cause };
    const outcome = await starter.start({ ...projectOf(data), ref: data.ref, cause, variables });
    return this.#conclude(asked, outcome);
  }

  async #conclude(asked: Case, outcome: StartOutcome): Promise<Verdict> {
    const entry = this.#table.find(asked.key);
    if (entry === undefined) throw new TypeError("a recorded attempt is in the table");
    if (outcome.kind === "started") return this.#started(entry, outcome.pipeline, "answer");
    if (outcome.kind === "unknown") return this.#retryLater(asked, outcome.detail, outcome.afterMs);
    this.#empty.add(attemptId(entry));
    if (outcome.kind === "refused") return this.giveUp(asked, "ci_refused", outcome.detail);
    const { issuer } = asked.rule.start;
    if (outcome.afterMs !== undefined) {
      // Where the CI wants a rest, no other message may disturb it either.
      const until = this.#deps.now() + backOffMs(1, outcome.afterMs);
      this.#gates.set(issuer, Math.max(this.#gates.get(issuer) ?? 0, until));
    }
    return this.#retryLater(asked, outcome.detail, outcome.afterMs);
  }

  async #started(
    entry: EventEntry,
    { projectId, pipelineId }: StartedPipeline,
    by: "answer" | "look_up",
  ): Promise<Verdict> {
    const { cause = "", issuer = "" } = entry.last ?? {};
    const data = { cause, issuer, project_id: projectId, pipeline_id: pipelineId, by };
    await this.record([{ kind: "event.started", data, ...whoOf(entry) }]);
    this.#empty.delete(attemptId(entry));
    return { kind: "ack" };
  }

  async #refuse(asked: Case, judged: Refusal): Promise<Verdict> {
    const { code, detail } = judged;
    const entry = this.#table.find(asked.key);
    const who = { ...whoOf(judged), ...whoOf(entry) };
    await this.record([{ kind: "event.refused", data: { ...asked.ref, code, detail }, ...who }]);
    if (entry !== undefined) this.#empty.delete(attemptId(entry));
    return term(code);
  }

  async #retryLater(asked: Case, detail: string, afterMs = 0): Promise<Verdict> {
    const { deliveries } = asked.message;
    if (!asked.byHand && deliveries >= maxDeliveries) return this.giveUp(asked, "gave_up", detail);
    return { kind: "later", afterMs: backOffMs(deliveries, afterMs) };
  }
}

type Refusal = Pick<Extract<Judgement, { allowed: false }>, "code" | "detail" | "session" | "job">;

export function deadLetter(
  ref: EventMessageRef,
  entry: EventEntry | undefined,
  why: { readonly code: string; readonly detail: string },
  uncertain: boolean,
): EventChange {
  const cause = entry?.last?.cause;
  const data = { ...ref, ...why, ...(cause === undefined ? {} : { cause }), uncertain };
  return { kind: "event.dead", data, ...whoOf(entry) };
}

/** Whose message it is, as every record about it says. */
export function whoOf(known: Pick<EventEntry, "session" | "job"> | undefined): Pick<EventChange, "session" | "job"> {
  const { session, job } = known ?? {};
  return { ...(session === undefined ? {} : { session }), ...(job === undefined ? {} : { job }) };
}

function term(reason: string): Verdict {
  return { kind: "term", reason };
}

function projectOf({ project, project_id }: Pick<EventPending, "project" | "project_id">) {
  return { project, ...(project_id === undefined ? {} : { projectId: project_id }) };
}

function attemptId({ last, attempt }: EventEntry): string {
  return `${last?.cause ?? ""}/${attempt}`;
}

function noCredential({ start, name }: CompiledEvent): Pick<Refusal, "code" | "detail"> {
  const detail = `Event ${name} starts pipelines of ${startedProject(start)}, and ${start.issuer} has no credential for it. Set issuers[].start.`;
  return { code: "cannot_start", detail };
}
