import type { AccessRequest, Counts, Decision } from "../core/decision.ts";
import type { Facts } from "../core/fact.ts";
import type { JobIdentity } from "../core/identity.ts";
import type { EventStart, EventVariable, Mode, TargetModel } from "./model.ts";

/** A compiled policy: what everything outside `policy/` sees. Made by `compile`. */
export interface Policy {
  readonly version: string;
  /** Another text whenever what is in force for any job may have changed: `version`, and what stands beside it. */
  readonly inForce: string;
  /** Version of the policy that decides for this job. */
  versionFor(identity: JobIdentity): string;
  /** Target facts that renderers, gateways and the exchange need, by name. */
  readonly targets: ReadonlyMap<string, CompiledTarget>;
  /** A target as it is for this job. */
  targetFor(name: string, identity: JobIdentity): CompiledTarget | undefined;
  /** `issuer/path` → pinned id. */
  readonly pins: Readonly<Record<string, string>>;
  /** Roles whose selector matches, in id order; never proof that a `when` holds. */
  rolesFor(identity: JobIdentity): readonly RoleSummary[];
  /**
   * The denies of any of these targets whose selector matches, sorted; never proof that a `when` holds: `<deny id>`, or `<deny id>/<role id>` where
   * it bears only on a role that makes the job an agent.
   */
  deniesFor(identity: JobIdentity, targets: readonly string[]): readonly string[];
  /** Whether the job has each role as a whole, whatever it would ask; roles by rank. */
  standings(identity: JobIdentity, facts: Facts, now: number): readonly RoleStanding[];
  /** Fact names that the roles, denies and events matching this identity read. */
  factsFor(identity: JobIdentity): readonly string[];
  /** Pure; never throws; the same arguments give the same decision. */
  decide(request: AccessRequest, counts: Counts): Decision;
  /** For a request without identity: does the route say `unidentified: pass`, and is it observed? */
  unidentified(target: string, method: string, path: string): SharedRoute;
  /** Why a deny is there, by its id: what a refused job is told. */
  denyReason(id: string, identity?: JobIdentity): DenyReason | undefined;
  /** Hosts of a target with templates filled for this job; lower case. Unfillable ones are left out. */
  hostsFor(target: string, identity: JobIdentity): readonly string[];
  /** Name of the NATS account that is this job's at the target; undefined where its template cannot be filled. */
  natsAccount(target: string, identity: JobIdentity): string | undefined;
  /**
   * The most this job can ever be allowed at a NATS target, conditions, limits and denies not asked: what a server is told
   * of a connection whose every message a gateway decides.
   */
  natsRights(identity: JobIdentity, target: string): NatsRights;
  /**
   * What this job may do at a NATS target at this moment, where nobody will decide its messages: never more than `decide`
   * would allow now. Not asked: the session's state, and how its token was narrowed.
   */
  natsRightsNow(identity: JobIdentity, target: string, facts: Facts, now: number): NatsRightsNow;
  /** Messages that may start pipelines, in order of their names. */
  readonly events: readonly CompiledEvent[];
}

/** What becomes of a request without identity. */
export interface SharedRoute {
  readonly pass: boolean;
  readonly mode: Mode;
  /** The same by the candidate, where there is one and it differs. */
  readonly beside?: { readonly policy: string; readonly pass: boolean; readonly mode: Mode };
}

/** A subscription; without `queue` any queue group is meant, and none. */
export interface NatsSubscription {
  readonly subject: string;
  readonly queue?: string;
}

/** A durable JetStream consumer; each part may be `*`. */
export interface NatsConsumer {
  readonly stream: string;
  readonly consumer: string;
}

/**
 * Subjects as NATS writes them, `*` and `>` being wildcards, sorted; none of a list covers another. `pub` and `req` are as
 * policy says them: a `pub` also lets requests through. Inboxes are nobody's right by policy: the job's own is not in here.
 */
export interface NatsRights {
  readonly pub: readonly string[];
  readonly req: readonly string[];
  readonly sub: readonly NatsSubscription[];
  readonly pull: readonly NatsConsumer[];
  /** Ids of the roles it comes from. */
  readonly roles: readonly string[];
  /** The target is observed: a gateway lets through what policy denies, so that these are no bound of what passes. */
  readonly observed: boolean;
}

