import { X509Certificate } from "node:crypto";
import type { IssuerMaterial } from "./ca-protocol.ts";

/** Who signs X.509-SVIDs: our own CA, or the operator's intermediate. */
export interface CertificateAuthority {
  /** What signs now. Throws `key_unavailable` where no certificate of it is valid. */
  signing(): SigningCa;
  /** Certificates, DER, that whoever verifies our SVIDs needs to trust: the bundle. */
  roots(): readonly Uint8Array[];
  /** What time alone decides: a new intermediate, a new root. Run it every minute or so. */
  sweep(): Promise<void>;
  /** Called when the roots change. Returns what stops it. */
  onChange(listener: () => void): () => void;
  /** What an operator should look at before it stands in the way. */
  warnings(): readonly string[];
}

export interface SigningCa {
  readonly issuer: IssuerMaterial;
  /** DER, as TLS sends it after the leaf: the issuer first, without the root. */
  readonly chain: readonly Uint8Array[];
  /** ms since the epoch, each the narrowest of the chain and its root. */
  readonly notBefore: number;
  readonly notAfter: number;
}

/** When a certificate is valid. Throws for what is no certificate. */
export function validityOf(der: Uint8Array): {
  readonly notBefore: number;
  readonly notAfter: number;
} {
  const certificate = new X509Certificate(Buffer.from(der));
  return {
    notBefore: certificate.validFromDate.getTime(),
    notAfter: certificate.validToDate.getTime(),
  };
}

/** DER as PEM, one block after the other. */
export function toPem(certificates: readonly Uint8Array[]): string {
  return certificates.map((der) => new X509Certificate(Buffer.from(der)).toString()).join("");
}
