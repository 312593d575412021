/** A value a condition may ask for. */
export type FactValue = string | number | boolean;

/** Something true about the world, read from the CI's API. */
export interface Fact {
  readonly value: FactValue;
  /** When it was read, ms since the epoch. */
  readonly observedAt: number;
  /** From here on it counts as missing, ms since the epoch. */
  readonly staleAt: number;
  /** Only the job's token says so. Absent: the CI's API was asked. A fact that nobody says is not here at all. */
  readonly claimed?: true;
}

/** Facts by full name, `change.merged`. An absent name is a missing fact. */
export type Facts = Readonly<Record<string, Fact>>;

export const noFacts: Facts = Object.freeze({});

/** The names that were asked for and have no value: what a replay may count as missing rather than as never asked. */
export function missingOf(facts: Facts, asked: readonly string[]): { readonly missing?: readonly string[] } {
  const missing = asked.filter((name) => !Object.hasOwn(facts, name));
  return missing.length === 0 ? {} : { missing };
}

export type FactType = "string" | "int" | "bool";

/**
 * Every fact a `when` may name besides `job`, `request` and `now`. `change` is the merge request whose head commit is the
 * job's `sha` or, for a job on the target branch, whose merge or squash commit is.
 */
export const factTable = {
  "change.merged": { type: "bool", doc: "the merge request is merged" },
  "change.approvals": { type: "int", doc: "approvals given to exactly this head commit" },
  "change.iid": { type: "int", doc: "the merge request's number" },
  "change.state": { type: "string", doc: "opened, closed, locked or merged" },
  "change.target": { type: "string", doc: "target branch" },
  "change.source": { type: "string", doc: "source branch" },
  "change.draft": { type: "bool", doc: "marked as draft" },
  "environment.name": { type: "string", doc: "the job's environment" },
  "environment.protected": { type: "bool", doc: "the environment is protected" },
  "environment.tier": { type: "string", doc: "production, staging, testing, development or other" },
  "runner.ephemeral": { type: "bool", doc: "the runner is made for one job and gone after it" },
  "approval.given": { type: "bool", doc: "the deployment was approved" },
  "approval.count": { type: "int", doc: "approvals the deployment has" },
} as const satisfies Readonly<Record<string, { type: FactType; doc: string }>>;
