import type { Decision } from "../core/decision.ts";
import type { JobIdentity, Kind } from "../core/identity.ts";
import type { CompiledDeny, CompiledRole, RoutedTarget } from "./compiled-rules.ts";
import type { ConditionMemo, jobValues } from "./condition.ts";
import type { HttpEnd, SegmentTrie } from "./match-path.ts";
import type { SelectorMatch } from "./match-selector.ts";
import type { Mode, NatsPattern } from "./model.ts";
import type { NatsTrie } from "./nats-trie.ts";
import type { NatsRights } from "./policy.ts";

/** A role as one job has it. */
export interface HeldRole {
  readonly role: CompiledRole;
  /** `agent` where a selector that matched says so: whoever uses the role then acts as an agent. */
  readonly kind: Kind;
  readonly memo: ConditionMemo;
}

/** A role that a job's own project has, but not this job. */
export interface NearRole {
  readonly role: CompiledRole;
  readonly match: SelectorMatch;
}

/** A deny as it bears on one job. */
export interface HeldDeny {
  readonly deny: CompiledDeny;
  /** It says `kind: agent` and this is a job: it bears on the roles that make it an agent. */
  readonly agentsOnly: boolean;
  readonly memo: ConditionMemo;
}

/** Everything about one job that stays the same from request to request. */
export interface Reach {
  readonly identity: JobIdentity;
  /** By rank. */
  readonly roles: readonly HeldRole[];
  readonly near: readonly NearRole[];
  /** By rank. */
  readonly denies: readonly HeldDeny[];
  /** `job` in conditions, by who acts. */
  readonly job: Readonly<Record<"own" | "agent", ReturnType<typeof jobValues>>>;
  /** By the target's index; filled on first use. */
  readonly targets: (TargetReach | undefined)[];
}

/** What every kind of rule says of its operation. `method` and `slash` are for HTTP. */
export interface RuleBase extends HttpEnd {
  readonly stream: boolean;
  /** The first template that this job cannot fill. It matches anything, so that a role can say so and a deny denies. */
  readonly unfilled: string | undefined;
}

/** One operation of one rule, with its templates filled for one job. */
export type Rule =
  | RoleRule
  | (RuleBase & { readonly kind: "near"; readonly near: NearRole })
  | (RuleBase & { readonly kind: "deny"; readonly held: HeldDeny });

export interface RoleRule extends RuleBase {
  readonly kind: "role";
  readonly held: HeldRole;
  /** No condition, no limit, no unfilled template: the decision is the same every time and made once, by mode. */
  readonly simple: boolean;
  enforced: Decision | undefined;
  observed: Decision | undefined;
}

/** A rule about a NATS subject. `queue`: of a subscription that must be in this queue group. */
export interface NatsRule {
  readonly queue: string | undefined;
  readonly rule: Rule;
}

/** What rules say of subjects: roles by the verb they allow, denies by what they forbid (`deniedAs`). */
export interface NatsReach {
  readonly roles: Readonly<Record<NatsPattern["verb"], NatsTrie<NatsRule>>>;
  readonly denies: Readonly<Record<"send" | "sub" | "pull", NatsTrie<Rule>>>;
}

/** One target as one job sees it. */
export interface TargetReach {
  readonly target: RoutedTarget;
  readonly hosts: readonly string[];
  readonly http: SegmentTrie<Rule>;
  /** Of NATS targets. */
  readonly nats: NatsReach | undefined;
  readonly verbs: readonly { readonly verb: string; readonly rule: Rule }[];
  /** Denies of the whole target. */
  readonly closed: readonly HeldDeny[];
  /** Roles of the job that name the target. */
  readonly naming: readonly HeldRole[];
  /** No condition and no limit bears on this job at this target. */
  readonly unconditional: boolean;
  /** The refusal of whatever matches nothing, by mode: made once where it depends on nothing else. */
  readonly noRole: Record<Mode, Decision | undefined>;
  /** What a server is told, once it was asked for. */
  rights: NatsRights | undefined;
}
