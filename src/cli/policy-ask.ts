import { WayleaveError } from "../core/errors.ts";
import type { Facts, FactValue } from "../core/fact.ts";
import { type IssuerType, issuerTypes, type JobIdentity, type Vocabulary } from "../core/identity.ts";
import { imagineFacts, imagineIdentity } from "../policy/imagine.ts";
import type { CliWord, Input } from "./command.ts";

export const askOptions: readonly CliWord[] = [
  {
    spec: "--as <selector>",
    doc: "the job, as key=value: issuer=gitlab, project=acme/shop, ref=main, …",
    repeats: true,
  },
  { spec: "--with <fact>", doc: "a fact, as name=value: change.merged=true; one left out is missing", repeats: true },
];

/**
 * The imagined job of `--as`, as a policy's tests imagine theirs. What is not said is an absent claim. Throws
 * `invalid_request` for a field that the CI's tokens do not have, and where nothing says whose job it is.
 */
export function imaginedJob(input: Input, vocabulary: Vocabulary): JobIdentity {
  const { type: typed, issuer, ...given } = pairs(input.list("as"), "--as");
  const type: IssuerType = issuerTypes.find((known) => known === (typed ?? issuer)) ?? "gitlab";
  const fields = vocabulary[type] ?? {};
  const claims = Object.entries(given).map(([name, value]) => [name, claimValue(name, value, fields)] as const);
  if (!claims.some(([name]) => fields[name]?.anchors)) {
    const help =
      "Say whose job it is: --as project=acme/shop, or for Buildkite --as issuer=buildkite --as organization=acme.";
    throw new WayleaveError("invalid_request", help);
  }
  const refType = given.ref === undefined || given.ref_type !== undefined ? {} : { ref_type: "branch" };
  return imagineIdentity(issuer ?? type, type, { ...Object.fromEntries(claims), ...refType });
}

function claimValue(name: string, value: string, fields: NonNullable<Vocabulary[IssuerType]>): string | boolean {
  if (name === "fork" || name === "kind") return value;
  const field = Object.hasOwn(fields, name) ? fields[name] : undefined;
  if (field === undefined) {
    const known = ["issuer", "fork", "kind", ...Object.keys(fields)].join(", ");
    throw new WayleaveError("invalid_request", `--as has no field ${JSON.stringify(name)}. It knows: ${known}.`);
  }
  return field.type === "boolean" ? value === "true" : value;
}

export function imaginedFacts(input: Input, now: number): Facts {
  const given = Object.entries(pairs(input.list("with"), "--with"));
  return imagineFacts(Object.fromEntries(given.map(([name, value]) => [name, factValue(value)])), now);
}

/** The request as typed: `POST billing /v1/releases`, `read db`, `pub events build.status.7`. */
export function askOf(words: readonly string[]): {
  readonly verb: string;
  readonly target: string;
  readonly object: string;
} {
  const [verb, target, ...object] = words;
  // A subscription may name its queue group behind the subject.
  if (verb === undefined || target === undefined || object.length > (verb === "sub" ? 2 : 1)) {
    throw new WayleaveError("invalid_request", "Ask as in a policy's tests: POST billing /v1/releases, or read db.");
  }
  return { verb, target, object: object.join(" ") };
}

function factValue(text: string): FactValue {
  if (text === "true" || text === "false") return text === "true";
  return /^-?\d+$/.test(text) ? Number(text) : text;
}

function pairs(words: readonly string[], option: string): Readonly<Record<string, string>> {
  const entries = words.map((word): [string, string] => {
    const at = word.indexOf("=");
    if (at < 1)
      throw new WayleaveError(
        "invalid_request",
        `${option} ${JSON.stringify(word)} is not understood. Write key=value.`,
      );
    return [word.slice(0, at), word.slice(at + 1)];
  });
  return Object.fromEntries(entries);
}
