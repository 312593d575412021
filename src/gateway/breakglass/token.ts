import { hash } from "node:crypto";
import { WayleaveError } from "../../core/errors.ts";
import { type BreakglassRequest, malformed, parseSigned, type SignedRequest } from "./request.ts";
import { type Approvers, verifySignatures } from "./signature.ts";

/** How every break-glass token begins, by which it is told from all others. */
export const tokenPrefix = "wlbg_";
const maxTokenLength = 6000;

/** What is sent as `Authorization: Bearer`: whoever has it may use it until its end. */
export function tokenOf(signed: SignedRequest): string {
  return tokenPrefix + Buffer.from(JSON.stringify(signed), "utf8").toString("base64url");
}

/** The first 16 hex digits of its SHA-256: names a token in records, and opens nothing. */
export function tokenFingerprint(token: string): string {
  return hash("sha256", token).slice(0, 16);
}

/** Where a token is used, and who may have signed it. */
export interface UseOf {
  readonly approvers: Approvers;
  /** `issuer` of the broker. */
  readonly broker: string;
  readonly gateway: string;
  readonly target: string;
  /** ms since the epoch. */
  readonly now: number;
}

export interface VerifiedBreakglass {
  readonly request: BreakglassRequest;
  /** Names of those who signed, two or more. */
  readonly approvers: readonly string[];
}

/**
 * What a token opens here and now. Checked in this order, each with its own code: form, length, signatures, broker, gateway,
 * target, time. Not checked: the method and the path; break-glass opens whole targets, for whatever reads unambiguously.
 */
export function verifyToken(token: string, use: UseOf): VerifiedBreakglass {
  const signed = readToken(token);
  const approvers = verifySignatures(signed, use.approvers);
  const { request } = signed;
  checkPlace(request, use);
  checkTime(request, use.now);
  return { request, approvers };
}

/** What a token says, whoever made it. Throws `breakglass_malformed` or `breakglass_too_long`. */
export function readToken(token: string): SignedRequest {
  if (!token.startsWith(tokenPrefix) || token.length > maxTokenLength) throw malformed("it does not look like a token");
  const text = token.slice(tokenPrefix.length);
  const bytes = Buffer.from(text, "base64url");
  if (bytes.toString("base64url") !== text) throw malformed("it is cut off or changed");
  return parseSigned(bytes.toString("utf8"));
}

function checkPlace({ broker, gateways, targets }: BreakglassRequest, use: UseOf): void {
  if (broker !== use.broker) {
    throw new WayleaveError(
      "breakglass_wrong_gateway",
      "It was signed for another broker's gateways; ask for one here.",
    );
  }
  if (!gateways.includes(use.gateway)) {
    throw new WayleaveError(
      "breakglass_wrong_gateway",
      `It was signed for ${gateways.join(", ")}, not for ${use.gateway}; ask for one that names it.`,
    );
  }
  if (!targets.includes(use.target)) {
    throw new WayleaveError(
      "breakglass_wrong_target",
      `It was signed for ${targets.join(", ")}, not for ${use.target}; ask for one that names it.`,
    );
  }
}

/** Throws `breakglass_not_yet` before its start and `breakglass_expired` from its end on; no leeway is given. */
export function checkTime({ starts_at, ends_at }: BreakglassRequest, now: number): void {
  const at = (seconds: number) => new Date(seconds * 1000).toISOString();
  if (now < starts_at * 1000) {
    throw new WayleaveError("breakglass_not_yet", `It starts at ${at(starts_at)}; wait, or compare the clocks.`);
  }
  if (now >= ends_at * 1000) {
    throw new WayleaveError("breakglass_expired", `It ended at ${at(ends_at)}; two people can sign another.`);
  }
}
