import type { Fact, Facts, FactValue } from "../core/fact.ts";
import type { AttributeValue, IssuerType, JobIdentity } from "../core/identity.ts";

/** Claims as a test or a question writes them: selector fields, and `fork` and `kind`. */
export type Claims = Readonly<Record<string, string | boolean>>;

/**
 * The identity a job with these claims would have. What is not said is an absent claim; fields that are lists get one
 * value, and `group` every group above the project.
 */
export function imagineIdentity(issuer: string, type: IssuerType, claims: Claims) : JobIdentity {
  const text = (name: string): string | undefined => (Object.hasOwn(claims, name) ? String(claims[name]) : undefined);
  const path =
    text("project") ?? [text("organization"), text("pipeline")].filter((part) => part !== undefined).join("/");
  const id = text("project_id") ?? "0";
  const lists = ["project", "project_id", "group"];
  const attributes: Record<string, AttributeValue> = {};
  for (const [name, value] of Object.entries(claims)) {
    if (!["fork", "kind", "caused_by"].includes(name)) attributes[name] = type === "gitlab" && lists.includes(name) ? [String(value)] : value;
  }
  if (type === "gitlab" && attributes.group === undefined) attributes.group = groupsAbove(path);
  const ref = text("ref");
  const environment = text("environment");
  return {
    issuer,
    issuerType: type,
    kind: text("kind") === "agent" ? "agent" : "job",
    project: { id, path },
    pipelineId: "0",
    job: { id: "0" },
    ...(ref === undefined ? {} : { ref, refType: text("ref_type") === "tag" ? "tag" : "branch" }),
    ...(environment === undefined ? {} : { environment }),
    fork: forkOf(claims.fork),
    attributes,
    variables: {
      "job.project_id": id,
      "job.pipeline_id": "0",
      "job.id": "0",
      ...(ref === undefined ? {} : { "job.ref_slug": slug(ref) }),
      ...(environment === undefined ? {} : { "environment.name": environment, "environment.slug": slug(environment) }),
    },
  };
}

/** Facts that were just read and never get stale. */
export function imagineFacts(values: Readonly<Record<string, FactValue>>, now: number): Facts {
  return Object.fromEntries(
    Object.entries(values).map(([name, value]): [string, Fact] => [
      name,
      { value, observedAt: now, staleAt: Number.MAX_SAFE_INTEGER },
    ]),
  );
}

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
