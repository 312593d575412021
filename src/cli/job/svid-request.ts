import "reflect-metadata";
import { webcrypto } from "node:crypto";
import { Pkcs10CertificateRequestGenerator } from "@peculiar/x509";

/** A new key and a request for its certificate. */
export interface SvidRequest {
  /** PKCS #8, DER. */
  readonly privateKey: Uint8Array;
  /** PKCS #10, DER. It names nobody: who the certificate is for is the broker's to say. */
  readonly csr: Uint8Array;
}

const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;

/** Makes a P-256 key here, where it stays. This module is slow to load: import it when a certificate is wanted. */
export async function createSvidRequest(): Promise<SvidRequest> {
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
  const request = await Pkcs10CertificateRequestGenerator.create({ keys, signingAlgorithm: algorithm });
  const privateKey = new Uint8Array(await webcrypto.subtle.exportKey("pkcs8", keys.privateKey));
  return { privateKey, csr: new Uint8Array(request.rawData) };
}
