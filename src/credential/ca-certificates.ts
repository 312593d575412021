import "reflect-metadata";
import { createPrivateKey, createPublicKey, X509Certificate as NodeCertificate, webcrypto } from "node:crypto";
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  type Extension,
  type JsonName,
  KeyUsageFlags,
  KeyUsagesExtension,
  Name,
  PublicKey,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  X509Certificate,
  X509CertificateGenerator,
} from "@peculiar/x509";
import type { CaFacts, IssuerMaterial, Validity } from "./ca-protocol.ts";
import type { CertifiedName } from "./svid-csr.ts";

/** Makes the certificates of the trust domain, and reads those of others. Runs in the CA's worker: each takes milliseconds. */

export interface NewCa {
  readonly certificate: Uint8Array;
  /** PKCS #8. */
  readonly privateKey: Uint8Array;
}

const curve = { name: "ECDSA", namedCurve: "P-256" } as const;
const { subtle } = webcrypto;
type Key = webcrypto.CryptoKey;
type SigningAlgorithm = EcKeyImport | RsaImport;
type EcKeyImport = { readonly name: "ECDSA"; readonly namedCurve: string; readonly hash: string };
type RsaImport = { readonly name: "RSASSA-PKCS1-v1_5"; readonly hash: string };

/** A self-signed P-256 root for a trust domain, which may sign intermediates and no more. */
export async function makeRoot(trustDomain: string, validity: Validity): Promise<NewCa> {
  const keys = await subtle.generateKey(curve, true, ["sign", "verify"]);
  const name = await caName("root", trustDomain, keys.publicKey);
  return make({
    keys,
    name,
    trustDomain,
    validity,
    pathLength: 1,
    signer: { name, key: keys.privateKey, algorithm: { ...curve, hash: "SHA-256" } },
  });
}

/** A P-256 intermediate, which may sign leaf certificates only. */
export async function makeIntermediate(trustDomain: string, root: IssuerMaterial, validity: Validity): Promise<NewCa> {
  const keys = await subtle.generateKey(curve, true, ["sign", "verify"]);
  const name = await caName("intermediate", trustDomain, keys.publicKey);
  return make({ keys, name, trustDomain, validity, pathLength: 0, signer: await signerOf(root) });
}

/**
 * An X.509-SVID: one URI SAN, no CA, `digitalSignature`, for both ends of TLS. The subject is empty, hence the SAN critical.
 * Throws where what came out is not what the issuer's holder would verify.
 *
 * @see X509-SVID §§2-4, RFC 5280 §4.2.1.6
 */
export async function makeLeaf(
  issuer: IssuerMaterial,
  publicKey: Uint8Array,
  name: CertifiedName,
  validity: Validity,
): Promise<Uint8Array> {
  const signer = await signerOf(issuer);
  const key = new PublicKey(Buffer.from(publicKey));
  const names = [
    { type: "url" as const, value: name.spiffeId },
    ...(name.dnsName === undefined ? [] : [{ type: "dns" as const, value: name.dnsName }]),
  ];
  const certificate = await sign(signer, [], key, validity, [
    new SubjectAlternativeNameExtension(names, true),
    ...leafProfile,
    await SubjectKeyIdentifierExtension.create(key),
    new AuthorityKeyIdentifierExtension(signer.keyId),
  ]);
  const made = new NodeCertificate(Buffer.from(certificate));
  if (!made.checkIssued(signer.certificate) || !made.verify(signer.certificate.publicKey))
    throw new TypeError("the leaf does not chain to its issuer");
  return certificate;
}

/** What every leaf says, made once. */
const leafProfile: readonly Extension[] = [
  new BasicConstraintsExtension(false, undefined, true),
  new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
  new ExtendedKeyUsageExtension([ExtendedKeyUsage.serverAuth, ExtendedKeyUsage.clientAuth]),
];

interface Signer {
  readonly name: Name;
  readonly key: Key;
  readonly algorithm: SigningAlgorithm;
}

async function make(input: {
  readonly keys: webcrypto.CryptoKeyPair;
  readonly name: Name;
  readonly trustDomain: string;
  readonly validity: Validity;
  readonly pathLength: number;
  readonly signer: Signer & { readonly keyId?: string };
}): Promise<NewCa> {
  const { keys, signer } = input;
  const own = await SubjectKeyIdentifierExtension.create(keys.publicKey);
  const certificate = await sign(signer, input.name, keys.publicKey, input.validity, [
    new BasicConstraintsExtension(true, input.pathLength, true),
    new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
    new SubjectAlternativeNameExtension([{ type: "url", value: `spiffe://${input.trustDomain}` }]),
    own,
    new AuthorityKeyIdentifierExtension(signer.keyId ?? own.keyId),
  ]);
  return { certificate, privateKey: new Uint8Array(await subtle.exportKey("pkcs8", keys.privateKey)) };
}