export interface NatsRightsNow extends NatsRights {
  /** Taken out of the rights above, in the same words. `pub` holds for requests too, `sub` whatever the queue group. */
  readonly deny: {
    readonly pub: readonly string[];
    readonly sub: readonly string[];
    readonly pull: readonly NatsConsumer[];
  };
  /** Roles of this job that name the target and grant nothing now, or less than they say; by id. */
  readonly withheld: readonly WithheldRole[];
}

export interface WithheldRole {
  readonly role: string;
  /** `limited`: nobody would count. `needs_request`: its condition looks at each message. */
  readonly reason: "limited" | "needs_request" | "condition_failed" | "fact_missing" | "denied";
  /** The condition's source, the fact's name or the deny's id; of a limit nothing. */
  readonly detail: string;
}

/** A message that may start a pipeline. */
export interface CompiledEvent {
  readonly name: string;
  readonly on: EventSource;
  readonly start: EventStart;
  /** The id that the lock file pins the started project's path to. */
  readonly startId?: string;
  readonly variables: readonly EventVariable[];
  /** Pipelines it may start; counted for the event as a whole. */
  readonly limit: { readonly max: number; readonly windowMs: number };
  /** Longest chain of causes: 1 where a pipeline that an event started may start nothing. */
  readonly depth: number;
  /**
   * Whether a message of this job may start the pipeline. Not asked: who sent the message, whether its sender was allowed
   * to, the limit.
   */
  mayCause(identity: JobIdentity, facts: Facts, now: number): EventVerdict;
}

/** Where an event's messages come from. */
export interface EventSource {
  /** Target name. */
  readonly target: string;
  /** NATS account name; never a template. */
  readonly account: string;
  readonly stream: string;
  /** May hold `*` and end with `>`; never a template. */
  readonly subject: string;
}

export type EventVerdict =
  | { readonly allowed: true }
  | {
      readonly allowed: false;
      readonly reason: "not_for" | "too_deep" | "condition_failed" | "fact_missing";
      /** One line for people: what does not hold. */
      readonly detail: string;
    };

export interface DenyReason {
  readonly because: string;
  readonly file: string;
  readonly line: number;
}

export interface RoleSummary {
  readonly id: string;
  /** Targets it names. */
  readonly targets: readonly string[];
  /** Upper bound for access tokens that carry it. */
  readonly ttlSeconds?: number;
  readonly until: "job" | "pipeline";
  /** The mesh identity it names. */
  readonly spiffeId?: string;
}

/** Whether a job has a role as a whole, whatever it would ask: what a certificate for the role says of it. */
export type RoleStanding =
  | { readonly role: RoleSummary; readonly stands: true }
  | {
      readonly role: RoleSummary;
      readonly stands: false;
      /** `needs_request`: its condition looks at the request, which nobody makes yet. */
      readonly reason: "needs_request" | "condition_failed" | "fact_missing" | "denied";
      /** The condition's source, the fact's name or the deny's id. */
      readonly detail: string;
    };

export interface CompiledTarget {
  readonly name: string;
  readonly kind: import("../core/target.ts").TargetKind;
  readonly mode: Mode;
  /** Hosts as written, templates unfilled. */
  readonly hosts: readonly string[];
  /** Of a mesh service: whose certificate it must show. */
  readonly spiffeId?: string;
  readonly assertion: "off" | "required";
  readonly proof: "off" | "required";
  readonly encodedSlash: "refuse" | "segment";
  readonly onOutage: TargetModel["onOutage"];
  /** True where some route is `unidentified: pass`. */
  readonly sharesRoutes: boolean;
  /** True where some operation says `stream: true`. */
  readonly streams: boolean;
  readonly nats?: CompiledNats;
  /** Of a tcp target: `host:port`. */
  readonly address?: string;
}

/** What a NATS target says of itself. */
export interface CompiledNats {
  /** As written: `natsAccount` fills it. */
  readonly account: string;
  /** `durable`: a message is recorded before it is forwarded. `fast`: behind. */
  readonly records: "durable" | "fast";
  /** `full`: each delivered message has its own line in the records. */
  readonly deliveries: "counted" | "full";
}
