import type { ReasonCode } from "../core/decision.ts";

/** What the caller is known by. The token is empty where there is none, or one of another scheme. */
export interface Credential {
  readonly scheme: "bearer" | "dpop" | "none";
  readonly token: string;
}

export const noCredential: Credential = { scheme: "none", token: "" };

/** @see RFC 6750 §2.1, RFC 9449 §7.1 */
export function credentialOf({
  assertion,
  authorization,
}: {
  readonly assertion?: string;
  readonly authorization: string | undefined;
}): Credential {
  if (assertion !== undefined) return { scheme: "bearer", token: assertion };
  if (authorization === undefined) return noCredential;
  const space = authorization.indexOf(" ");
  const scheme = authorization.slice(0, Math.max(space, 0)).toLowerCase();
  if (scheme !== "bearer" && scheme !== "dpop") return noCredential;
  return { scheme, token: authorization.slice(space + 1).trim() };
}

/** Why a verified token may not be sent like this: neither kind is taken for the other. @see RFC 9449 §7.1 */
export function misuse({ scheme }: Credential, jkt: string | undefined): ReasonCode | undefined {
  const bound = jkt !== undefined;
  if (bound === (scheme === "dpop")) return undefined;
  return bound ? "bound_as_bearer" : "credential_invalid";
}

/** The gateway in front has seen the proof and counted the request, or this one has when it let it through. */
export function provenBefore({ assertion, admitted }: Asked): boolean {
  return assertion !== undefined || admitted !== undefined;
}

interface Asked {
  readonly assertion?: string;
  readonly admitted?: object;
}

/** Why a token that was verified opens nothing here, before policy is asked. */
export function unusableReason<Q extends Asked>(
  verdict: {
    readonly state: "valid" | "expired";
    readonly token: { readonly jti: string; readonly jkt?: string; names?(question: Q): boolean };
  },
  { question, unproven }: { readonly question: Q; readonly unproven?: ReasonCode },
  revoked: (jti: string) => boolean,
  proof: "off" | "required",
): ReasonCode | undefined {
  const { state, token } = verdict;
  if (state === "expired") return "credential_expired";
  if (token.names?.(question) === false) return "credential_invalid";
  if (revoked(token.jti)) return "credential_revoked";
  if (unproven !== undefined) return unproven;
  const proven = token.jkt !== undefined || provenBefore(question);
  return proof === "required" && !proven ? "proof_required" : undefined;
}

/** The reasons that mean: the credential is the problem, get another one (HTTP 401). */
export const credentialReasons: ReadonlySet<ReasonCode> = new Set([
  "no_credential",
  "credential_invalid",
  "credential_expired",
  "credential_revoked",
  "proof_required",
  "proof_invalid",
  "proof_replayed",
  "bound_as_bearer",
  "session_ended",
  "session_suspended",
  "session_unknown",
] satisfies ReasonCode[]);

/** Those among them that a proof by the token's key would mend. */
export const proofReasons: ReadonlySet<ReasonCode> = new Set([
  "proof_required",
  "proof_invalid",
  "proof_replayed",
  "bound_as_bearer",
] satisfies ReasonCode[]);
