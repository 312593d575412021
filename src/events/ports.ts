import type { EventChange, EventRecord } from "../core/event-record.ts";
import type { Facts } from "../core/fact.ts";
import type { PipelineStarter } from "../core/pipeline-start.ts";
import type { SessionView } from "../core/session.ts";
import type { CompiledEvent } from "../policy/policy.ts";

/** A message of a stream. Times are ms since the epoch. */
export interface EventMessage {
  readonly stream: string;
  readonly sequence: number;
  readonly storedAt: number;
  readonly subject: string;
  readonly payload: Uint8Array;
  /** How often it was delivered, this time included. */
  readonly deliveries: number;
  /** Every value of a header, whatever the spelling of its name. */
  header(name: string): readonly string[];
}

/** A message that waits for its acknowledgement. */
export interface Delivery extends EventMessage {
  /** Resolves true once the server has confirmed it. */
  ack(): Promise<boolean>;
  /** Deliver it again, not before so many ms. */
  nak(afterMs: number): void;
  /** Never deliver it again. */
  term(reason: string): void;
  /** It is being worked on: the time to acknowledge begins anew. */
  working(): void;
}

/** One durable consumer of a stream. */
export interface EventSource {
  /** The next message, or undefined when none came within a few seconds. Rejects where the server cannot be asked. */
  next(): Promise<Delivery | undefined>;
  /** A message that is still in the stream. */
  find(sequence: number): Promise<EventMessage | undefined>;
  close(): Promise<void>;
}

/** A session as far as the cause of a message is concerned; ended ones are known too. */
export interface KnownSession {
  readonly view: SessionView;
  readonly facts: Facts;
}

/** Where changes are made durable. Rejects `journal_unavailable`. */
export interface EventRecorder {
  append(events: readonly EventChange[]): Promise<readonly EventRecord[]>;
}

export interface EventDeps {
  /** ms since the epoch. */
  now(): number;
  random(bytes: number): Uint8Array;
  readonly recorder: EventRecorder;
  /** Value of a session's identity header, by the gateway's own function. */
  identityHeader(view: SessionView): string;
  policyVersion(): string;
  /** The event of the policy in force. */
  rule(name: string): CompiledEvent | undefined;
  /** Undefined for a session that never was. Rejects where it cannot be said. */
  session(id: string): Promise<KnownSession | undefined>;
  /** Undefined for an issuer that has no credential to start pipelines with. */
  starter(issuer: string): PipelineStarter | undefined;
  /** For the log; must not throw. */
  onFault(error: unknown): void;
}
