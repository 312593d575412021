import { jwtVerify, SignJWT } from "jose";
import { z } from "zod";
import { WayleaveError } from "../core/errors.ts";
import type { JobIdentity } from "../core/identity.ts";
import type { Narrowing } from "../core/session.ts";
import { type KeyRing, refuseRevoked } from "./keys.ts";

/** What is put into an access token. Times are ms since the epoch. */
export interface AccessTokenInput {
  readonly issuerUrl: string;
  readonly trustDomain: string;
  readonly sessionId: string;
  readonly identity: JobIdentity;
  /** Target names; the token is good for no other. */
  readonly targets: readonly string[];
  /** Role ids whose selector matched; never proof that a `when` holds. */
  readonly roles: readonly string[];
  /** True where the caller asked for fewer roles than it has. */
  readonly rolesNarrowed: boolean;
  /** Deny ids whose selector matched: what a gateway that does not ask knows of them. */
  readonly denies: readonly string[];
  /** Version of the policy that gave `roles` and `denies`. */
  readonly policy: string;
  /** RFC 7638 thumbprint of the key it is bound to; absent: a bearer token. */
  readonly jkt?: string;
  readonly jti: string;
  readonly now: number;
  /** The caller keeps this at or before the session's hard end. */
  readonly expiresAt: number;
}

/** What a verified access token says. */
export interface VerifiedAccessToken {
  readonly jti: string;
  readonly sessionId: string;
  readonly narrowing: Narrowing;
  /** ms since the epoch. */
  readonly expiresAt: number;
  /** Set for a token that is good only with a proof by the key of this thumbprint. @see RFC 7800 §3.1 */
  readonly jkt?: string;
}

/** `spiffe://<trust domain>/ci/<issuer>/<project id>`: stable, low in cardinality, no personal data. */
export function subjectOf(trustDomain: string, identity: JobIdentity): string {
  return `spiffe://${trustDomain}/ci/${identity.issuer}/${identity.project.id}`;
}

/**
 * An access token: RFC 9068 JWT, `typ: at+jwt`, ES256. Not checked here: that its record is durable; the caller
 * hands it out only then.
 *
 * @see RFC 9068 §2.2
 */
export async function mintAccessToken(keys: KeyRing, input: AccessTokenInput): Promise<string> {
  const { identity } = input;
  await keys.ready();
  return new SignJWT({
    sid: input.sessionId,
    client_id: identity.issuer,
    roles: [...input.roles],
    denies: [...input.denies],
    pol: input.policy,
    ...(input.rolesNarrowed ? { scope: input.roles.join(" ") } : {}),
    ...(identity.kind === "agent" ? { act: { sub: `agent:${identity.job.id}` } } : {}),
    ...(input.jkt === undefined ? {} : { cnf: { jkt: input.jkt } }),
    job: jobClaim(identity),
  })
    .setProtectedHeader({ alg: "ES256", typ: "at+jwt", kid: keys.kid })
    .setIssuer(input.issuerUrl)
    .setSubject(subjectOf(input.trustDomain, identity))
    .setAudience([...input.targets])
    .setIssuedAt(Math.floor(input.now / 1000))
    .setExpirationTime(Math.floor(input.expiresAt / 1000))
    .setJti(input.jti)
    .sign(keys.privateKey);
}

function jobClaim(identity: JobIdentity): Record<string, string> {
  const claim: Record<string, string | undefined> = {
    project_id: identity.project.id,
    project_path: identity.project.path,
    pipeline_id: identity.pipelineId,
    job_id: identity.job.id,
    name: identity.job.name,
    ref: identity.ref,
    environment: identity.environment,
    triggered_by: identity.triggeredBy?.id,
  };
  return Object.fromEntries(Object.entries(claim).filter((entry): entry is [string, string] => entry[1] !== undefined));
}

const Payload = z.object({
  jti: z.string().min(1),
  sid: z.string().min(1),
  aud: z.array(z.string()).min(1),
  exp: z.number(),
  scope: z.string().optional(),
  // Strict: a binding that is not understood must never make a bearer token.
  cnf: z.strictObject({ jkt: z.string().min(1) }).optional(),
});

/**
 * The session and narrowing of an access token that this broker signed. Throws `credential_invalid` for anything else, and
 * for one past its `exp` (no leeway: we are its issuer). Not checked: the proof that a token with `jkt` needs, whether the
 * session still lives, or whether the token was revoked.
 */
export async function verifyAccessToken(
  keys: KeyRing,
  issuerUrl: string,
  token: string,
  nowMs: number,
): Promise<VerifiedAccessToken> {
  try {
    const { payload, protectedHeader } = await jwtVerify(
      token,
      (header) => {
        const key = keys.publicKey(header.kid ?? "");
        if (key === undefined) throw new TypeError("unknown kid");
        return key;
      },
      { algorithms: ["ES256"], typ: "at+jwt", issuer: issuerUrl, currentDate: new Date(nowMs), clockTolerance: 0 },
    );
    refuseRevoked(keys, protectedHeader.kid);
    const claims = Payload.parse(payload);
    const roles = claims.scope?.split(" ");
    const { jkt } = claims.cnf ?? {};
    return {
      ...(jkt === undefined ? {} : { jkt }),
      jti: claims.jti,
      sessionId: claims.sid,
      narrowing: { targets: claims.aud, ...(roles === undefined ? {} : { roles }) },
      expiresAt: claims.exp * 1000,
    };
  } catch (cause) {
    throw new WayleaveError(
      "credential_invalid",
      "The access token is not one this broker issued, or its time is over.",
      { cause },
    );
  }
}
