import type { Fact, Facts, FactValue } from "../core/fact.ts";
import {
  type AttributeValue,
  type Cause,
  type IssuerType,
  type JobIdentity,
  jobKey,
  type Kind,
} from "../core/identity.ts";

/** Claims as a test or a question writes them: selector fields, and `fork`, `kind` and `caused_by`. */
export type Claims = Readonly<Record<string, string | boolean>>;

const notFields: ReadonlySet<string> = new Set(["fork", "kind", "caused_by"]);

/**
 * The identity a job with these claims would have. What is not said is an absent claim, but for `group`, which is every
 * group above the project, and `ref_type`, which is branch. A list field has the one value given. Ids that are not given
 * are `0`, as are those in templates.
 */
export function imagineIdentity(issuer: string, type: IssuerType, claims: Claims): JobIdentity {
  const text = (name: string): string | undefined => (Object.hasOwn(claims, name) ? String(claims[name]) : undefined);
  const path =
    text("project") ??
    text("repository") ??
    [text("organization"), text("pipeline")].filter((part) => part !== undefined).join("/");
  const id = text("project_id") ?? text("repository_id") ?? "0";
  const ref = text("ref");
  const environment = text("environment");
  const user = text("user_id");
  const event = text("caused_by");
  return {
    issuer,
    issuerType: type,
    kind: kindOf(claims.kind),
    project: { id, path },
    pipelineId: "0",
    job: { id: "0" },
    ...(ref === undefined ? {} : { ref, refType: text("ref_type") === "tag" ? "tag" : "branch" }),
    ...(environment === undefined ? {} : { environment }),
    ...(user === undefined ? {} : { triggeredBy: { id: user } }),
    fork: forkOf(claims.fork),
    ...(event === undefined ? {} : { cause: imagineCause(issuer, event) }),
    attributes: imagineAttributes(claims, path),
    variables: imagineVariables(id, ref, environment),
  };
}

/** Of a pipeline that the event started and whose causing job nobody asked about. */
function imagineCause(issuer: string, event: string): Cause {
  return { event, session: "ses_imagined", job: jobKey(issuer, "0"), project: "", depth: 1 };
}

function imagineAttributes(claims: Claims, path: string): JobIdentity["attributes"] {
  const attributes: Record<string, AttributeValue> = { group: groupsAbove(path) };
  if (claims.ref !== undefined) attributes.ref_type = "branch";
  for (const [name, value] of Object.entries(claims)) if (!notFields.has(name)) attributes[name] = value;
  return attributes;
}

function imagineVariables(
  id: string,
  ref: string | undefined,
  environment: string | undefined,
): Readonly<Record<string, string>> {
  return {
    "job.project_id": id,
    "job.pipeline_id": "0",
    "job.id": "0",
    ...(ref === undefined ? {} : { "job.ref_slug": slug(ref) }),
    ...(environment === undefined ? {} : { "environment.name": environment, "environment.slug": slug(environment) }),
  };
}

/** Facts that were just read and never get stale. `now` is in ms since the epoch. */
export function imagineFacts(values: Readonly<Record<string, FactValue>>, now: number): Facts {
  return Object.fromEntries(
    Object.entries(values).map(([name, value]): [string, Fact] => [
      name,
      { value, observedAt: now, staleAt: Number.MAX_SAFE_INTEGER },
    ]),
  );
}

const kindOf = (kind: string | boolean | undefined): Kind => (kind === "agent" || kind === "person" ? kind : "job");

function forkOf(fork: string | boolean | undefined): JobIdentity["fork"] {
  if (fork === undefined || fork === false || fork === "false") return "no";
  return fork === true || fork === "true" ? "yes" : "unknown";
}

function groupsAbove(path: string): readonly string[] {
  const parts = path.split("/");
  return parts.slice(1).map((_, at) => parts.slice(0, at + 1).join("/"));
}

/** Roughly as a CI makes it. */
function slug(name: string): string {
  return name
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, "-")
    .replaceAll(/^-+|-+$/g, "")
    .slice(0, 63);
}
