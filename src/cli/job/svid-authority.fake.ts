import "reflect-metadata";
import { webcrypto } from "node:crypto";
import {
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  Pkcs10CertificateRequest,
  PublicKey,
  SubjectAlternativeNameExtension,
  X509Certificate,
  X509CertificateGenerator,
} from "@peculiar/x509";
import { exportJWK, generateKeyPair, type JWTPayload, SignJWT } from "jose";

/** A trust domain's CA, as short as tests need it. */
export interface FakeAuthority {
  readonly trustDomain: string;
  /** DER. */
  readonly root: Uint8Array;
  /** DER of a leaf for the key of `csr`. */
  sign(csr: Uint8Array, leaf: Leaf): Promise<Uint8Array>;
  /** A leaf with a key of its own. */
  issue(leaf: Leaf): Promise<{ readonly certificate: Uint8Array; readonly privateKey: Uint8Array }>;
  /** A JWS over these claims, signed by the trust domain's key for JWT-SVIDs. */
  token(claims: JWTPayload, header?: Record<string, unknown>): Promise<string>;
  /** The SPIFFE bundle document. */
  readonly bundle: { readonly keys: readonly object[] };
}

export interface Leaf {
  /** URI SANs. */
  readonly uris: readonly string[];
  readonly dns?: string;
  readonly notBefore?: Date;
  readonly notAfter?: Date;
}

const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
const hour = 3_600_000;

export async function fakeAuthority(trustDomain: string): Promise<FakeAuthority> {
  const keys = await newKeys();
  const now = Date.now();
  const name = `CN=${trustDomain} test root`;
  const root = await X509CertificateGenerator.createSelfSigned({
    name,
    keys,
    signingAlgorithm: algorithm,
    notBefore: new Date(now - hour),
    notAfter: new Date(now + 24 * hour),
    extensions: [
      new BasicConstraintsExtension(true, undefined, true),
      new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
      new SubjectAlternativeNameExtension([{ type: "url", value: `spiffe://${trustDomain}` }]),
    ],
  });
  const jwt = await generateKeyPair("ES256", { extractable: true });
  const kid = `${trustDomain}-jwt`;

  const leafFor = async (publicKey: PublicKey, { uris, dns, notBefore, notAfter }: Leaf): Promise<Uint8Array> => {
    const names = [
      ...uris.map((value) => ({ type: "url" as const, value })),
      ...(dns === undefined ? [] : [{ type: "dns" as const, value: dns }]),
    ];
    const certificate = await X509CertificateGenerator.create({
      issuer: name,
      subject: "CN=leaf",
      publicKey,
      signingKey: keys.privateKey,
      signingAlgorithm: algorithm,
      notBefore: notBefore ?? new Date(Date.now() - hour),
      notAfter: notAfter ?? new Date(Date.now() + hour),
      extensions: [
        new BasicConstraintsExtension(false, undefined, true),
        new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
        new ExtendedKeyUsageExtension([ExtendedKeyUsage.serverAuth, ExtendedKeyUsage.clientAuth]),
        ...(names.length === 0 ? [] : [new SubjectAlternativeNameExtension(names)]),
      ],
    });
    return new Uint8Array(certificate.rawData);
  };

  return {
    trustDomain,
    root: new Uint8Array(root.rawData),
    sign: (csr, leaf) => leafFor(new Pkcs10CertificateRequest(Buffer.from(csr)).publicKey, leaf),
    async issue(leaf) {
      const own = await newKeys();
      const privateKey = new Uint8Array(await webcrypto.subtle.exportKey("pkcs8", own.privateKey));
      return { certificate: await leafFor(await PublicKey.create(own.publicKey), leaf), privateKey };
    },
    token: (claims, header = {}) =>
      new SignJWT(claims).setProtectedHeader({ alg: "ES256", kid, ...header }).sign(jwt.privateKey),
    bundle: {
      keys: [
        { ...(await exportJWK(jwt.publicKey)), use: "jwt-svid", kid },
        { ...(await exportJWK(keys.publicKey)), use: "x509-svid", x5c: [Buffer.from(root.rawData).toString("base64")] },
      ],
    },
  };
}

function newKeys() {
  return webcrypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
}

/** URI SANs of a DER certificate. */
export function urisOf(der: Uint8Array): readonly string[] {
  const names = new X509Certificate(Buffer.from(der)).getExtension(SubjectAlternativeNameExtension)?.names.items ?? [];
  return names.filter(({ type }) => type === "url").map(({ value }) => value);
}
