import type { AccessRequest, Counts, Decision } from "../core/decision.ts";
import type { Facts } from "../core/fact.ts";
import type { JobIdentity } from "../core/identity.ts";
import type { Mode } from "./model.ts";

/** A compiled policy: what everything outside `policy/` sees. Made by `compile`. */
export interface Policy {
  readonly version: string;
  /** Target facts that renderers, gateways and the exchange need, by name. */
  readonly targets: ReadonlyMap<string, CompiledTarget>;
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
  /** Fact names that the roles and denies matching this identity read. */
  factsFor(identity: JobIdentity): readonly string[];
  /** Pure; never throws; the same arguments give the same decision. */
  decide(request: AccessRequest, counts: Counts): Decision;
  /** For a request without identity: does the route say `unidentified: pass`, and is it observed? */
  unidentified(target: string, method: string, path: string): { readonly pass: boolean; readonly mode: Mode };
  /** Why a deny is there, by its id: what a refused job is told. */
  denyReason(id: string): DenyReason | undefined;
  /** Hosts of a target with templates filled for this job; lower case. Unfillable ones are left out. */
  hostsFor(target: string, identity: JobIdentity): readonly string[];
}

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
  readonly onOutage: { readonly keepSeconds: number };
  /** True where some route is `unidentified: pass`. */
  readonly sharesRoutes: boolean;
  /** True where some operation says `stream: true`. */
  readonly streams: boolean;
}
