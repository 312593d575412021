import type { CertifiedName } from "./svid-csr.ts";

/** What the CA's thread and the broker's say to each other. */

export interface Validity {
  /** Lower-case hex. */
  readonly serial: string;
  /** ms since the epoch, whole seconds. */
  readonly notBefore: number;
  readonly notAfter: number;
}

/** A CA certificate that signs, with its key. */
export interface IssuerMaterial {
  /** DER. */
  readonly certificate: Uint8Array;
  /** PKCS #8, DER. */
  readonly privateKey: Uint8Array;
  /** Subject key identifier, lower-case hex. */
  readonly keyId: string;
}

/** What a CA certificate says of itself. */
export interface CaFacts {
  readonly ca: boolean;
  readonly pathLength?: number;
  readonly signsCertificates: boolean;
  /** URI SANs. */
  readonly uris: readonly string[];
  /** False where its extended key usage leaves out one end of TLS. */
  readonly forTls: boolean;
  /** Of its signature: `SHA-256`. */
  readonly hash: string;
  /** Subject key identifier, lower-case hex. */
  readonly keyId?: string;
  /** SubjectPublicKeyInfo. */
  readonly publicKey: Uint8Array;
}

/** Each task and what it gives. */
export interface CaTasks {
  readonly root: {
    readonly asks: { readonly trustDomain: string; readonly validity: Validity };
    readonly gives: { readonly certificate: Uint8Array; readonly privateKey: Uint8Array };
  };
  readonly intermediate: {
    readonly asks: { readonly trustDomain: string; readonly root: IssuerMaterial; readonly validity: Validity };
    readonly gives: { readonly certificate: Uint8Array; readonly privateKey: Uint8Array };
  };
  readonly leaf: {
    readonly asks: {
      readonly issuer: IssuerMaterial;
      readonly name: CertifiedName;
      readonly validity: Validity;
      /** A PKCS #10 request, or the key itself (SubjectPublicKeyInfo) where we made it. */
      readonly from: { readonly csr: Uint8Array } | { readonly publicKey: Uint8Array };
    };
    readonly gives: { readonly certificate: Uint8Array } | { readonly problem: string };
  };
  readonly read: {
    readonly asks: { readonly certificate: Uint8Array };
    readonly gives: CaFacts | { readonly problem: string };
  };
}

export type CaTaskName = keyof CaTasks;

export type ToCaWorker = {
  readonly [N in CaTaskName]: { readonly call: number; readonly task: N; readonly asks: CaTasks[N]["asks"] };
}[CaTaskName];

export type FromCaWorker =
  | { readonly call: number; readonly gives: unknown }
  /** A fault, not a refusal. */
  | { readonly call: number; readonly failed: string };
