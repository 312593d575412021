import { WayleaveError } from "../core/errors.ts";

/** How far the issuer's clock may be from ours. */
const leewaySeconds = 60;
const maxNumericDate = 253_402_300_799; // the last second of the year 9999

/**
 * `iat` and `exp` of a payload, as ms since the epoch, after checking them and `nbf` against `now` (ms) with 60 s of
 * leeway. Throws `subject_token_expired`, or `subject_token_invalid` for what is missing, in the future or too long.
 * @see RFC 7519 §4.1
 */
export function checkTimes(
  payload: Readonly<Record<string, unknown>>,
  maxLifeSeconds: number,
  now: number,
): { readonly issuedAt: number; readonly expiresAt: number } {
  const iat = numericDate(payload, "iat");
  const exp = numericDate(payload, "exp");
  const nbf = payload.nbf === undefined ? iat : numericDate(payload, "nbf");
  const seconds = now / 1000;
  if (exp <= iat) throw invalid('The token\'s "exp" is not after its "iat".');
  if (exp - iat > maxLifeSeconds) {
    throw invalid(`The token lives ${exp - iat} s, and ${maxLifeSeconds} s is the most a job's token may.`);
  }
  if (seconds >= exp + leewaySeconds) {
    throw new WayleaveError(
      "subject_token_expired",
      `The token expired ${new Date(exp * 1000).toISOString()}; exchange it at the start of the job, or start a new job.`,
    );
  }
  if (seconds < Math.max(iat, nbf) - leewaySeconds) {
    const from = new Date(Math.max(iat, nbf) * 1000).toISOString();
    throw invalid(`The token is valid only from ${from}; set the clocks of the CI and of this broker.`);
  }
  return { issuedAt: iat * 1000, expiresAt: exp * 1000 };
}

function numericDate(payload: Readonly<Record<string, unknown>>, claim: string): number {
  const value = payload[claim];
  if (typeof value !== "number" || !Number.isInteger(value) || value < 0 || value > maxNumericDate) {
    throw invalid(`The token's "${claim}" is no whole number of seconds.`);
  }
  return value;
}

function invalid(detail: string): WayleaveError {
  return new WayleaveError("subject_token_invalid", detail);
}
