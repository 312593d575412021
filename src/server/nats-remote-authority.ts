import type { Clock } from "../core/clock.ts";
import type { Counts, Decision } from "../core/decision.ts";
import { WayleaveError } from "../core/errors.ts";
import type { NatsOperation } from "../core/target.ts";
import { createLimits, type Limits } from "../gateway/limits.ts";
import type {
  Admission,
  NatsAuthority,
  ServerControl,
  ServerTotals,
  SessionChange,
  UpstreamPass,
} from "../gateway/nats/ports.ts";
import { refusal } from "../policy/decide.ts";
import type { BrokerLink } from "./nats-broker-link.ts";
import { decideNats } from "./nats-decide.ts";
import { createNatsDisagreements, type NatsDisagreements } from "./nats-disagreements.ts";
import type { NatsReplica } from "./nats-replica.ts";
import { createRightsWatch } from "./nats-rights-watch.ts";
import type { NatsUpload } from "./nats-upload.ts";

export interface RemoteAuthorityDeps {
  /** Gateway name. */
  readonly gateway: string;
  readonly clock: Clock;
  readonly link: Pick<BrokerLink, "post">;
  readonly replica: NatsReplica;
  readonly upload: NatsUpload;
}

/**
 * The broker over the network. It admits, gives passes and keeps the records; decisions are made here, by the same function
 * from the same policy, for as long as the broker's feed is fresh: after that everything is refused with `outage`. Limits of
 * scope `gateway` are counted here; those of scope `global` cannot be, and count as used up.
 */
export function createRemoteAuthority(deps: RemoteAuthorityDeps): NatsAuthority {
  const { clock, link, replica, upload } = deps;
  const limits = createLimits(clock);
  const counts = countsHere(limits, deps.gateway);
  const listeners = new Set<(change: SessionChange) => void>();
  const tell = (change: SessionChange): void => {
    for (const listener of listeners) listener(change);
  };
  const rights = createRightsWatch({ policy: () => replica.policy, session: (id) => jobOf(replica, id) }, tell);
  const disagreements = createNatsDisagreements({ gateway: deps.gateway, clock, note: upload.note });
  replica.watch((change) => {
    if (change.kind === "ended") rights.forget(change.session);
    tell(change);
    rights.look(); // a snapshot may have brought another policy
  });
  return {
    async admit({ gateway, ...request }) {
      if (gateway !== deps.gateway) throw new TypeError("a gateway's authority admits to that gateway alone");
      const admission = await link.post<Admission>("admissions", request);
      await known(replica, admission.session);
      return { ...admission, hardEndAt: localTime(deps, admission.hardEndAt) };
    },
    async attach(admission, upstream) {
      const { connection, session, target } = admission;
      const pass = await link.post<UpstreamPass>("passes", { connection, upstream });
      const job = jobOf(replica, session);
      if (job === undefined) throw new WayleaveError("session_ended", "the session is not known any more");
      rights.hold(job, target);
      return pass;
    },
    decide(admission, operation) {
      disagreements.look();
      return decide(deps, counts, disagreements, admission, operation);
    },
    count({ limit }) {
      if (limit !== undefined) limits.count(limit);
    },
    epoch: (session) => replica.epoch(session),
    hardEndAt(session) {
      const view = replica.session(session)?.view;
      // What is no longer believed ends: answers and fetched messages come to a job's inboxes without a decision.
      return replica.fresh && view?.state === "active" ? localTime(deps, view.hardEndAt) : 0;
    },
    append: upload.append,
    note: upload.note,
    settled: upload.settled,
    watch(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}

/** The servers' system account is the broker's: it is asked. Where it does not answer, nothing was closed and no totals are known. */
export function createRemoteControl(link: Pick<BrokerLink, "post">): ServerControl {
  return {
    async kick(serverId, cid) {
      const answer = await link
        .post<{ answered: boolean }>("kick", { serverId, cid })
        .catch(() => ({ answered: false }));
      return answer.answered;
    },
    async totals(serverId, cid, timeoutMs) {
      const asked = { serverId, cid, timeoutMs };
      const answer: { totals?: ServerTotals } = await link
        .post<object>("totals", asked, timeoutMs + 1_000)
        .catch(() => ({}));
      return answer.totals;
    },
  };
}

function jobOf(replica: NatsReplica, id: string) {
  const view = replica.session(id)?.view;
  return view === undefined ? undefined : { id, identity: view.identity };
}

function decide(
  { gateway, replica }: RemoteAuthorityDeps,
  counts: Counts,
  disagreements: NatsDisagreements,
  admission: Admission,
  operation: NatsOperation,
): Decision {
  const { session: id, target } = admission;
  const { policy } = replica;
  if (policy === undefined || !replica.fresh) return refusal(policy?.version ?? "", "outage", "enforce", false);
  const session = replica.session(id);
  if (session === undefined) return refusal(policy.version, "session_unknown", "enforce", false);
  const { view, facts } = session;
  const request = { session: view, narrowing: {}, target, facts, gateway, now: replica.now() };
  const decideOn = (asked: NatsOperation) => decideNats(policy, { ...request, operation: asked }, counts);
  const decision = decideOn(operation);
  disagreements.see(admission, operation, decision, decideOn);
  return decision;
}

/** The key of a limit that each gateway counts for itself ends with its name; of no other use is known here how many there were. */
function countsHere(limits: Limits, gateway: string): Counts {
  const own = (key: string): boolean => key.endsWith(`@${gateway}`);
  return {
    used: (key, windowMs) => (own(key) ? limits.used(key, windowMs) : Number.POSITIVE_INFINITY),
    freeInMs: (key, windowMs, max) => (own(key) ? (limits.freeInMs?.(key, windowMs, max) ?? windowMs) : windowMs),
  };
}

/** A moment of the broker's wall clock by this machine's, ms since the epoch. */
function localTime({ clock, replica }: RemoteAuthorityDeps, at: number): number {
  return at - replica.now() + clock.now();
}

/** How long the feed may take to tell of a session that the broker has just admitted. */
const knownWithinMs = 2_000;

/** The answer and the feed come by two connections. */
function known(replica: NatsReplica, id: string): Promise<void> {
  if (replica.session(id) !== undefined) return Promise.resolve();
  return new Promise((resolve, reject) => {
    const done = (): void => {
      clearTimeout(timer);
      stop();
    };
    const timer = setTimeout(() => {
      done();
      reject(new WayleaveError("broker_unreachable", "the broker's feed does not tell of this session; try again"));
    }, knownWithinMs);
    const stop = replica.watch(({ session }) => {
      if (session !== id) return;
      done();
      resolve();
    });
  });
}
