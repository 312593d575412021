import { createHash } from "node:crypto";
import type { BuildStatus } from "../core/build-status.ts";
import type { Decision } from "../core/decision.ts";
import { WayleaveError } from "../core/errors.ts";
import type { EmitPublished, EventChange } from "../core/event-record.ts";
import type { JobIdentity } from "../core/identity.ts";
import { encodeBase32 } from "../core/ids.ts";
import { type AuditEvent, recordJob } from "../core/record.ts";
import type { SessionView } from "../core/session.ts";
import type { NatsOperation } from "../core/target.ts";
import { type CloudEvent, cloudEventType, encodeCloudEvent, isEventType } from "./cloud-event.ts";
import { originHeaders } from "./origin.ts";

/** What a job asks to be published. */
export interface EmitRequest {
  readonly type: string;
  /** Any JSON value. */
  readonly data?: unknown;
  /** NATS subject; absent: `build.status.<project id>.<type>`. */
  readonly subject?: string;
  /** NATS target; may be left out where the job has one only. */
  readonly target?: string;
  /** Chosen by the caller, so that a repeated request is one event. */
  readonly key?: string;
}

export interface Emitted {
  /** `emt_…`: the CloudEvent's id. */
  readonly id: string;
  readonly target: string;
  readonly subject: string;
  /** Id of the record. */
  readonly record: string;
}

/** A message as the broker publishes it. */
export interface OutgoingMessage {
  readonly target: string;
  readonly account: string;
  readonly subject: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly payload: Uint8Array;
}

export interface EmitDeps {
  /** ms since the epoch. */
  now(): number;
  random(bytes: number): Uint8Array;
  /** Durable when it resolves. Rejects `journal_unavailable`. */
  append(
    events: readonly (EventChange | Extract<AuditEvent, { kind: "decision" }>)[],
  ): Promise<readonly { readonly id: string }[]>;
  /** The decision function, with the session's facts and the limits as they stand. */
  decide(session: SessionView, target: string, operation: NatsOperation): Decision;
  /** One more use of the limit an allow reported. */
  count(decision: Decision): void;
  /** Names of the NATS targets that the job's roles name. */
  targets(identity: JobIdentity): readonly string[];
  /** Undefined where the target's account cannot be told for this job, or without one for anybody. */
  account(target: string, identity: JobIdentity | undefined): string | undefined;
  subject(session: SessionView): string;
  /** Value of the identity header, as the gateway writes it. */
  identityHeader(session: SessionView): string;
  policyVersion(): string;
  /** Resolves once the server has it. Rejects `nats_unavailable`. */
  send(message: OutgoingMessage): Promise<void>;
}

export interface Emitter {
  /** Publishes for a job what policy lets it publish itself. Rejects `invalid_request`, `access_denied`, `nats_unavailable`. */
  emit(session: SessionView, request: EmitRequest): Promise<Emitted>;
  /**
   * Publishes what an authenticated webhook said, in the account of a configured target. It carries no job's identity, so it
   * starts no pipeline.
   */
  status(issuer: string, target: string, status: BuildStatus, delivery: string | undefined): Promise<Emitted>;
}

const maxDataBytes = 256 * 1024;

/** CloudEvents published by the broker itself: recorded durably, then sent. */
export function createEmitter(deps: EmitDeps): Emitter {
  return {
    emit: (session, request) => emitForJob(deps, session, request),
    status: (issuer, target, status, delivery) => emitStatus(deps, issuer, target, status, delivery),
  };
}

async function emitForJob(deps: EmitDeps, session: SessionView, request: EmitRequest): Promise<Emitted> {
  const { identity } = session;
  const { type, data, key } = request;
  if (!isEventType(type))
    throw invalid("The type is words of letters, digits, - and _ between dots, such as image.pushed.");
  const target = targetOf(deps, identity, request.target);
  const subject = request.subject ?? `build.status.${identity.project.id}.${type}`;
  if (!isSubject(subject))
    throw invalid("The subject is one that can be published to: no wildcards, and no first word with $ or _.");
  const account = deps.account(target, identity);
  if (account === undefined) throw invalid(`The account of ${target} cannot be told for this job.`);
  const decision = await decided(deps, session, target, subject);
  const id = messageId(deps, session.id, key);
  const event = {
    id,
    source: deps.subject(session),
    type,
    time: deps.now(),
    subject: `pipelines/${identity.pipelineId}/jobs/${identity.job.id}`,
    ...(data === undefined ? {} : { data }),
  };
  const headers = { [originHeaders.job]: deps.identityHeader(session) };
  const rule = decision.rule === undefined ? {} : { rule: decision.rule };
  const who = { session: session.id, job: recordJob(identity) };
  return publish(deps, { target, account, subject, event, headers, rule, who });
}

