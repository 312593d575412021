import type { Clock } from "../core/clock.ts";
import type { Decision } from "../core/decision.ts";
import { WayleaveError } from "../core/errors.ts";
import type { AuditEvent, Recorder } from "../core/record.ts";
import type { NatsOperation } from "../core/target.ts";
import type { Limits } from "../gateway/limits.ts";
import type {
  Admission,
  AdmissionRequest,
  NatsAuthority,
  SessionChange,
  UpstreamGreeting,
  UpstreamPass,
} from "../gateway/nats/ports.ts";
import { type Ticket, ticketLifeMs } from "../gateway/nats/ticket.ts";
import { refusal } from "../policy/decide.ts";
import type { Policy } from "../policy/policy.ts";
import type { Session, SessionTable } from "../session/table.ts";
import { type AdmissionDeps, createNatsAdmission } from "./nats-admission.ts";
import { type Admitted, createAdmitted } from "./nats-admitted.ts";
import { decideNats } from "./nats-decide.ts";
import { createNatsDisagreements, type NatsDisagreements } from "./nats-disagreements.ts";
import { createEpochs } from "./nats-epochs.ts";
import { createRightsWatch, type RightsWatch } from "./nats-rights-watch.ts";
import { endedText, type NatsPolicy, natsAccountOf, natsTargetsOf, refuseInactive } from "./nats-session.ts";

export interface NatsAuthorityDeps extends Omit<AdmissionDeps, "table" | "clock" | "policy"> {
  readonly clock: Clock;
  readonly table: SessionTable;
  readonly recorder: Recorder;
  readonly limits: Limits;
  policy(): NatsPolicy & Pick<Policy, "decide" | "natsRights">;
  mintTicket(ticket: Ticket): string;
  /** What the gateway's proxy key says to a server's nonce. */
  proxySignature(nonce: string): string;
}

/** The broker itself, as the authority of one NATS gateway. */
export interface BrokerNatsAuthority extends NatsAuthority {
  /** As of `NatsAuthority`; `direct`: the job's own connection to the server, whose record says that its messages have none. */
  attach(admission: Admission, upstream: UpstreamGreeting, mode?: "gateway" | "direct"): Promise<UpstreamPass>;
  /** The admission of a connection that was admitted and has not gone; undefined for all others, and after a restart. */
  admissionOf(connection: string): Admission | undefined;
  /** Looks whether another policy is in force and says what that changes. Costs nothing where none is: call it often. */
  policyChanged(): void;
  close(): void;
}

