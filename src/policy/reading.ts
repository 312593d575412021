import type { IssuerType, Vocabulary } from "../core/identity.ts";
import type { TargetKind } from "../core/target.ts";
import type { Findings, Parsed, Problem } from "./findings.ts";
import type {
  DenyModel,
  EventModel,
  Place,
  RoleModel,
  SelectorModel,
  StringPattern,
  TargetModel,
  TestModel,
} from "./model.ts";
import { type Path, placeWithin, type Source } from "./source.ts";

export interface PolicyText {
  readonly name: string;
  readonly text: string;
}

export interface ConfiguredIssuer {
  readonly name: string;
  readonly type: IssuerType;
  /** GitLab without protected environments. */
  readonly edition?: "community";
}

export interface PolicyInput {
  readonly files: readonly PolicyText[];
  readonly lock?: PolicyText;
  readonly vocabulary: Vocabulary;
  /** Configured issuers; selectors may name them beside the types. */
  readonly issuers?: readonly ConfiguredIssuer[];
  /** Template variables; `defaultVariables` where left out. */
  readonly variables?: readonly string[];
  /** Values seen in the last 30 days by selector field: a selector of none of them is warned of. */
  readonly seen?: Readonly<Record<string, readonly string[]>>;
  /** Where given, the length of every pinned project's `sub` is checked. */
  readonly trustDomain?: string;
}

export interface PolicyParts {
  readonly reading: Reading;
  readonly roles: readonly RoleModel[];
  readonly deny: readonly DenyModel[];
  readonly events: readonly EventModel[];
  readonly tests: readonly TestModel[];
}

/** A selector and whether it says `fork:` itself; a deny that does not say it also matches forks. */
export interface ReadSelector {
  readonly model: SelectorModel;
  readonly saysFork: boolean;
}

/** Something with a name, even where it could not be read: a reference to it is then no second mistake. */
export interface Named<T> {
  readonly name: string;
  readonly place: Place;
  readonly read?: T;
}

export interface NamedTarget extends Named<TargetModel> {
  readonly kind?: TargetKind;
  /** Places of its hosts, in their order. */
  readonly hostPlaces: readonly Place[];
}

/** What the readers of one policy share. */
export interface Reading {
  readonly findings: Findings;
  readonly vocabulary: Vocabulary;
  /** Type by issuer name; each type is also a name for all issuers of that type. */
  readonly issuers: ReadonlyMap<string, IssuerType>;
  /** The configured ones; empty where nobody says which there are. */
  readonly configured: readonly ConfiguredIssuer[];
  readonly variables: readonly string[];
  /** Names of all events, even where one could not be read: a reference to it is then no second mistake. */
  readonly events: Set<string>;
  /** Names of events that selectors and tests speak of, and where. */
  readonly causes: { readonly event: string; readonly place: Place }[];
  /** Where a selector's value stands, since a clause may have several. */
  readonly places: WeakMap<StringPattern, Place>;
  readonly targets: Map<string, NamedTarget>;
  readonly who: Map<string, Named<ReadSelector>>;
}

/** The value, or undefined with the problem reported at its place inside the scalar at `path`. */
export function take<T>(result: Parsed<T>, source: Source, path: Path, findings: Findings): T | undefined {
  if (result.ok) return result.value;
  report(result.problem, source, path, findings);
  return undefined;
}

function report(problem: Problem, source: Source, path: Path, findings: Findings): void {
  const place = placeWithin(source, path, problem.at, problem.length);
  findings.error(problem.code, place, problem.message, { help: problem.help });
}
