import { createHash } from "node:crypto";
import { compactVerify, decodeProtectedHeader } from "jose";
import type { Clock } from "../core/clock.ts";
import { WayleaveError } from "../core/errors.ts";
import type { PeopleType } from "../core/person.ts";
import { excerpt } from "./excerpt.ts";
import type { KeySource } from "./jwks.ts";
import { isObject, parseStrictJson } from "./strict-json.ts";

export interface IdTokenOptions {
  readonly type: PeopleType;
  /** Exact `iss`. */
  readonly issuer: string;
  /** The one audience. */
  readonly clientId: string;
  /** Google Workspace domain: its `hd`. */
  readonly hostedDomain?: string;
  readonly keys: Pick<KeySource, "keyFor">;
  readonly clock: Pick<Clock, "now">;
}

/** A person's verified ID token. What its groups give is for the caller to see. */
export interface VerifiedIdToken {
  readonly iss: string;
  readonly sub: string;
  readonly claims: Readonly<Record<string, unknown>>;
  /** Hex SHA-256 of `iss`, NUL, `jti`; of the JWS signing input where the token has no `jti`. */
  readonly replayKey: string;
  /** From here on the token is refused for its age alone, ms since the epoch. */
  readonly uselessAt: number;
}

type Claims = Readonly<Record<string, unknown>>;

const leewaySeconds = 60;
/** A sign-in hands its token over at once: an older one was kept by somebody. */
const maxAgeSeconds = 10 * 60;
const maxTokenBytes = 32_768; // groups make them long
const algorithms: Readonly<Record<PeopleType, readonly string[]>> = {
  oidc: ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"],
  okta: ["RS256"],
  entra: ["RS256"],
  google: ["RS256"],
  gitlab: ["RS256"],
};

/** Claims by which CIs name a job. GitLab signs jobs' tokens with the issuer and keys of its people's. */
const jobClaims = [
  "job_id",
  "pipeline_id",
  "project_id",
  "namespace_id",
  "runner_id",
  "run_id",
  "build_number",
] as const;

/**
 * Verifies an ID token as the client it was issued to: issuer, key, signature, exactly one audience, `azp`, times, age,
 * `nonce` (equal where one was sent, absent where none was), and that it is a person's. Rejects `id_token_refused` or
 * `issuer_unreachable`. Not checked: whether it was used before, and what the person may do.
 *
 * @see OpenID Connect Core 1.0 §3.1.3.7
 */
export async function verifyIdToken(options: IdTokenOptions, token: string, nonce?: string): Promise<VerifiedIdToken> {
  const claims = await verifiedClaims(options, token);
  const iss = checkIssuer(options, claims);
  const { sub } = claims;
  if (typeof sub !== "string" || sub === "" || sub.length > 255) throw refuse('it has no usable "sub"');
  checkAudience(options, claims);
  const until = checkTimes(claims, options.clock.now());
  checkNonce(claims, nonce);
  refuseOthers(options, claims, sub);
  return { iss, sub, claims, replayKey: replayKeyOf(claims, iss, token), uselessAt: until };
}

async function verifiedClaims(options: IdTokenOptions, token: string): Promise<Claims> {
  if (token.length > maxTokenBytes) throw refuse(`it is longer than ${maxTokenBytes} bytes`);
  const { alg, kid } = readHeader(options, token);
  const key = await options.keys.keyFor(kid, alg).catch((error: unknown) => {
    if (!(error instanceof WayleaveError) || error.code === "issuer_unreachable") throw error;
    throw refuse(`${options.issuer} publishes no key ${excerpt(kid)} for ${alg}`, error);
  });
  const { payload } = await compactVerify(token, key, { algorithms: [alg] }).catch((cause: unknown) => {
    throw refuse(`its signature is not by key ${excerpt(kid)} of ${options.issuer}`, cause);
  });
  const json = parseStrictJson(payload);
  if (!json.ok || !isObject(json.value)) throw refuse(`its payload ${json.ok ? "is no JSON object" : json.problem}`);
  return json.value;
}

