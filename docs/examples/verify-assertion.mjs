// Who is calling? Copy this into an upstream behind Wayleave: one dependency, `jose`.
import { createHash } from "node:crypto";
import { createRemoteJWKSet, jwtVerify } from "jose";

/**
 * A function from a node:http request to its verified caller; it throws when there is none.
 * issuer: Wayleave's public address. trustDomain: as in wayleave.yaml. target: this service's name in policy.
 */
export function assertionVerifier({ issuer, trustDomain, target }) {
  const keys = createRemoteJWKSet(new URL(`${issuer}/assertion/jwks`));
  return async function verifyAssertion(request) {
    const [token, second] = request.headersDistinct["txn-token"] ?? [];
    if (!token || second) throw new Error("not exactly one Txn-Token header");
    const { payload } = await jwtVerify(token, keys, {
      typ: "txntoken+jwt",
      algorithms: ["ES256"],
      issuer,
      audience: trustDomain,
      requiredClaims: ["exp", "iat", "sub", "txn", "tctx"],
      maxTokenAge: 60,
      clockTolerance: 5,
    });
    // The assertion is for one request: this target, this method, this path as it arrived, without the query.
    const path = request.url.split("?", 1)[0];
    const expected = {
      target,
      method: request.method,
      path_sha256: createHash("sha256").update(path).digest("base64url"),
    };
    for (const [name, value] of Object.entries(expected)) {
      if (payload.tctx[name] !== value) throw new Error(`the assertion is for another ${name}`);
    }
    return { subject: payload.sub, session: payload.sid, role: payload.scope, transaction: payload.txn };
  };
}
