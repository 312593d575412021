import { createHash, generateKeyPairSync, type KeyObject, randomBytes, sign } from "node:crypto";
import { isIPv4 } from "node:net";

export interface PrivateCa {
  /** The CA's certificate, PEM: what clients must be told to trust. */
  readonly ca: string;
  /** A certificate for `names` (DNS names or IPv4 addresses) that the CA signed, with its key; both PEM. */
  issue(names: readonly string[]): { readonly key: string; readonly cert: string };
}

/** A certificate authority of one's own, as companies run for their GitLab. ECDSA P-256; valid from an hour before
 *  `now` (milliseconds since the epoch) for 30 days. The CA's key never leaves this value. @see RFC 5280 */
export function createPrivateCa(now: number, name = "Acme Internal CA"): PrivateCa {
  const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const issuer = { name, key: privateKey, keyId: keyId(publicKey) };
  const caExtensions = [
    extension("551d13", true, seq(Buffer.from([1, 1, 255]))), // basicConstraints: cA
    extension("551d0f", true, Buffer.from([3, 2, 1, 6])), // keyUsage: keyCertSign, cRLSign
    extension("551d0e", false, der(4, keyId(publicKey))),
  ];
  const ca = certificate(now, name, publicKey, issuer, caExtensions);
  return {
    ca,
    issue: (names) => {
      const leaf = generateKeyPairSync("ec", { namedCurve: "P-256" });
      const extensions = [
        extension("551d13", true, seq()),
        extension("551d0f", true, Buffer.from([3, 2, 7, 128])), // keyUsage: digitalSignature
        extension("551d25", false, seq(oid("2b06010505070301"))), // extKeyUsage: serverAuth
        extension("551d11", false, seq(...names.map(alternativeName))),
        extension("551d23", false, seq(der(0x80, issuer.keyId))),
      ];
      return {
        key: leaf.privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
        cert: certificate(now, names[0] ?? "localhost", leaf.publicKey, issuer, extensions),
      };
    },
  };
}

interface Issuer {
  readonly name: string;
  readonly key: KeyObject;
  readonly keyId: Buffer;
}

function certificate(now: number, subject: string, key: KeyObject, issuer: Issuer, extensions: readonly Buffer[]) {
  const algorithm = seq(oid("2a8648ce3d040302")); // ecdsa-with-SHA256
  const serial = randomBytes(15);
  serial[0] = (serial[0] ?? 0) % 127 || 1; // positive and in its shortest form
  const body = seq(
    der(0xa0, der(2, Buffer.from([2]))),
    der(2, serial),
    algorithm,
    commonName(issuer.name),
    seq(utcTime(now - 3_600_000), utcTime(now + 30 * 86_400_000)),
    commonName(subject),
    spki(key),
    der(0xa3, seq(...extensions)),
  );
  const signature = sign("sha256", body, issuer.key);
  const lines =
    seq(body, algorithm, der(3, Buffer.from([0]), signature))
      .toString("base64")
      .match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE-----\n${lines.join("\n")}\n-----END CERTIFICATE-----\n`;
}

function der(tag: number, ...contents: readonly Buffer[]): Buffer {
  const content = Buffer.concat(contents);
  const { length } = content;
  const head = length < 128 ? [length] : length < 256 ? [0x81, length] : [0x82, length >> 8, length & 255];
  return Buffer.concat([Buffer.from([tag, ...head]), content]);
}

function seq(...contents: readonly Buffer[]): Buffer {
  return der(0x30, ...contents);
}

function oid(hex: string): Buffer {
  return der(6, Buffer.from(hex, "hex"));
}

function extension(id: string, critical: boolean, value: Buffer): Buffer {
  return seq(oid(id), ...(critical ? [Buffer.from([1, 1, 255])] : []), der(4, value));
}

function commonName(name: string): Buffer {
  return seq(der(0x31, seq(oid("550403"), der(0x0c, Buffer.from(name)))));
}

function alternativeName(name: string): Buffer {
  return isIPv4(name) ? der(0x87, Buffer.from(name.split(".").map(Number))) : der(0x82, Buffer.from(name));
}

/** `YYMMDDHHMMSSZ`; right until 2049, as RFC 5280 §4.1.2.5 wants. */
function utcTime(ms: number): Buffer {
  const digits = new Date(ms).toISOString().replace(/\D/g, "").slice(2, 14);
  return der(0x17, Buffer.from(`${digits}Z`));
}

function spki(key: KeyObject): Buffer {
  return key.export({ type: "spki", format: "der" });
}

function keyId(key: KeyObject): Buffer {
  return createHash("sha1").update(spki(key)).digest();
}
