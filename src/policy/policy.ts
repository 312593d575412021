import type { AccessRequest, Counts, Decision } from "../core/decision.ts";
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
}

export interface CompiledTarget {
  readonly name: string;
  readonly kind: import("../core/target.ts").TargetKind;
  readonly mode: Mode;
  /** Hosts as written, templates unfilled. */
  readonly hosts: readonly string[];
  readonly assertion: "off" | "required";
  readonly proof: "off" | "required";
  readonly encodedSlash: "refuse" | "segment";
  readonly onOutage: { readonly keepSeconds: number };
  /** True where some route is `unidentified: pass`. */
  readonly sharesRoutes: boolean;
  /** True where some operation says `stream: true`. */
  readonly streams: boolean;
}
