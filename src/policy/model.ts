import type { NatsOperation, TargetKind } from "../core/target.ts";

/** Where something stands in a policy file. Lines and columns start at 1; `length` is in characters. */
export interface Place {
  readonly file: string;
  readonly line: number;
  readonly column: number;
  readonly length: number;
}

export type Mode = "enforce" | "observe";

/** A target as written, checked, not yet compiled. Strings may hold `${…}` templates. */
export interface TargetModel {
  readonly name: string;
  readonly kind: TargetKind;
  readonly place: Place;
  readonly mode: Mode;
  /** http: lower-case hosts, templates allowed in whole labels. Empty for other kinds. */
  readonly hosts: readonly string[];
  /** http, mesh: `deny` or `pass` requests without an identity, by route. First match wins; nothing matches: deny. */
  readonly unidentified: readonly RouteModel[];
  readonly observe: readonly RouteModel[];
  /** Routes that are enforced on an observed target. They win over `observe`: the order of routes never matters. */
  readonly enforce?: readonly RouteModel[];
  readonly assertion: "off" | "required";
  readonly proof: "off" | "required";
  /** `%2F` within a segment; call-out only. */
  readonly encodedSlash: "refuse" | "segment";
  /** 0: deny. `place` is where the policy asks for more. */
  readonly onOutage: { readonly keepSeconds: number; readonly place?: Place };
  /** Kind-specific settings exactly as checked (account, spiffe_id, vault, fields, aws, cluster, groups, address). */
  readonly settings: Readonly<Record<string, string | readonly string[]>>;
}

/** A method-and-path pattern used for `unidentified` and per-route `observe`. */
export interface RouteModel {
  readonly pattern: HttpPattern;
  readonly place: Place;
}

/** `GET /v1/invoices/**`. Segments are decoded text. */
export interface HttpPattern {
  /** Upper-case, or `*` for any. */
  readonly method: string;
  readonly segments: readonly PathSegment[];
  readonly stream: boolean;
  readonly source: string;
}

export type PathSegment =
  | { readonly kind: "literal"; readonly text: string }
  /** `*` alone or within a segment (`v*`): split at the stars, so `["v", ""]`. */
  | { readonly kind: "glob"; readonly parts: readonly string[] }
  /** `:name`: exactly one segment. */
  | { readonly kind: "param"; readonly name: string }
  /** `**`: zero or more segments. */
  | { readonly kind: "any" }
  /** Literal text and `${…}`; filled to one segment. */
  | { readonly kind: "template"; readonly template: Template };

/** Text with holes: literals and variable names alternate; `["build.", "job.project_id", ".x"]` starts and ends with text. */
export interface Template {
  readonly texts: readonly string[];
  readonly names: readonly string[];
  readonly source: string;
}

/** `pub build.status.${job.project_id}.*`. Tokens: literal, `*`, `>` (last only), or template. */
export interface NatsPattern {
  readonly verb: NatsOperation["verb"];
  readonly tokens: readonly (
    | { readonly kind: "literal"; readonly text: string }
    | { readonly kind: "star" }
    | { readonly kind: "rest" }
    | { readonly kind: "template"; readonly template: Template }
  )[];
  readonly queue?: string;
  readonly source: string;
}

export type OperationModel =
  | { readonly kind: "http"; readonly pattern: HttpPattern; readonly place: Place }
  | { readonly kind: "nats"; readonly pattern: NatsPattern; readonly place: Place }
  | { readonly kind: "verb"; readonly verb: string; readonly place: Place };

/** One field of a selector: alternatives, each an exact value or a glob over `/`-separated segments. */
export interface SelectorClause {
  readonly field: string;
  readonly values: readonly (boolean | StringPattern)[];
  readonly place: Place;
}

/** `exact`: equals. `glob`: `*` within one `/`-separated segment, `**` across. */
export type StringPattern =
  | { readonly kind: "exact"; readonly text: string }
  | { readonly kind: "glob"; readonly segments: readonly PathSegment[]; readonly source: string };

/** One `who` entry or an inline selector. */
export interface SelectorModel {
  /** Name under `who`, or a generated one for an inline selector. */
  readonly name: string;
  /** Issuer name or type; undefined in a broad `deny` selector: any issuer. */
  readonly issuer?: string;
  readonly clauses: readonly SelectorClause[];
  readonly kind?: "job" | "agent" | "person";
  /** Matches forks and unknown forks only when true. */
  readonly fork: boolean;
  readonly causedBy?: readonly string[];
  readonly place: Place;
}

