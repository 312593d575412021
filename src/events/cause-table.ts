import type { EventMessageRef, EventPending, EventRecord, EventStarted } from "../core/event-record.ts";
import { type Cause, jobKey } from "../core/identity.ts";
import type { RecordJob } from "../core/record.ts";

/** One message that an event took up. Times are ms since the epoch. */
export interface EventEntry {
  /** `<event>/<stream>/<sequence>/<stored at>`. */
  readonly key: string;
  readonly message: EventMessageRef;
  /** `pending`: it is, or will be, tried. `refused` and `dead` are dead letters. */
  readonly state: "pending" | "started" | "refused" | "dead";
  /** When it came into this state. */
  readonly since: number;
  /** Why, for dead letters. */
  readonly code?: string;
  readonly detail?: string;
  readonly attempt: number;
  readonly attemptedAt?: number;
  /** The last attempt: a pipeline of this cause may exist though none is known. */
  readonly open: boolean;
  readonly last?: EventPending;
  readonly session?: string;
  readonly job?: RecordJob;
  readonly pipeline?: { readonly issuer: string; readonly projectId: string; readonly pipelineId: string };
}

/** Why a pipeline runs, as the broker's own records say. */
export interface KnownCause extends Cause {
  /** `evt_…`. */
  readonly id: string;
  /** Causes before this one, the nearest first. */
  readonly chain: readonly string[];
}

/** A start whose pipeline is not known yet. */
export interface OpenStart {
  readonly cause: string;
  readonly issuer: string;
  readonly project: string;
  readonly projectId?: string;
  readonly ref: string;
  /** When its last attempt began, ms since the epoch. */
  readonly since: number;
}

const keepDeadLetters = 1000;
const keepAttemptTimes = 10_000;

export function messageKey(message: Pick<EventMessageRef, "event" | "stream" | "sequence" | "stored_at">): string {
  return `${message.event}/${message.stream}/${message.sequence}/${message.stored_at}`;
}

/**
 * What became of every message that may start a pipeline, and which pipeline has which cause: a fold over records, live and
 * at replay, so that nothing is known that was not recorded. Of dead letters the latest thousand are kept for each event;
 * the others are in the audit log. Causes are kept for ever: a job of an old pipeline may be retried at any time.
 */
export class CauseTable {
  readonly #entries = new Map<string, EventEntry>();
  /** Keys of what is not started. */
  readonly #unsettled = new Set<string>();
  readonly #byCause = new Map<string, string>();
  readonly #byPipeline = new Map<string, string>();
  readonly #dead = new Map<string, Set<string>>();
  readonly #attempts = new Map<string, number[]>();

  find(key: string): EventEntry | undefined {
    return this.#entries.get(key);
  }

  /** What is not started, oldest first. */
  unsettled(): readonly EventEntry[] {
    return this.#waiting().sort((a, b) => a.since - b.since);
  }

  /** Undefined where no record says that the broker started this pipeline. */
  causeOf(issuer: string, projectId: string, pipelineId: string): KnownCause | undefined {
    const id = this.#byPipeline.get(pipelineKey(issuer, projectId, pipelineId));
    const entry = id === undefined ? undefined : this.byCause(id);
    if (id === undefined || entry?.last === undefined) return undefined;
    const { job, session = "" } = entry;
    return {
      id,
      event: entry.message.event,
      session,
      job: job === undefined ? "" : jobKey(job.issuer, job.job_id),
      project: job?.project ?? "",
      depth: entry.last.depth,
      chain: this.#chain(entry.last.parent),
    };
  }

  byCause(id: string): EventEntry | undefined {
    return this.#entries.get(this.#byCause.get(id) ?? "");
  }

