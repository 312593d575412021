import { createHash } from "node:crypto";
import { compactVerify } from "jose";
import type { Clock } from "../core/clock.ts";
import { WayleaveError } from "../core/errors.ts";
import type { JobIdentity } from "../core/identity.ts";
import { excerpt } from "./excerpt.ts";
import type { KeySource } from "./jwks.ts";
import { isObject, parseStrictJson } from "./strict-json.ts";
import { checkTimes } from "./token-times.ts";

/** One issuer whose tokens are accepted. `provider` is a row of `src/ci/`, as far as verification needs it. */
export interface SubjectIssuer {
  readonly name: string;
  /** Exact `iss`. */
  readonly url: string;
  /** The one audience its tokens must carry. */
  readonly audience: string;
  readonly provider: {
    readonly algorithms: readonly string[];
    readonly maxTokenLifeSeconds: number;
    identity(
      payload: Readonly<Record<string, unknown>>,
      issuer: { readonly name: string; readonly url: string },
    ): JobIdentity;
  };
  readonly keys: Pick<KeySource, "keyFor">;
}

export interface VerifiedSubject {
  readonly identity: JobIdentity;
  /** Configured issuer name. */
  readonly issuer: string;
  readonly kid: string;
  /** Hex SHA-256 of `iss`, NUL, `jti`; of the JWS signing input where the token has no `jti`. */
  readonly replayKey: string;
  /** ms since the epoch. */
  readonly issuedAt: number;
  /** ms since the epoch; the token is accepted for 60 s longer. */
  readonly expiresAt: number;
}

export interface Verifier {
  /**
   * The job identity in a subject token. Rejects `subject_token_invalid`, `subject_token_expired`, `audience_refused`,
   * `issuer_unknown`, `issuer_unreachable` or `identity_refused`, and nothing else for whatever text it is given.
   * Not checked: whether the token was used before (`replayKey`), and whether its job still runs.
   */
  verify(subjectToken: string): Promise<VerifiedSubject>;
}

type Json = Readonly<Record<string, unknown>>;

const maxTokenBytes = 16_384;
const maxKidLength = 256;
/** Header members that change what is verified or offer a key of the caller's. @see RFC 7515 §4.1, RFC 7797 §3 */
const refusedMembers = ["crit", "b64", "jwk", "jku", "x5u", "x5c", "zip", "enc"] as const;

/**
 * Verifies CI tokens of the given issuers, in this order: form, issuer (before anything is fetched), algorithm and key
 * id, signature, audience, times, claims of the CI. Throws `config_invalid` where two issuers share a url.
 * @see RFC 8725
 */
export function createVerifier(options: {
  readonly issuers: readonly SubjectIssuer[];
  readonly clock: Clock;
}): Verifier {
  const issuers = new Map(options.issuers.map((issuer) => [issuer.url, issuer]));
  if (issuers.size < options.issuers.length) {
    throw new WayleaveError(
      "config_invalid",
      "Two issuers have one url, so a token's issuer is not clear; remove one.",
    );
  }
  return {
    async verify(subjectToken) {
      const { header, payload, signingInput } = parseToken(subjectToken);
      const issuer = findIssuer(issuers, payload.iss);
      const { alg, kid } = readHeader(header, issuer);
      const key = await issuer.keys.keyFor(kid, alg);
      await compactVerify(subjectToken, key, { algorithms: [alg] }).catch((cause: unknown) => {
        throw invalid(`The token's signature is not by key ${excerpt(kid)} of ${issuer.url}.`, cause);
      });
      checkAudience(payload.aud, issuer);
      const times = checkTimes(payload, issuer.provider.maxTokenLifeSeconds, options.clock.now());
      const replayKey = replayKeyOf(payload, issuer.url, signingInput);
      const identity = issuer.provider.identity(payload, { name: issuer.name, url: issuer.url });
      return { identity, issuer: issuer.name, kid, replayKey, ...times };
    },
  };
}

