import { createHash } from "node:crypto";
import { WayleaveError } from "../../core/errors.ts";
import { claimText, commitSha } from "../read-claims.ts";
import type { OidcConfig } from "./config.ts";

type Payload = Readonly<Record<string, unknown>>;
type Claim = keyof OidcConfig["claims"];

/** The claims of a token, by what they mean. Ids fit into a SPIFFE ID. */
export interface OidcClaims {
  readonly project: string;
  readonly projectId: string;
  readonly job: string;
  readonly pipeline: string;
  readonly ref?: { readonly name: string; readonly type: "branch" | "tag" };
  readonly sha?: string;
  readonly roles?: readonly string[];
  readonly text: (claim: Claim) => string | undefined;
}

/**
 * What a verified payload says by an issuer's configured mapping. Throws `identity_refused`, naming the claim, for what is
 * required and missing, for another value, and for a claim that only other tokens have.
 */
export function readOidcClaims(payload: Payload, config: OidcConfig): OidcClaims {
  refuseOthers(payload, config);
  const { claims } = config;
  const text = (claim: Claim) => textAt(payload, claims[claim]);
  const project = text("project") ?? missing(claims.project);
  const mappedId = claims.project_id === undefined ? undefined : (text("project_id") ?? missing(claims.project_id));
  const job = textAt(payload, claims.job ?? "jti") ?? missing(claims.job ?? "jti");
  const projectId = mappedId === undefined ? idOfName(project) : plainId(mappedId, claims.project_id);
  const ref = refOf(text("ref"), text("ref_type"));
  const sha = commitSha.safeParse(text("sha"));
  const roles = listAt(payload, claims.roles);
  return {
    project,
    projectId,
    // Some CIs count jobs within each project.
    job: `${projectId}:${job}`,
    pipeline: text("pipeline") ?? job,
    ...(ref === undefined ? {} : { ref }),
    ...(sha.success ? { sha: sha.data } : {}),
    ...(roles === undefined ? {} : { roles }),
    text,
  };
}

function refuseOthers(payload: Payload, { require = {}, refuse = [] }: OidcConfig): void {
  const foreign = refuse.find((claim) => Object.hasOwn(payload, claim));
  if (foreign !== undefined) {
    throw refused(`The token has the claim "${foreign}", which issuers[].oidc.refuse names; use a job's own token.`);
  }
  for (const [claim, wanted] of Object.entries(require)) {
    const found = Object.hasOwn(payload, claim) ? payload[claim] : undefined;
    const values: readonly unknown[] = Array.isArray(found) ? found : [found];
    const accepted: readonly unknown[] = Array.isArray(wanted) ? wanted : [wanted];
    if (values.some((value) => accepted.includes(value))) continue;
    throw refused(
      `The token's claim "${claim}" ${found === undefined ? "is missing" : "has another value"} than issuers[].oidc.require asks for.`,
    );
  }
}

/** A string, or a whole number as its digits; undefined for what is absent, null or empty. */
function textAt(payload: Payload, claim: string | readonly string[] | undefined): string | undefined {
  const value = valueAt(payload, claim);
  if (value === undefined || value === null || value === "") return undefined;
  const read = claimText.safeParse(Number.isSafeInteger(value) ? String(value) : value);
  if (read.success) return withoutBraces(read.data);
  throw refused(`The token's claim ${shown(claim)} is no plain text or whole number, as its mapping needs.`);
}

function listAt(payload: Payload, claim: string | readonly string[] | undefined): readonly string[] | undefined {
  const value = valueAt(payload, claim);
  if (value === undefined || value === null) return undefined;
  const read = claimText.array().max(1000).safeParse(value);
  if (read.success) return read.data;
  throw refused(`The token's claim ${shown(claim)} is no list of texts, as its mapping needs.`);
}

function valueAt(payload: Payload, claim: string | readonly string[] | undefined): unknown {
  if (claim === undefined) return undefined;
  let value: unknown = payload;
  for (const name of typeof claim === "string" ? [claim] : claim) {
    if (typeof value !== "object" || value === null || Array.isArray(value) || !Object.hasOwn(value, name)) {
      return undefined;
    }
    value = (value as Payload)[name];
  }
  return value;
}

/** Bitbucket wraps its UUIDs in braces, which a SPIFFE ID cannot hold. */
function withoutBraces(value: string): string {
  return /^\{([0-9a-f-]{36})\}$/.exec(value)?.[1] ?? value;
}

function plainId(id: string, claim: string | readonly string[] | undefined): string {
  if (/^(?!\.{1,2}$)[A-Za-z0-9._-]{1,64}$/.test(id)) return id;
  throw refused(
    `The token's claim ${shown(claim)} is no id of 1 to 64 of A-Z, a-z, 0-9, ., _ and -; leave project_id out, and one is made from the name.`,
  );
}

/** An id where the CI has none. A renamed project is another project. */
function idOfName(project: string): string {
  return `n-${createHash("sha256").update(project).digest("hex").slice(0, 32)}`;
}

function refOf(found: string | undefined, typed: string | undefined): OidcClaims["ref"] {
  if (found === undefined) return undefined;
  const [, prefix, short = ""] = /^refs\/(heads|tags)\/(.+)$/.exec(found) ?? [];
  const type = prefix === undefined ? (typed ?? "branch") : prefix === "tags" ? "tag" : "branch";
  if (type !== "branch" && type !== "tag") throw refused('The token\'s ref_type is neither "branch" nor "tag".');
  if (typed !== undefined && typed !== type) throw refused("The token's ref and ref_type contradict each other.");
  if (short.startsWith("refs/")) throw refused("The token's ref has a name that starts with refs/; rename it.");
  return { name: prefix === undefined ? found : short, type };
}

const shown = (claim: string | readonly string[] | undefined) =>
  typeof claim === "object" ? claim.map((name) => `"${name}"`).join(" → ") : `"${claim ?? ""}"`;

function missing(claim: string | readonly string[]): never {
  throw refused(`The token's claim ${shown(claim)} is missing; ask the CI for it, or map another.`);
}

function refused(detail: string): WayleaveError {
  return new WayleaveError("identity_refused", detail);
}
