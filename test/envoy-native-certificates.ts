import "reflect-metadata";
import * as x509 from "@peculiar/x509";

export interface Issued {
  /** PEM. */
  readonly cert: string;
  readonly key: string;
}

/** A root of the test's own. */
export interface Authority {
  readonly pem: string;
  /** A certificate for this URI, for the next hour. */
  issue(uri: string): Promise<Issued>;
}

const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;
const newKeys = () => crypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
const validity = () => ({ notBefore: new Date(Date.now() - 60_000), notAfter: new Date(Date.now() + 3_600_000) });

export async function makeAuthority(): Promise<Authority> {
  const keys = await newKeys();
  const name = "CN=Root of a test";
  const root = await x509.X509CertificateGenerator.createSelfSigned({
    name,
    keys,
    ...validity(),
    signingAlgorithm: algorithm,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  let serial = 1;
  return {
    pem: `${root.toString("pem")}\n`,
    async issue(uri) {
      const own = await newKeys();
      const cert = await x509.X509CertificateGenerator.create({
        serialNumber: String(++serial).padStart(2, "0"),
        subject: "CN=workload",
        issuer: name,
        ...validity(),
        publicKey: own.publicKey,
        signingKey: keys.privateKey,
        signingAlgorithm: algorithm,
        extensions: [
          new x509.SubjectAlternativeNameExtension([{ type: "url", value: uri }]),
          new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
          await x509.AuthorityKeyIdentifierExtension.create(keys.publicKey),
        ],
      });
      const der = Buffer.from(await crypto.subtle.exportKey("pkcs8", own.privateKey)).toString("base64");
      const key = `-----BEGIN PRIVATE KEY-----\n${der.replace(/(.{64})/g, "$1\n")}\n-----END PRIVATE KEY-----\n`;
      return { cert: `${cert.toString("pem")}\n`, key };
    },
  };
}
