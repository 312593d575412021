import { randomBytes } from "node:crypto";
import { setTimeout as pause } from "node:timers/promises";
import type { NatsConnection } from "@nats-io/transport-node";
import type { EmitRouteDeps } from "../api/events.ts";
import type { HookRouteDeps } from "../api/hooks.ts";
import type { Config } from "../config/config.ts";
import type { Clock } from "../core/clock.ts";
import { WayleaveError } from "../core/errors.ts";
import { type EventChange, isEventRecord } from "../core/event-record.ts";
import type { Recorder } from "../core/record.ts";
import type { SessionView } from "../core/session.ts";
import { subjectOf } from "../credential/access-token.ts";
import { type CauseFor, createCauseResolver } from "../events/cause-resolver.ts";
import type { CauseTable } from "../events/cause-table.ts";
import { createEventConsumers, type EventConsumers } from "../events/consumers.ts";
import { createEmitter } from "../events/emit.ts";
import { createEventEngine } from "../events/engine.ts";
import { openJetStreamSource } from "../events/jetstream-source.ts";
import { sessionFromRecords } from "../events/known-session.ts";
import type { EventRecorder } from "../events/ports.ts";
import type { Limits } from "../gateway/limits.ts";
import { isTemplate } from "../policy/parse-template.ts";
import type { Policy } from "../policy/policy.ts";
import type { SessionTable } from "../session/table.ts";
import type { ConnectedIssuer } from "./issuers.ts";
import type { AccountConnections } from "./nats-accounts.ts";
import { decideNats } from "./nats-decide.ts";
import { natsIdentity } from "./nats-session.ts";
import type { RecordReader } from "./surface.ts";

/** Durable records of what events did. */
function eventRecorder(recorder: Pick<Recorder, "append">): EventRecorder {
  return {
    append: async (changes) =>
      (await recorder.append(changes)).flatMap((record) => (isEventRecord(record) ? [record] : [])),
  };
}

/** Tells an exchange which event started a job's pipeline. */
export function connectCauses(deps: {
  readonly recorder: Pick<Recorder, "append">;
  readonly causes: CauseTable;
  readonly issuers: readonly ConnectedIssuer[];
}): CauseFor {
  const { recorder, causes, issuers } = deps;
  return createCauseResolver({ recorder: eventRecorder(recorder), starter: starterOf(issuers) }, causes);
}

export interface EventsDeps {
  readonly config: Config;
  readonly clock: Clock;
  readonly recorder: Recorder;
  readonly records: RecordReader;
  readonly table: SessionTable;
  readonly causes: CauseTable;
  readonly issuers: readonly ConnectedIssuer[];
  readonly limits: Limits;
  readonly connections: AccountConnections;
  policy(): Policy;
  onFault(error: unknown): void;
}

export interface EventServices {
  readonly consumers: EventConsumers;
  readonly emitter: EmitRouteDeps["emitter"];
  readonly publish: HookRouteDeps["publish"];
  close(): Promise<void>;
}

/** Well above what one request to a CI may take. */
const ackWaitMs = 30_000;
const workingMs = 10_000;
/** Above what the engine itself gives up after. */
const maxDeliver = 40;

/** Messages that start pipelines, and what the broker publishes. Consumes nothing before `consumers.reconcile`. */
export function connectEvents(deps: EventsDeps): EventServices {
  const { clock, causes, policy, connections, onFault, recorder } = deps;
  const engine = createEventEngine(
    {
      now: clock.now,
      random: (bytes) => randomBytes(bytes),
      recorder: eventRecorder(recorder),
      identityHeader: ({ id, identity }) => natsIdentity(id, identity),
      policyVersion: () => policy().version,
      rule: (name) => policy().events.find((event) => event.name === name),
      session: (id) => knownSession(deps, id),
      starter: starterOf(deps.issuers),
      onFault,
    },
    causes,
  );
  const wantedSince = new Map<string, number>();
  const consumers = createEventConsumers({
    engine,
    table: causes,
    rules: () => policy().events,
    async open({ name, on }, known, onExhausted) {
      // An event's stream may come later than the event: what is stored in it from then on counts.
      const since = wantedSince.get(name) ?? clock.now();
      wantedSince.set(name, since);
      const connection = await connections.get(on.target, on.account);
      const { stream, subject } = on;
      const resumeFrom = known ?? since;
      return openJetStreamSource({
        ...{ connection, event: name, stream, subject, ackWaitMs, maxDeliver, resumeFrom, onExhausted, onFault },
      });
    },
    workingMs,
    pause: (ms, signal) => pause(ms, undefined, { signal }).catch(() => undefined),
    onFault,
  });
  const emitter = connectEmitter(deps);
  return {
    consumers,
    emitter,
    publish: (issuer, target, status, delivery) => {
      emitter.status(issuer, target, status, delivery).catch(onFault);
    },
    close: consumers.stop,
  };
}