async function sign(
  signer: Signer,
  subject: Name | JsonName,
  publicKey: Key | PublicKey,
  { serial, notBefore, notAfter }: Validity,
  extensions: readonly Extension[],
): Promise<Uint8Array> {
  const certificate = await X509CertificateGenerator.create({
    serialNumber: serial,
    subject,
    issuer: signer.name,
    notBefore: new Date(notBefore),
    notAfter: new Date(notAfter),
    publicKey,
    signingKey: signer.key,
    signingAlgorithm: signer.algorithm,
    extensions: [...extensions],
  });
  return new Uint8Array(certificate.rawData);
}

/** Names differ from key to key, so that nobody builds a path through a namesake. */
async function caName(level: string, trustDomain: string, key: Key): Promise<Name> {
  const { keyId } = await SubjectKeyIdentifierExtension.create(key);
  return new Name([{ O: [trustDomain] }, { CN: [`Wayleave ${level} ${keyId.slice(0, 8)}`] }]);
}

interface LoadedIssuer extends Signer {
  readonly keyId: string;
  readonly certificate: NodeCertificate;
}

/** Importing a key costs as much as signing with it; there are two or three issuers in a worker's life. */
const loaded = new Map<string, LoadedIssuer>();
const maxLoaded = 8;

async function signerOf(issuer: IssuerMaterial): Promise<LoadedIssuer> {
  const known = loaded.get(issuer.keyId);
  if (known !== undefined && Buffer.compare(known.certificate.raw, issuer.certificate) === 0) return known;
  const certificate = new X509Certificate(Buffer.from(issuer.certificate));
  const algorithm = signingAlgorithm(issuer.privateKey);
  const fresh: LoadedIssuer = {
    name: certificate.subjectName,
    key: await subtle.importKey("pkcs8", issuer.privateKey, algorithm, false, ["sign"]),
    algorithm,
    keyId: issuer.keyId,
    certificate: new NodeCertificate(Buffer.from(issuer.certificate)),
  };
  if (loaded.size >= maxLoaded) loaded.clear();
  loaded.set(issuer.keyId, fresh);
  return fresh;
}

function signingAlgorithm(privateKey: Uint8Array): SigningAlgorithm {
  const { asymmetricKeyType, asymmetricKeyDetails } = createPrivateKey({
    key: Buffer.from(privateKey),
    format: "der",
    type: "pkcs8",
  });
  if (asymmetricKeyType === "rsa") return { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256" };
  return asymmetricKeyDetails?.namedCurve === "secp384r1"
    ? { name: "ECDSA", namedCurve: "P-384", hash: "SHA-384" }
    : { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
}

/** What decides whether a certificate may sign for the trust domain. Throws for what is no certificate. */
export function readCa(der: Uint8Array): CaFacts {
  const certificate = new X509Certificate(Buffer.from(der));
  const constraints = certificate.getExtension(BasicConstraintsExtension);
  const usages = certificate.getExtension(KeyUsagesExtension)?.usages;
  const names = certificate.getExtension(SubjectAlternativeNameExtension)?.names.items ?? [];
  const purposes = certificate.getExtension(ExtendedKeyUsageExtension)?.usages;
  const { keyId } = certificate.getExtension(SubjectKeyIdentifierExtension) ?? {};
  return {
    ca: constraints?.ca === true,
    ...(constraints?.pathLength === undefined ? {} : { pathLength: constraints.pathLength }),
    signsCertificates: usages !== undefined && (usages & KeyUsageFlags.keyCertSign) !== 0,
    uris: names.filter(({ type }) => type === "url").map(({ value }) => value),
    forTls: purposes === undefined || tls.every((use) => purposes.includes(use)) || purposes.includes(anyPurpose),
    hash: hashOf(certificate),
    ...(keyId === undefined ? {} : { keyId }),
    publicKey: new Uint8Array(createPublicKey(pem(der)).export({ format: "der", type: "spki" })),
  };
}

const tls = [ExtendedKeyUsage.serverAuth, ExtendedKeyUsage.clientAuth];
const anyPurpose = "2.5.29.37.0";

function hashOf({ signatureAlgorithm }: X509Certificate): string {
  const { hash } = signatureAlgorithm as { hash?: { name?: string } };
  return hash?.name ?? "unknown";
}

function pem(der: Uint8Array): string {
  return new NodeCertificate(Buffer.from(der)).toString();
}
