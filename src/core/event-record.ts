import type { RecordJob } from "./record-job.ts";

/** Which message an event is about. A stream that is made anew counts from 1 again, hence the time. */
export interface EventMessageRef {
  /** Name of the event in policy. */
  readonly event: string;
  readonly stream: string;
  readonly sequence: number;
  /** When the stream took it, ms since the epoch. */
  readonly stored_at: number;
  readonly subject: string;
}

/** State: from here on a pipeline may exist, until one is found or ruled out. Durable before the CI is asked. */
export interface EventPending extends EventMessageRef {
  /** `evt_` and 16 characters; what the pipeline is found again by. */
  readonly cause: string;
  /** Counts from 1. */
  readonly attempt: number;
  readonly issuer: string;
  readonly project: string;
  /** The id that policy pins the project's path to. */
  readonly project_id?: string;
  readonly ref: string;
  /** Names of the variables; values are not kept. */
  readonly variables: readonly string[];
  /** How many starts lead here, this one included. */
  readonly depth: number;
  /** Cause of the pipeline whose job published the message. */
  readonly parent?: string;
  readonly policy: string;
}

/** State: the pipeline that a cause has; its jobs are told by these ids and by nothing they say themselves. */
export interface EventStarted {
  readonly cause: string;
  readonly issuer: string;
  readonly project_id: string;
  readonly pipeline_id: string;
  /** The CI's answer to the start, a look-up after none came, or a look-up while one of its jobs wanted a session. */
  readonly by: "answer" | "look_up" | "exchange";
}

/** State: the message may start nothing. */
export interface EventRefused extends EventMessageRef {
  readonly code: string;
  readonly detail: string;
}

/** State: given up. */
export interface EventDead extends EventMessageRef {
  readonly code: string;
  readonly detail: string;
  readonly cause?: string;
  /** True where there may be a pipeline all the same. */
  readonly uncertain: boolean;
}

/** State: a person wants it tried again. */
export interface EventRetried extends EventMessageRef {
  readonly by: string;
}

/** A CloudEvent that the broker publishes, for a job or for what a webhook said. */
export interface EmitPublished {
  readonly target: string;
  readonly account: string;
  readonly subject: string;
  /** `emt_` and 16 characters: the event's `id`. */
  readonly message: string;
  readonly type: string;
  /** Of the payload. */
  readonly bytes: number;
  readonly rule?: string;
  readonly policy: string;
  /** Issuer whose webhook it comes from; absent for a job's. */
  readonly webhook?: string;
}

/** By kind of record; part of `EventData`. */
export interface EventRecordData {
  readonly "event.pending": EventPending;
  readonly "event.started": EventStarted;
  readonly "event.refused": EventRefused;
  readonly "event.dead": EventDead;
  readonly "event.retried": EventRetried;
  readonly "emit.published": EmitPublished;
}

/** One of them, to be recorded. */
export type EventChange = {
  readonly [K in keyof EventRecordData]: {
    readonly kind: K;
    readonly data: EventRecordData[K];
    readonly session?: string;
    readonly job?: RecordJob;
  };
}[keyof EventRecordData];

/** One of them, recorded. */
export type EventRecord = EventChange & { readonly id: string; readonly time: string };

const kinds: ReadonlySet<string> = new Set<keyof EventRecordData>([
  "event.pending",
  "event.started",
  "event.refused",
  "event.dead",
  "event.retried",
  "emit.published",
]);

/** True for records of these kinds, whose data was checked when they were written. */
export function isEventRecord(record: { readonly kind: string }): record is EventRecord {
  return kinds.has(record.kind);
}