function starterOf(issuers: readonly ConnectedIssuer[]) {
  return (name: string) => issuers.find((issuer) => issuer.name === name)?.starter;
}

/** From memory while it is known there, else from its records: a message may lie in a stream for long. */
async function knownSession({ table, records }: EventsDeps, id: string) {
  const session = table.find(id);
  if (session !== undefined) return { view: session.view, facts: session.facts };
  const kinds = ["session.opened", "session.renewed", "session.ended"];
  return sessionFromRecords(id, await records.query({ session: id, kinds, limit: 1000 }));
}

function connectEmitter(deps: EventsDeps) {
  const { clock, config, policy, table, limits, recorder, connections } = deps;
  return createEmitter({
    now: clock.now,
    random: (bytes) => randomBytes(bytes),
    append: (events: readonly EventChange[]) => recorder.append(events),
    decide(session, target, operation) {
      const facts = table.find(session.id)?.facts ?? {};
      const request = { session, narrowing: {}, target, operation, facts, gateway: "broker", now: clock.now() };
      return decideNats(policy(), request, limits);
    },
    count({ limit }) {
      if (limit !== undefined) limits.count(limit);
    },
    targets: (identity) => {
      const named = new Set(
        policy()
          .rolesFor(identity)
          .flatMap((role) => role.targets),
      );
      return [...named].filter((name) => policy().targets.get(name)?.kind === "nats").toSorted();
    },
    account: (target, identity) =>
      identity === undefined ? onlyAccount(policy(), target) : policy().natsAccount(target, identity),
    subject: ({ identity }: SessionView) => subjectOf(config.trustDomain, identity),
    identityHeader: ({ id, identity }: SessionView) => natsIdentity(id, identity),
    policyVersion: () => policy().version,
    async send({ target, account, subject, headers, payload }) {
      const connection = await connections.get(target, account);
      const { headers: createHeaders } = await import("@nats-io/transport-node");
      const sent = createHeaders();
      for (const [name, value] of Object.entries(headers)) sent.set(name, value);
      connection.publish(subject, payload, { headers: sent });
      await confirmed(connection).catch((cause: unknown) => {
        throw new WayleaveError("nats_unavailable", `nats-server did not confirm the message to ${subject}.`, {
          cause,
        });
      });
    },
  });
}

/** The target's account where it is the same for every job. */
function onlyAccount({ targets }: Pick<Policy, "targets">, target: string): string | undefined {
  const account = targets.get(target)?.nats?.account;
  return account === undefined || isTemplate(account) ? undefined : account;
}

/** How long a server may take to say that it has a message, ms. */
const confirmMs = 5_000;

/** Rejects where the server does not answer in time: the client by itself waits for as long as there is none. */
async function confirmed(connection: NatsConnection): Promise<void> {
  const answered = new AbortController();
  const late = pause(confirmMs, undefined, { signal: answered.signal }).then(() => {
    throw new Error(`no answer within ${confirmMs} ms`);
  });
  try {
    await Promise.race([connection.flush(), late]);
  } finally {
    answered.abort();
  }
}

/** Throws `config_invalid` where policy wants pipelines started, or a webhook statuses published, that nothing here can. */
export function refuseImpossibleEvents({ events, targets }: Pick<Policy, "events" | "targets">, config: Config): void {
  for (const { name, start, on } of events) {
    const issuer = config.issuers.find((each) => each.name === start.issuer);
    if (issuer?.start === undefined) {
      throw new WayleaveError(
        "config_invalid",
        `Event ${name} starts pipelines at ${start.issuer}, which has no credential for it; set start of that issuer.`,
      );
    }
    if (start.type === "gitlab" && !Object.hasOwn(issuer.start.projects, start.project)) {
      throw new WayleaveError(
        "config_invalid",
        `Event ${name} starts pipelines of ${start.project}, for which there is no trigger token; add it to start.projects of issuer ${start.issuer}.`,
      );
    }
    refuseUnreachable(`Event ${name} listens at target ${on.target}`, on.target, config);
  }
  for (const { name: issuer, webhooks } of config.issuers) {
    for (const { name, events: target } of webhooks) {
      if (target === undefined) continue;
      const what = `Webhook ${name} of issuer ${issuer} publishes at target ${target}`;
      if (onlyAccount({ targets }, target) === undefined)
        throw new WayleaveError("config_invalid", `${what}, which is no NATS target of policy with one account.`);
      refuseUnreachable(what, target, config);
    }
  }
}

function refuseUnreachable(what: string, target: string, { gateways }: Config): void {
  const reaches = (gateway: Config["gateways"][number]) =>
    gateway.kind === "nats" &&
    gateway.targets.includes(target) &&
    !gateway.direct &&
    gateway.authentication === "operator";
  if (gateways.some(reaches)) return;
  throw new WayleaveError(
    "config_invalid",
    `${what}, which needs a NATS gateway with authentication: operator and without direct.`,
  );
}
