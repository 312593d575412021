import { factTable } from "../core/fact.ts";

/** Types of values in a condition; `list(t)` for lists, `dyn` for the items of an empty one, `error` for what was reported already. */
export type ConditionType = string;

/** What `job` offers in a condition. An absent claim is missing, as a fact can be. */
export const jobFields = {
  project: { type: "string", doc: "the project's path" },
  project_id: { type: "string", doc: "the project's id" },
  ref: { type: "string", doc: "the branch or tag" },
  ref_type: { type: "string", doc: "branch or tag, as a word" },
  ref_protected: { type: "bool", doc: "the ref is protected" },
  environment: { type: "string", doc: "the job's environment" },
  source: { type: "string", doc: "what started the pipeline" },
  pipeline_id: { type: "string", doc: "the pipeline's id" },
  id: { type: "string", doc: "the job's id" },
  name: { type: "string", doc: "the job's name, where the CI's API said it" },
  kind: { type: "string", doc: "job, agent or person" },
  issuer: { type: "string", doc: "the issuer's configured name" },
  sha: { type: "string", doc: "the commit" },
  user: { type: "string", doc: "id of the person who triggered the pipeline" },
} as const;

/**
 * What `request` offers; a condition that reads it is decided by call-out only. What a kind of target does not have is
 * missing, as an absent claim is.
 */
export const requestFields = {
  method: { type: "string", doc: "upper-case method; the verb for other kinds: pub, sub, req, pull, read, …" },
  path: { type: "string", doc: "http, mesh: the path, not decoded" },
  host: { type: "string", doc: "http: lower-case host" },
  subject: {
    type: "string",
    doc: "nats: the subject, with the wildcards of a subscription; stream.consumer of a pull",
  },
  queue: { type: "string", doc: "nats: the queue group of a subscription that has one" },
  target: { type: "string", doc: "the target's name" },
} as const;

type Fields = Readonly<Record<string, ConditionType>>;

const facts = Object.entries(factTable).map(([name, { type }]) => [...name.split("."), type] as const);
const factFields = (variable: string): Fields =>
  Object.fromEntries(facts.filter(([first]) => first === variable).map(([, field, type]) => [field, type]));
const types = (table: Readonly<Record<string, { readonly type: ConditionType }>>): Fields =>
  Object.fromEntries(Object.entries(table).map(([field, { type }]) => [field, type]));

/** Field types by variable. `now`, a timestamp, stands beside them and has no fields. */
export const conditionScope: ReadonlyMap<string, Fields> = new Map([
  ["job", types(jobFields)],
  ["request", types(requestFields)],
  ...["change", "environment", "runner", "approval"].map((variable) => [variable, factFields(variable)] as const),
]);