/** A CEL condition, type-checked: source plus what it reads. Compiled by `policy/condition.ts`. */
export interface ConditionModel {
  readonly source: string;
  readonly place: Place;
  /** Fact names it reads, `change.merged`. */
  readonly facts: readonly string[];
  /** True when it reads `request`. */
  readonly readsRequest: boolean;
  /** True when it reads `now`. */
  readonly readsNow: boolean;
}

export interface LimitModel {
  readonly max: number;
  readonly windowMs: number;
  /** What is counted together. */
  readonly per: "session" | "project" | "role";
  /** `gateway`: each gateway counts for itself; `global`: all together. */
  readonly scope: "gateway" | "global";
}

export interface RoleModel {
  /** Stable id: the `id` field, or the name. */
  readonly id: string;
  readonly name: string;
  readonly for: readonly SelectorModel[];
  readonly when?: ConditionModel;
  readonly ttlSeconds?: number;
  readonly until: "job" | "pipeline";
  readonly limit?: LimitModel;
  /** The mesh identity its X.509-SVIDs carry; absent: `spiffe://<trust domain>/role/<id>`. */
  readonly spiffeId?: string;
  /** By target name. */
  readonly allow: Readonly<Record<string, readonly OperationModel[]>>;
  readonly place: Place;
  /** Per-role observe: what it would allow is not enforced-narrowed; see design §3. */
  readonly mode: Mode;
}

export interface DenyModel {
  readonly id: string;
  readonly for: readonly SelectorModel[];
  /** Empty: every target. */
  readonly targets: readonly string[];
  /** By target name; a target without an entry is denied whole. */
  readonly operations: Readonly<Record<string, readonly OperationModel[]>>;
  readonly when?: ConditionModel;
  readonly because: string;
  readonly place: Place;
}

/** A message that may start a pipeline, as written and checked. */
export interface EventModel {
  readonly name: string;
  /** Jobs whose messages count. */
  readonly for: readonly SelectorModel[];
  readonly on: { readonly target: string; readonly stream: string; readonly subject: string };
  readonly start: EventStart;
  readonly variables: readonly EventVariable[];
  readonly limit: Pick<LimitModel, "max" | "windowMs">;
  /** Longest chain of causes, at least 1. */
  readonly depth: number;
  /** About the causing job; it reads no `request`. */
  readonly when?: ConditionModel;
  readonly place: Place;
}

/** The one pipeline an event starts. `issuer` is as written: a configured name, or a type that has one issuer at most. */
export type EventStart =
  | {
      readonly type: "gitlab";
      readonly issuer: string;
      /** Path or id. */
      readonly project: string;
      /** Branch or tag. */
      readonly ref: string;
    }
  | {
      readonly type: "buildkite";
      readonly issuer: string;
      readonly organization: string;
      readonly pipeline: string;
      readonly branch: string;
    };

/** A variable of the pipeline, and where in the message's JSON its value stands. */
export interface EventVariable {
  readonly name: string;
  /** RFC 6901, as written. */
  readonly pointer: string;
}

/** One entry under `tests`, as written. `can`/`cannot` lines are parsed to target and operation text. */
export interface TestModel {
  readonly name: string;
  readonly issuer: string;
  readonly as: Readonly<Record<string, string | boolean>>;
  readonly with: Readonly<Record<string, string | number | boolean>>;
  readonly can: readonly TestLine[];
  readonly cannot: readonly TestLine[];
  readonly place: Place;
}

/** `POST billing /v1/releases`, `sub events deploy.events.* workers`, `read db`. */
export interface TestLine {
  readonly source: string;
  readonly target: string;
  readonly verb: string;
  /** All that follows the target; empty where nothing does. */
  readonly object: string;
  readonly place: Place;
}

/** A policy that parsed and checked without errors; what `compile` takes. */
export interface PolicyModel {
  readonly targets: readonly TargetModel[];
  readonly roles: readonly RoleModel[];
  readonly deny: readonly DenyModel[];
  readonly events: readonly EventModel[];
  readonly tests: readonly TestModel[];
  /** `issuer/path` → id, from the lock file. */
  readonly pins: Readonly<Record<string, string>>;
  /** First 12 hex of the SHA-256 over the sources: same bytes, same version. */
  readonly version: string;
}

/** One finding, in the shape the terminal and `--json` share. */
export interface Diagnostic {
  readonly severity: "error" | "warning";
  /** Stable snake_case. */
  readonly code: string;
  readonly message: string;
  readonly place: Place;
  readonly help?: string;
  readonly note?: string;
  /** A few words to print behind the underline. */
  readonly label?: string;
}