function readHeader({ type }: IdTokenOptions, token: string): { readonly alg: string; readonly kid: string } {
  let header: ReturnType<typeof decodeProtectedHeader>;
  try {
    header = decodeProtectedHeader(token);
  } catch (cause) {
    throw refuse("it is no signed JWT", cause);
  }
  const { alg, kid, typ, crit } = header;
  if (alg === undefined || !algorithms[type].includes(alg)) {
    throw refuse(`its algorithm is ${excerpt(String(alg), 20)}, not one of ${algorithms[type].join(", ")}`);
  }
  if (typ !== undefined && typ.toUpperCase() !== "JWT") throw refuse(`its typ is ${excerpt(typ, 40)}, not JWT`);
  if (crit !== undefined) throw refuse('its header has "crit"');
  if (typeof kid !== "string" || kid === "" || kid.length > 256) throw refuse('its header has no usable "kid"');
  return { alg, kid };
}

/** Byte for byte. */
function checkIssuer({ issuer, hostedDomain }: IdTokenOptions, { iss, hd, email_verified: verified }: Claims): string {
  if (iss !== issuer) throw refuse(`its issuer is ${excerpt(String(iss), 200)}, not ${excerpt(issuer, 200)}`);
  if (hostedDomain === undefined) return issuer;
  // Without `hd` it is anybody's own account, whatever the address says.
  if (hd !== hostedDomain) {
    const found = typeof hd === "string" ? `domain ${excerpt(hd, 100)}` : "no domain";
    throw refuse(`its account is of ${found}, and only people of ${hostedDomain} may sign in`);
  }
  if (verified === false) throw refuse("its account's address is not verified");
  return issuer;
}

/** Exactly one: who else it is for could use it here. */
function checkAudience({ clientId }: IdTokenOptions, { aud, azp }: Claims): void {
  const found: readonly unknown[] = Array.isArray(aud) ? aud : [aud];
  if (found.length !== 1 || found[0] !== clientId) {
    const said = found.length === 1 ? excerpt(String(found[0]), 200) : `${found.length} audiences`;
    throw refuse(`it is for ${said}, not for the client ${excerpt(clientId, 200)} alone`);
  }
  if (azp !== undefined && azp !== clientId) throw refuse(`its azp is ${excerpt(String(azp), 200)}, another client`);
}

function checkTimes(claims: Claims, nowMs: number): number {
  const [iat, exp] = [seconds(claims, "iat"), seconds(claims, "exp")];
  const nbf = claims.nbf === undefined ? iat : seconds(claims, "nbf");
  const now = nowMs / 1000;
  const until = Math.min(exp, iat + maxAgeSeconds) + leewaySeconds;
  if (now >= exp + leewaySeconds) throw refuse(`it expired ${new Date(exp * 1000).toISOString()}`);
  if (now >= until) throw refuse(`it was issued more than ${maxAgeSeconds / 60} minutes ago; sign in again`);
  if (now < Math.max(iat, nbf) - leewaySeconds) {
    const from = new Date(Math.max(iat, nbf) * 1000).toISOString();
    throw refuse(`it is valid only from ${from}; set the clocks of the issuer and of this broker`);
  }
  return until * 1000;
}

function seconds(claims: Claims, name: string): number {
  const value = claims[name];
  if (typeof value === "number" && Number.isInteger(value) && value >= 0 && value < 253_402_300_800) return value;
  throw refuse(`its "${name}" is no whole number of seconds`);
}

function checkNonce({ nonce }: Claims, sent: string | undefined): void {
  if (nonce === sent) return;
  throw refuse(
    sent === undefined ? "it has a nonce, so another sign-in asked for it" : "its nonce is not the one sent",
  );
}

/** A job may choose the audience of its token: claims that only a job's has are what tells them apart. So do applications. */
function refuseOthers({ type }: IdTokenOptions, claims: Claims, sub: string): void {
  const named = jobClaims.find((name) => Object.hasOwn(claims, name));
  if (named !== undefined) throw refuse(`it names a job (${named}), and a job is never a person`);
  if (type === "gitlab" && !/^[0-9]+$/.test(sub)) throw refuse('its "sub" is no user id of GitLab');
  if (claims.scp !== undefined) throw refuse('it is an access token ("scp"), which others are given too');
  if (type === "entra" && (claims.idtyp === "app" || claims.oid === sub)) {
    throw refuse("it is an application's token, not a person's");
  }
}

function replayKeyOf({ jti }: Claims, iss: string, token: string): string {
  if (jti !== undefined && (typeof jti !== "string" || jti === "")) throw refuse('its "jti" is no string');
  const text = jti === undefined ? token.slice(0, token.lastIndexOf(".")) : `${iss}\0${jti}`;
  return createHash("sha256").update(text).digest("hex");
}

function refuse(why: string, cause?: unknown): WayleaveError {
  return new WayleaveError("id_token_refused", `The ID token is refused: ${why}.`, { cause });
}
