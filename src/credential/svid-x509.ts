import type { Clock } from "../core/clock.ts";
import { WayleaveError } from "../core/errors.ts";
import type { CertificateAuthority } from "./ca-authority.ts";
import { newSerial, wholeSeconds } from "./ca-own.ts";
import type { CaSigner } from "./ca-signer.ts";
import type { CertifiedName } from "./svid-csr.ts";

/** A signed X.509-SVID, which the caller hands out only once its record is durable. */
export interface X509Svid {
  readonly spiffeId: string;
  /** DER, leaf first, without the root. */
  readonly certificates: readonly Uint8Array[];
  /** Lower-case hex. */
  readonly serial: string;
  /** Key id of the CA that signed. */
  readonly signer: string;
  /** ms since the epoch. */
  readonly expiresAt: number;
}

export interface X509Request {
  readonly name: CertifiedName;
  /** A PKCS #10 request in DER, or the key itself (SubjectPublicKeyInfo) where it was made here. */
  readonly from: { readonly csr: Uint8Array } | { readonly publicKey: Uint8Array };
  /** ms since the epoch; the certificate ends then or earlier. */
  readonly until: number;
}

/** Signs. Throws `csr_invalid`, and `key_unavailable` where no CA is valid. */
export type SignX509 = (request: X509Request) => Promise<X509Svid>;

/** For whoever's clock is a little behind ours. */
const backdateMs = 30_000;

export function createX509Signer(deps: {
  readonly authority: Pick<CertificateAuthority, "signing">;
  readonly signer: CaSigner;
  readonly clock: Pick<Clock, "now">;
  random(bytes: number): Uint8Array;
}): SignX509 {
  return async ({ name, from, until }) => {
    const { issuer, chain, notBefore, notAfter } = deps.authority.signing();
    const now = deps.clock.now();
    const expiresAt = wholeSeconds(Math.min(until, notAfter));
    if (expiresAt <= now)
      throw new WayleaveError("session_ended", "There is no time left that a certificate could live.");
    const serial = newSerial(deps.random);
    const validity = { serial, notBefore: Math.max(wholeSeconds(now - backdateMs), notBefore), notAfter: expiresAt };
    const made = await deps.signer.ask("leaf", { issuer, name, validity, from });
    if ("problem" in made) throw new WayleaveError("csr_invalid", `The CSR ${made.problem}.`);
    return {
      spiffeId: name.spiffeId,
      certificates: [made.certificate, ...chain],
      serial,
      signer: issuer.keyId,
      expiresAt,
    };
  };
}