/** Decides from live sessions, records into the journal. For one gateway: another's name is refused. */
export function createNatsAuthority(deps: NatsAuthorityDeps): BrokerNatsAuthority {
  const { table, recorder, limits } = deps;
  const admitted = createAdmitted(deps.clock);
  const listeners = new Set<(change: SessionChange) => void>();
  const tell = (change: SessionChange): void => {
    for (const listener of listeners) listener(change);
  };
  const rights = createRightsWatch({ policy: deps.policy, session: (id) => table.find(id) }, tell);
  const epochs = createEpochs(deps);
  const unwatch = table.watch((change) => {
    if (!("session" in change)) return;
    const { session } = change;
    epochs.grow(session);
    const next = changeOf(session, deps.clock.now());
    if (next.kind === "ended") {
      rights.forget(session.id);
      admitted.ended(session.id);
    }
    tell(next);
  });
  const see = (event: AuditEvent): void => {
    if (event.kind === "nats.disconnected") admitted.forget(event.data.connection);
  };
  const admit = createNatsAdmission(deps);
  const disagreements = createNatsDisagreements({
    gateway: deps.gateway.name,
    clock: deps.clock,
    note: (event) => void recorder.note(event),
  });

  return {
    async admit(request) {
      const admission = await admit(request);
      admitted.add(admission, request);
      return admission;
    },
    attach: (admission, upstream, mode = "gateway") => attach({ ...deps, admitted, rights }, admission, upstream, mode),
    decide: (admission, operation) => decide(deps, disagreements, admission, operation),
    count({ limit }) {
      if (limit !== undefined) limits.count(limit);
    },
    epoch: (session) => epochs.of(table.find(session)),
    hardEndAt(session) {
      const view = table.view(session);
      return view?.state === "active" ? view.hardEndAt : 0;
    },
    async append(events) {
      for (let from = 0; from < events.length; from += mostAtOnce) {
        await recorder.append(events.slice(from, from + mostAtOnce));
      }
      for (const event of events) see(event);
    },
    note(event) {
      recorder.note(event);
      see(event);
    },
    settled: () => recorder.settled(),
    watch(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    admissionOf: admitted.admissionOf,
    policyChanged() {
      rights.look();
      disagreements.look();
    },
    close() {
      disagreements.flush();
      unwatch();
      listeners.clear();
    },
  };
}

/** What one client sent in a moment is not written in one piece: the journal would refuse everybody else meanwhile. */
const mostAtOnce = 1_000;

/** What a change of a session means for its connections. `now` is ms since the epoch. */
function changeOf({ id, view }: Session, now: number): SessionChange {
  const why = view.state === "ended" ? endedText(view, now) : undefined;
  return why === undefined ? { kind: "changed", session: id } : { kind: "ended", session: id, why };
}

async function attach(
  deps: NatsAuthorityDeps & { readonly admitted: Admitted; readonly rights: RightsWatch },
  admission: Admission,
  upstream: UpstreamGreeting,
  mode: "gateway" | "direct",
): Promise<UpstreamPass> {
  const { connection, target } = admission;
  const request = deps.admitted.requestOf(connection);
  if (request === undefined) throw new WayleaveError("credential_invalid", "this connection was not admitted here");
  const session = usable(deps, admission);
  await deps.recorder.append([connected(deps, session, admission, request, upstream, mode)]);
  usable(deps, admission); // its end may have come while that was written
  deps.rights.hold(session, target);
  deps.admitted.attached(connection);
  const { serverId, cid, nonce } = upstream;
  const expiresAt = deps.clock.now() + ticketLifeMs;
  return {
    ticket: deps.mintTicket({ connection, session: session.id, target, serverId, cid, expiresAt }),
    proxySignature: deps.proxySignature(nonce),
  };
}

function decide(
  { table, policy, limits, clock, gateway }: NatsAuthorityDeps,
  disagreements: NatsDisagreements,
  admission: Admission,
  operation: NatsOperation,
): Decision {
  const { session: id, target } = admission;
  const current = policy();
  const { version } = current;
  const session = table.find(id);
  if (session === undefined) return refusal(version, "session_unknown", "enforce", false);
  const { view, facts } = session;
  const now = clock.now();
  const request = { session: view, narrowing: {}, target, facts, gateway: gateway.name, now };
  const decideOn = (asked: NatsOperation) => decideNats(current, { ...request, operation: asked }, limits);
  const decision = decideOn(operation);
  disagreements.see(admission, operation, decision, decideOn);
  return decision;
}

/** The session of an admission that still holds. Throws, with words for the client. */
function usable(
  { table, clock, policy, gateway }: Pick<NatsAuthorityDeps, "table" | "clock" | "policy" | "gateway">,
  { session: id, target, account }: Admission,
): Session {
  const session = table.find(id);
  if (session === undefined) throw new WayleaveError("session_not_found", `session ${id} is not known here`);
  refuseInactive(session.view, clock.now());
  const { identity } = session;
  if (!natsTargetsOf(policy(), identity, gateway).includes(target)) {
    throw new WayleaveError("access_denied", `no role of this job names target ${target} any more`);
  }
  if (natsAccountOf(policy(), identity, target) !== account) {
    throw new WayleaveError("access_denied", `the account of target ${target} is another now; connect again`);
  }
  return session;
}

function connected(
  { gateway, policy }: Pick<NatsAuthorityDeps, "gateway" | "policy">,
  { identity, view }: Session,
  { connection, target, account, records, record }: Admission,
  { from, client }: Pick<AdmissionRequest, "from" | "client">,
  { serverId, cid, version }: UpstreamGreeting,
  mode: "gateway" | "direct",
): AuditEvent {
  const { rolesFor, versionFor } = policy();
  return {
    kind: "nats.connected",
    ...record,
    data: {
      gateway: gateway.name,
      connection,
      target,
      account,
      mode,
      server_id: serverId,
      cid,
      server_version: version,
      client,
      from,
      roles: rolesFor(identity).flatMap((role) => (role.targets.includes(target) ? [role.id] : [])),
      policy: versionFor(identity),
      records,
      expires_at: view.hardEndAt,
    },
  };
}