  /** Starts of this issuer whose pipeline may exist without being known. */
  openStarts(issuer: string): readonly OpenStart[] {
    return this.#waiting().flatMap(({ open, last, attemptedAt: since = 0 }) => {
      if (!open || last?.issuer !== issuer) return [];
      const { cause, project, project_id, ref } = last;
      return [{ cause, issuer, project, ...(project_id === undefined ? {} : { projectId: project_id }), ref, since }];
    });
  }

  /** ms until the event may start one more pipeline; 0: now. */
  freeInMs(event: string, limit: { readonly max: number; readonly windowMs: number }, now: number): number {
    const times = this.#attempts.get(event) ?? [];
    const leaving = times.at(-limit.max);
    return leaving === undefined ? 0 : Math.max(0, leaving + limit.windowMs - now);
  }

  /** From when on a consumer that has to be made anew must look; undefined where the event never took up a message. */
  resumeFrom(event: string): number | undefined {
    let settled: number | undefined;
    let waiting: number | undefined;
    for (const { message, state } of this.#entries.values()) {
      if (message.event !== event) continue;
      if (state === "pending") waiting = Math.min(waiting ?? message.stored_at, message.stored_at);
      settled = Math.max(settled ?? message.stored_at, message.stored_at);
    }
    return waiting ?? settled;
  }

  apply(record: EventRecord): void {
    const at = Date.parse(record.time);
    switch (record.kind) {
      case "event.pending":
        this.#pend(record.data, at, record);
        break;
      case "event.started":
        this.#start(record.data, at);
        break;
      case "event.refused":
        // Recorded only where no earlier attempt can have made a pipeline.
        this.#bury(record, { state: "refused", since: at, open: false });
        break;
      case "event.dead":
        this.#bury(record, { state: "dead", since: at, open: record.data.uncertain });
        break;
      case "event.retried":
        this.#reopen(messageKey(record.data), at);
        break;
      default: // an emitted event starts nothing by itself
    }
  }

  #pend(data: EventPending, at: number, { session, job }: Pick<EventRecord, "session" | "job">): void {
    const key = messageKey(data);
    const before = this.#entries.get(key);
    const times = this.#attempts.get(data.event) ?? [];
    times.push(at);
    if (times.length > keepAttemptTimes) times.shift();
    this.#attempts.set(data.event, times);
    this.#byCause.set(data.cause, key);
    if (before?.state === "started") return;
    this.#put({
      key,
      message: refOf(data),
      state: "pending",
      since: at,
      attempt: data.attempt,
      attemptedAt: at,
      open: true,
      last: data,
      ...(session === undefined ? {} : { session }),
      ...(job === undefined ? {} : { job }),
    });
  }

  #start({ cause, issuer, project_id, pipeline_id }: EventStarted, at: number): void {
    const entry = this.byCause(cause);
    if (entry === undefined) return;
    this.#byPipeline.set(pipelineKey(issuer, project_id, pipeline_id), cause);
    const { code: _, detail: __, ...rest } = entry;
    const pipeline = entry.pipeline ?? { issuer, projectId: project_id, pipelineId: pipeline_id };
    this.#put({ ...rest, state: "started", since: at, open: false, pipeline });
  }

  #bury(
    { data, session, job }: Extract<EventRecord, { kind: "event.refused" | "event.dead" }>,
    change: Pick<EventEntry, "state" | "since" | "open">,
  ): void {
    const key = messageKey(data);
    const before = this.#entries.get(key);
    if (before?.state === "started") return;
    const { code, detail } = data;
    const who = { ...(session === undefined ? {} : { session }), ...(job === undefined ? {} : { job }) };
    this.#put({ ...(before ?? { key, message: refOf(data), attempt: 0, ...who }), ...change, code, detail });
  }

  #reopen(key: string, at: number): void {
    const entry = this.#entries.get(key);
    if (entry === undefined || entry.state === "started") return;
    const { code: _, detail: __, ...rest } = entry;
    this.#put({ ...rest, state: "pending", since: at });
  }

  #put(entry: EventEntry): void {
    const { event } = entry.message;
    this.#entries.set(entry.key, entry);
    if (entry.state === "started") this.#unsettled.delete(entry.key);
    else this.#unsettled.add(entry.key);
    const dead = this.#dead.get(event) ?? new Set();
    this.#dead.set(event, dead);
    dead.delete(entry.key);
    if (entry.state !== "refused" && entry.state !== "dead") return;
    dead.add(entry.key);
    // One that may have a pipeline is never forgotten: its jobs must not pass for uncaused.
    const oldest = [...dead].find((key) => this.#entries.get(key)?.open !== true);
    if (dead.size > keepDeadLetters && oldest !== undefined) {
      dead.delete(oldest);
      this.#entries.delete(oldest);
      this.#unsettled.delete(oldest);
    }
  }

  #waiting(): EventEntry[] {
    return [...this.#unsettled].flatMap((key) => this.#entries.get(key) ?? []);
  }

  #chain(parent: string | undefined): readonly string[] {
    const chain: string[] = [];
    for (let id = parent; id !== undefined && !chain.includes(id); id = this.byCause(id)?.last?.parent) chain.push(id);
    return chain;
  }
}

function refOf({ event, stream, sequence, stored_at, subject }: EventMessageRef): EventMessageRef {
  return { event, stream, sequence, stored_at, subject };
}

function pipelineKey(issuer: string, projectId: string, pipelineId: string): string {
  return `${issuer}/${projectId}/${pipelineId}`;
}