function parseToken(token: string): { header: Json; payload: Json; signingInput: string } {
  if (token.length > maxTokenBytes) throw invalid(`The token is longer than ${maxTokenBytes} bytes.`);
  const parts = token.split(".");
  const [header, payload, signature] = parts;
  if (parts.length !== 3 || !header || !payload || !signature) {
    throw invalid("The token is no signed JWT of three parts; send what the CI put into the job's variable, whole.");
  }
  if (!parts.every(isCanonicalBase64url)) throw invalid("A part of the token is not unpadded base64url.");
  return {
    header: parsePart(header, "header"),
    payload: parsePart(payload, "payload"),
    signingInput: `${header}.${payload}`,
  };
}

/** True where the text is the only one that decodes to its bytes. */
function isCanonicalBase64url(text: string): boolean {
  return /^[A-Za-z0-9_-]+$/.test(text) && Buffer.from(text, "base64url").toString("base64url") === text;
}

function parsePart(text: string, name: string): Json {
  const json = parseStrictJson(Buffer.from(text, "base64url"));
  if (!json.ok) throw invalid(`The token's ${name} ${json.problem}.`);
  if (!isObject(json.value)) throw invalid(`The token's ${name} is no JSON object.`);
  return json.value;
}

function findIssuer(issuers: ReadonlyMap<string, SubjectIssuer>, iss: unknown): SubjectIssuer {
  if (typeof iss !== "string") throw invalid('The token has no "iss" claim, so nobody stands for it.');
  const issuer = issuers.get(iss);
  if (issuer !== undefined) return issuer;
  throw new WayleaveError(
    "issuer_unknown",
    `No configured issuer has the url ${excerpt(iss)}; it is compared character by character (issuers[].url).`,
  );
}

function readHeader(header: Json, issuer: SubjectIssuer): { alg: string; kid: string } {
  const { alg, kid, typ } = header;
  const { algorithms } = issuer.provider;
  if (typeof alg !== "string" || !algorithms.includes(alg)) {
    const found = typeof alg === "string" ? excerpt(alg, 20) : "none";
    throw invalid(`The token's algorithm is ${found}; ${issuer.name} signs with ${algorithms.join(", ")}.`);
  }
  if (typ !== undefined && typ !== "JWT") throw invalid("The token's typ is not JWT: it is another kind of token.");
  const refused = refusedMembers.find((member) => Object.hasOwn(header, member));
  if (refused !== undefined) throw invalid(`The token's header has "${refused}", which CI tokens never have.`);
  if (typeof kid !== "string" || kid === "" || kid.length > maxKidLength) {
    throw invalid('The token\'s header has no usable "kid", so its key cannot be found.');
  }
  return { alg, kid };
}

/** Exactly one audience, ours: a token for us and somebody else could be used by somebody else. */
function checkAudience(aud: unknown, { audience }: SubjectIssuer): void {
  const found: readonly unknown[] = Array.isArray(aud) ? aud : [aud];
  if (found.length === 1 && found[0] === audience) return;
  const one = typeof found[0] === "string" ? excerpt(found[0], 200) : "missing or not a string";
  const said =
    found.length === 1
      ? `The token's audience is ${one}`
      : `The token has ${found.length} audiences, and must have exactly one`;
  throw new WayleaveError(
    "audience_refused",
    `${said}; ask for "${audience}" alone (GitLab: aud in id_tokens; Buildkite: --audience; GitHub: &audience=).`,
  );
}

function replayKeyOf(payload: Json, iss: string, signingInput: string): string {
  const { jti } = payload;
  if (jti !== undefined && (typeof jti !== "string" || jti === "")) throw invalid('The token\'s "jti" is no string.');
  // A signing input holds no NUL, so that the two forms cannot meet.
  return createHash("sha256")
    .update(jti === undefined ? signingInput : `${iss}\0${jti}`)
    .digest("hex");
}

function invalid(detail: string, cause?: unknown): WayleaveError {
  return new WayleaveError("subject_token_invalid", detail, cause === undefined ? {} : { cause });
}
