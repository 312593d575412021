import { type ReasonCode, reasonCodes } from "../core/decision.ts";

/** Reasons that a proof by the token's key, or another proof, would mend. */
const proofErrors: ReadonlyMap<ReasonCode, string> = new Map<ReasonCode, string>([
  ["proof_required", "invalid_token"],
  ["bound_as_bearer", "invalid_token"],
  ["proof_invalid", "invalid_dpop_proof"],
  ["proof_replayed", "invalid_dpop_proof"],
]);

/**
 * The `WWW-Authenticate` value of a refusal. RFC 6750 §3: no error code where the request carried no credential; RFC 9449 §7.1:
 * who should send a proof is told the algorithm.
 */
export function challenge(reason: ReasonCode): string {
  if (reason === "no_credential") return 'Bearer realm="wayleave"';
  const proofError = proofErrors.get(reason);
  if (proofError !== undefined)
    return `DPoP realm="wayleave", error="${proofError}", error_description="${reasonCodes[reason]}", algs="ES256"`;
  return `Bearer realm="wayleave", error="invalid_token", error_description="${reasonCodes[reason]}"`;
}

const maxText = 200;

/** Header text: printable ASCII; anything else, from a project's or a job's name, is percent-encoded. At most 200 characters. */
export function headerText(text: string): string {
  if (text.length <= maxText && !/[^\x20-\x7e]/.test(text)) return text;
  const encoded = text.replace(/[^\x20-\x7e]+/gu, (part) => encodeURIComponent(part.toWellFormed()));
  return encoded.length <= maxText ? encoded : `${encoded.slice(0, maxText - 3)}...`;
}

/** Whether an assertion can stand in a header of at most `max` characters as it is. */
export function fitsHeader(assertion: string | undefined, max: number): boolean {
  return assertion === undefined || (assertion.length <= max && /^[\w.-]+$/.test(assertion));
}