/** Refusals are recorded like a gateway's. Throws `access_denied`. */
async function decided(deps: EmitDeps, session: SessionView, target: string, subject: string): Promise<Decision> {
  const operation: NatsOperation = { kind: "nats", verb: "pub", subject };
  const decision = deps.decide(session, target, operation);
  if (decision.effect === "allow") {
    deps.count(decision);
    return decision;
  }
  const { reason, mode, rule, closest, facts, canary, beside, missing } = decision;
  const outcome = mode === "observe" ? "would_deny" : "deny";
  const [record] = await deps.append([
    {
      kind: "decision",
      session: session.id,
      job: recordJob(session.identity),
      data: {
        gateway: "broker",
        target,
        operation: `pub ${subject}`.slice(0, 512),
        effect: "deny",
        outcome,
        reason,
        policy: decision.policyVersion,
        ...(rule === undefined ? {} : { rule }),
        ...(closest === undefined ? {} : { closest }),
        ...(facts.length === 0 ? {} : { facts }),
        ...(missing === undefined ? {} : { missing }),
        ...(canary === undefined ? {} : { canary }),
        ...(beside === undefined ? {} : { beside }),
      },
    },
  ]);
  if (outcome === "would_deny") return decision;
  throw new WayleaveError(
    "access_denied",
    `Policy does not let this job publish ${subject} at ${target} (${reason}). See \`wayleave explain ${record?.id ?? ""}\`.`,
  );
}

async function emitStatus(
  deps: EmitDeps,
  issuer: string,
  target: string,
  status: BuildStatus,
  delivery: string | undefined,
): Promise<Emitted> {
  const { projectId, projectPath, pipelineId, job, ref } = status;
  const subject = `build.status.${projectId}.${pipelineId}.${status.status}`;
  const account = deps.account(target, undefined);
  const words = [projectId, pipelineId, status.status];
  if (!words.every((word) => /^[A-Za-z0-9_-]{1,64}$/.test(word)) || account === undefined)
    throw new WayleaveError(
      "webhook_malformed",
      "The webhook's ids make no subject, or its target has no one account.",
    );
  const event = {
    id: messageId(deps, `${issuer}/${job?.id ?? ""}/${subject}`, delivery),
    source: `/ci/${issuer}/${projectId}`,
    type: `${job === undefined ? "pipeline" : "job"}.${status.status}`,
    time: deps.now(),
    subject: job === undefined ? `pipelines/${pipelineId}` : `pipelines/${pipelineId}/jobs/${job.id}`,
    data: {
      issuer,
      project_id: projectId,
      ...(projectPath === undefined ? {} : { project: projectPath }),
      pipeline_id: pipelineId,
      status: status.status,
      ...(ref === undefined ? {} : { ref }),
      ...(job === undefined ? {} : { job_id: job.id, job_name: job.name }),
    },
  };
  return publish(deps, { target, account, subject, event, headers: {}, rule: { webhook: issuer }, who: {} });
}

interface Publication {
  readonly target: string;
  readonly account: string;
  readonly subject: string;
  readonly event: CloudEvent;
  readonly headers: Readonly<Record<string, string>>;
  readonly rule: Pick<EmitPublished, "rule" | "webhook">;
  readonly who: Pick<EventChange, "session" | "job">;
}

async function publish(deps: EmitDeps, publication: Publication): Promise<Emitted> {
  const { target, account, subject, event, rule, who } = publication;
  const { id, type } = event;
  const payload = encodeCloudEvent(event);
  if (payload.byteLength > maxDataBytes)
    throw new WayleaveError("payload_too_large", `The event is longer than ${maxDataBytes} bytes.`);
  const data = {
    target,
    account,
    subject,
    message: id,
    type,
    bytes: payload.byteLength,
    ...rule,
    policy: deps.policyVersion(),
  };
  const [record] = await deps.append([{ kind: "emit.published", data, ...who }]);
  const headers = {
    "Content-Type": cloudEventType,
    "Nats-Msg-Id": id, // a repeated request is one message to JetStream
    ...publication.headers,
    [originHeaders.message]: id,
  };
  await deps.send({ target, account, subject, headers, payload });
  return { id, target, subject, record: record?.id ?? "" };
}

function targetOf(deps: EmitDeps, identity: JobIdentity, wanted: string | undefined): string {
  const targets = deps.targets(identity);
  const [only, other] = targets;
  if (wanted !== undefined && targets.includes(wanted)) return wanted;
  if (wanted === undefined && only !== undefined && other === undefined) return only;
  const listed = targets.length === 0 ? "none" : targets.join(", ");
  throw invalid(
    wanted === undefined
      ? `Name the NATS target to publish at; this job's roles name: ${listed}.`
      : `No role of this job names a NATS target ${JSON.stringify(wanted.slice(0, 64))}; they name: ${listed}.`,
  );
}

/** What can be published to and is nobody's inbox and no server's own. */
function isSubject(subject: string): boolean {
  return subject.length <= 255 && /^(?![$_])[^\s.*>\p{Cc}]+(?:\.[^\s.*>\p{Cc}]+)*$/u.test(subject);
}

/** The same for the same scope and key; random without a key. */
function messageId(deps: EmitDeps, scope: string, key: string | undefined): string {
  if (key === undefined) return `emt_${encodeBase32(deps.random(10))}`;
  return `emt_${encodeBase32(
    createHash("sha256")
      .update(JSON.stringify([scope, key]))
      .digest()
      .subarray(0, 10),
  )}`;
}

function invalid(detail: string): WayleaveError {
  return new WayleaveError("invalid_request", detail);
}
