import { hkdfSync } from "node:crypto";
import { decodeNatsJwt, encodeNatsJwt } from "./nats-jwt.ts";
import { createNkey, verifyNkey } from "./nats-nkey.ts";
import { isPublicNkey } from "./nats-nkey-text.ts";
import { type NatsGrant, readGrant, writeGrant } from "./nats-password.ts";

/** The credentials files of `wayleave nats creds`: a user JWT of our own and the seed of the key it names. */
export interface NatsCreds {
  /** The file's text, and the JWT in it alone. Each call makes a new key. `now` is ms since the epoch. */
  create(grant: NatsGrant, now: number): { readonly text: string; readonly jwt: string };
  /** The grant of such a JWT whose key signed the nonce; undefined for everything else. Who made the nonce is the caller's to know. */
  read(jwt: string, proof: NonceProof): NatsGrant | undefined;
}

/** What a client signed: the `nonce` of INFO as it was sent, and `sig` of CONNECT, base64. */
export interface NonceProof {
  readonly nonce: string;
  readonly signature: string;
}

/** Says that the token is for our gateways. No nats-server knows its issuer, so there it is good for nothing. */
const audience = "wayleave-nats-gateway";

/** Far above any of ours. */
const maxLength = 4096;

/** Signs with a key derived from the operator's 32-byte key. @see RFC 5869 */
export function createNatsCreds(operatorKey: Uint8Array, random: (bytes: number) => Uint8Array): NatsCreds {
  const seed = new Uint8Array(hkdfSync("sha256", operatorKey, "", "wayleave nats credentials file v1", 32));
  const issuer = createNkey("account", () => seed);
  return {
    create(grant, now) {
      const user = createNkey("user", random);
      const unlimited = { subs: -1, data: -1, payload: -1 };
      const nats = { type: "user", ...unlimited } as const;
      const jwt = encodeNatsJwt({ sub: user.publicKey, aud: audience, name: writeGrant(grant), nats }, issuer, now);
      const remark = "Made by Wayleave for one CI job; it ends with the job.";
      return { text: credsFile(jwt, user.seed, remark), jwt };
    },
    read(jwt, { nonce, signature }) {
      if (jwt.length > maxLength || nonce === "") return undefined;
      const claims = claimsOf(jwt);
      if (claims === undefined || claims.iss !== issuer.publicKey || claims.aud !== audience) return undefined;
      if (claims.nats.type !== "user" || !isPublicNkey(claims.sub, "user")) return undefined;
      if (!verifyNkey(claims.sub, Buffer.from(nonce), Buffer.from(signature, "base64"))) return undefined;
      return readGrant(claims.name ?? "");
    },
  };
}

function claimsOf(jwt: string) {
  try {
    return decodeNatsJwt(jwt).claims;
  } catch {
    return undefined; // why does not matter to the caller: it is none of ours
  }
}

/** As NATS clients and tools read it: what stands between the dashes, the first time and the second. */
export function credsFile(jwt: string, seed: string, remark: string): string {
  return [
    "-----BEGIN NATS USER JWT-----",
    jwt,
    "------END NATS USER JWT------",
    "",
    `${remark} The seed is a secret.`,
    "",
    "-----BEGIN USER NKEY SEED-----",
    seed,
    "------END USER NKEY SEED------",
    "",
  ].join("\n");
}
