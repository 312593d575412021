import { exportJWK, generateKeyPair, type JWTPayload, SignJWT } from "jose";
import { testCa } from "./ca.fake.ts";
import { rootEntry } from "./trust-bundle.ts";

/** Another trust domain with one CA and one JWT key. Its clock is the caller's. */
export async function foreignDomain(trustDomain: string, alg = "ES256") {
  const ca = await testCa({ name: `${trustDomain} root`, uri: `spiffe://${trustDomain}` });
  const { publicKey, privateKey } = await generateKeyPair(alg, { extractable: true });
  const kid = `${trustDomain}-1`;
  const jwk = { ...(await exportJWK(publicKey)), kid, use: "jwt-svid" };
  const root = rootEntry(new Uint8Array(ca.certificate.rawData));
  return {
    trustDomain,
    ca,
    jwk,
    root,
    bundle: (sequence?: number, more: object = {}) =>
      JSON.stringify({ keys: [root, jwk], ...(sequence === undefined ? {} : { spiffe_sequence: sequence }), ...more }),
    /** A JWT-SVID, or what pretends to be one. */
    token: (claims: JWTPayload, header: object = {}) =>
      new SignJWT(claims).setProtectedHeader({ alg, kid, typ: "JWT", ...header }).sign(privateKey),
  };
}
