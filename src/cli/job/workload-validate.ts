import type { JsonObject } from "@bufbuild/protobuf";
import { createLocalJWKSet, decodeJwt, decodeProtectedHeader, errors, type JSONWebKeySet, jwtVerify } from "jose";
import { parseSpiffeId } from "../../core/spiffe-id.ts";
import { GrpcError, grpcStatus } from "../../grpc/status.ts";

export interface ValidationOptions {
  readonly audience: string;
  /** By trust domain: its bundle, a SPIFFE JWKS document as JSON text. */
  readonly bundles: ReadonlyMap<string, string>;
  readonly now: Date;
}

const algorithms = ["RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512"];
const headerMembers = new Set(["alg", "kid", "typ"]);
const maxLength = 16_384;

/**
 * Verifies a JWT-SVID with the bundle of the trust domain its subject names, and gives its claims. Throws `GrpcError` with
 * InvalidArgument for everything else. Not checked: whether the subject may do anything.
 *
 * @see https://github.com/spiffe/spiffe/blob/main/standards/JWT-SVID.md
 */
export async function validateJwtSvid(
  token: string,
  { audience, bundles, now }: ValidationOptions,
): Promise<{ readonly spiffeId: string; readonly claims: JsonObject }> {
  const trustDomain = trustDomainOf(token);
  const bundle = bundles.get(trustDomain);
  if (bundle === undefined) throw refused("it is of a trust domain without a bundle here");
  try {
    const { payload } = await jwtVerify(token, createLocalJWKSet(jwtKeys(bundle)), {
      algorithms,
      audience,
      currentDate: now,
      requiredClaims: ["sub", "aud", "exp"],
    });
    return { spiffeId: payload.sub ?? "", claims: payload as JsonObject };
  } catch (error) {
    if (error instanceof errors.JOSEError) throw refused(reasons[error.code] ?? "it cannot be verified");
    throw error;
  }
}

/** Never the words of a library: they may hold parts of the token. */
const reasons: Readonly<Record<string, string>> = {
  ERR_JWT_EXPIRED: "it has expired",
  ERR_JWT_CLAIM_VALIDATION_FAILED: "a claim is missing or wrong: it must have exp, sub and this audience",
  ERR_JWS_SIGNATURE_VERIFICATION_FAILED: "its signature is wrong",
  ERR_JWKS_NO_MATCHING_KEY: "no key of its trust domain's bundle signed it",
};

function trustDomainOf(token: string): string {
  if (token.length > maxLength) throw refused(`it is longer than ${maxLength} characters`);
  try {
    const header = decodeProtectedHeader(token);
    const typed = header.typ === undefined || header.typ === "JWT" || header.typ === "JOSE";
    const id = parseSpiffeId(String(decodeJwt(token).sub ?? ""));
    if (typed && id !== undefined && Object.keys(header).every((name) => headerMembers.has(name)))
      return id.trustDomain;
  } catch {
    // said below
  }
  throw refused("it is no JWT-SVID");
}

/** Keys for JWT-SVIDs only: one for certificates must not vouch for a token. */
function jwtKeys(bundle: string): JSONWebKeySet {
  const { keys } = JSON.parse(bundle) as JSONWebKeySet;
  // What jose knows of `use` is `sig`; the bundle's own words have been heeded by then.
  return { keys: keys.filter(({ use, kid }) => use === "jwt-svid" && kid !== undefined).map(({ use, ...key }) => key) };
}

function refused(why: string): GrpcError {
  return new GrpcError(grpcStatus.invalidArgument, `the JWT-SVID is refused: ${why}`);
}
