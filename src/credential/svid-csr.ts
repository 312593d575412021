import "reflect-metadata";
import { verify } from "node:crypto";
import {
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  SubjectAlternativeNameExtension,
} from "@peculiar/x509";
import { type DerElement, readDer } from "./svid-der.ts";
import { judgePublicKey } from "./svid-key.ts";

/** What a certificate will say; a request may ask for this and for nothing else. */
export interface CertifiedName {
  readonly spiffeId: string;
  /** DNS name beside it. */
  readonly dnsName?: string;
}

/** The public key of a request (SubjectPublicKeyInfo), or why it is refused, as the end of `the CSR …`. */
export type CsrVerdict =
  | { readonly ok: true; readonly publicKey: Uint8Array }
  | { readonly ok: false; readonly problem: string };

export const maxCsrBytes = 8 * 1024;

/**
 * Reads a PKCS #10 request strictly. It must be DER to the last byte, carry an allowed key and prove possession of it. Of
 * what it says only the key is taken, yet a request for anything that its certificate will not have is refused rather than
 * overlooked: another name, a CA, another use, an extension or attribute we do not know. The subject is not looked at.
 * Runs in the CA's worker. Never throws.
 *
 * @see RFC 2986
 */
export function readCsr(der: Uint8Array, name: CertifiedName): CsrVerdict {
  try {
    return judge(der, name);
  } catch {
    return refused("is no PKCS #10 request in DER");
  }
}

function judge(der: Uint8Array, name: CertifiedName): CsrVerdict {
  if (der.length > maxCsrBytes) return refused(`is larger than ${maxCsrBytes} bytes`);
  const parts = split(readDer(der));
  if (parts === undefined) return refused("is no PKCS #10 request in DER");
  const algorithm = algorithms[Buffer.from(parts.algorithm).toString("hex")];
  if (algorithm === undefined) return refused("is signed in a way that is not accepted; use ECDSA or RSA with SHA-256");
  const key = judgePublicKey(parts.publicKey);
  if (!key.ok) return key;
  // Over the bytes that were sent, never over a second encoding of them.
  if (key.type !== algorithm.type || !verify(algorithm.hash, parts.signed, key.key, parts.signature))
    return refused("does not prove possession of its key: the signature does not match");
  const problem = wishProblem(parts.wishes, name);
  return problem === undefined ? { ok: true, publicKey: parts.publicKey } : refused(problem);
}

/** AlgorithmIdentifier, in hex, of what may sign a request. */
const algorithms: Readonly<Record<string, { readonly type: "ec" | "rsa"; readonly hash: string }>> = {
  "300a06082a8648ce3d040302": { type: "ec", hash: "sha256" },
  "300a06082a8648ce3d040303": { type: "ec", hash: "sha384" },
  "300a06082a8648ce3d040304": { type: "ec", hash: "sha512" },
  "300d06092a864886f70d01010b0500": { type: "rsa", hash: "sha256" },
  "300d06092a864886f70d01010c0500": { type: "rsa", hash: "sha384" },
  "300d06092a864886f70d01010d0500": { type: "rsa", hash: "sha512" },
};

const sequence = 0x30;
const integer = 0x02;
const bitString = 0x03;
const attributes = 0xa0;

/** @see RFC 2986 §4.2 */
function split({ tag, parts }: DerElement) {
  const [info, algorithm, signature, ...rest] = parts;
  if (tag !== sequence || rest.length > 0) return undefined;
  if (info?.tag !== sequence || algorithm?.tag !== sequence || signature?.tag !== bitString) return undefined;
  const [version, subject, publicKey, wishes, ...more] = info.parts;
  if (version?.tag !== integer || version.content.length !== 1 || version.content[0] !== 0) return undefined;
  if (subject?.tag !== sequence || publicKey?.tag !== sequence || wishes?.tag !== attributes) return undefined;
  if (more.length > 0 || signature.content[0] !== 0) return undefined;
  return {
    signed: info.bytes,
    publicKey: publicKey.bytes,
    algorithm: algorithm.bytes,
    signature: signature.content.subarray(1),
    wishes: wishes.parts,
  };
}

const set = 0x31;
const objectIdentifier = 0x06;
const boolean = 0x01;
const octetString = 0x04;
const extensionRequest = "1.2.840.113549.1.9.14";

function wishProblem(wishes: readonly DerElement[], name: CertifiedName): string | undefined {
  const asked = wishes.map(({ parts: [type, values, ...more] }) => {
    if (type?.tag !== objectIdentifier || values?.tag !== set || more.length > 0 || values.parts.length === 0)
      throw new TypeError("no attribute");
    return { type: oidOf(type.content), values: values.parts };
  });
  const other = asked.find(({ type }) => type !== extensionRequest);
  if (other !== undefined) return `has an attribute that is not understood (${other.type}); leave it out`;
  const [extensions, ...more] = asked.flatMap(({ values }) => values);
  if (asked.length > 1 || more.length > 0) return "asks for extensions more than once";
  if (extensions !== undefined && extensions.tag !== sequence) throw new TypeError("no list of extensions");
  const items = (extensions?.parts ?? []).map(readExtension);
  const types = items.map(({ type }) => type);
  const twice = types.find((type, at) => types.indexOf(type) !== at);
  if (twice !== undefined) return `asks for the extension ${twice} twice`;
  for (const item of items) {
    const problem = (judges[item.type] ?? unknown)(item, name);
    if (problem !== undefined) return problem;
  }
  return undefined;
}

interface AskedExtension {
  readonly type: string;
  /** The whole extension, as the library reads it. */
  readonly der: Buffer;
}

/** @see RFC 5280 §4.1 */
function readExtension({ tag, parts, bytes }: DerElement): AskedExtension {
  const [type, ...rest] = parts;
  const [critical, value, ...more] = rest.length === 2 ? rest : [undefined, ...rest];
  const wellFormed = (critical === undefined || critical.tag === boolean) && value?.tag === octetString;
  if (tag !== sequence || type?.tag !== objectIdentifier || !wellFormed || more.length > 0)
    throw new TypeError("no extension");
  return { type: oidOf(type.content), der: Buffer.from(bytes) };
}

/** Dotted. Throws `TypeError` for one that is cut off or of absurd numbers. */
function oidOf(content: Uint8Array): string {
  const numbers: number[] = [];
  let number = 0;
  for (const byte of content) {
    number = number * 128 + (byte & 0x7f);
    if (number > 2 ** 40) throw new TypeError("an absurd number");
    if (byte >= 0x80) continue;
    numbers.push(number);
    number = 0;
  }
  const [head, ...rest] = numbers;
  if (head === undefined || (content.at(-1) ?? 0x80) >= 0x80) throw new TypeError("cut off");
  const top = Math.min(2, Math.floor(head / 40));
  return [top, head - top * 40, ...rest].join(".");
}

type Judge = (extension: AskedExtension, name: CertifiedName) => string | undefined;

const unknown: Judge = ({ type }) => `asks for an extension that is not given (${type}); leave it out`;

/** By OID. What is allowed here is still not copied: the certificate has the extensions of its profile. */
const judges: Readonly<Record<string, Judge>> = {
  "2.5.29.14": () => undefined, // subject key identifier: we make it
  "2.5.29.15": ({ der }) => {
    const { usages } = new KeyUsagesExtension(der);
    return (usages & (KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign)) === 0
      ? undefined
      : "asks for the key usages of a CA (keyCertSign or cRLSign)";
  },
  "2.5.29.17": ({ der }, name) => namesProblem(new SubjectAlternativeNameExtension(der), name),
  "2.5.29.19": ({ der }) => {
    const { ca, pathLength } = new BasicConstraintsExtension(der);
    return ca || pathLength !== undefined ? "asks to be a CA (basicConstraints)" : undefined;
  },
  "2.5.29.37": ({ der }) => {
    const { usages } = new ExtendedKeyUsageExtension(der);
    const other = usages.find((use) => use !== ExtendedKeyUsage.serverAuth && use !== ExtendedKeyUsage.clientAuth);
    return other === undefined
      ? undefined
      : `asks for an extended key usage that is not given (${quoted(String(other))})`;
  },
};

function namesProblem({ names }: SubjectAlternativeNameExtension, name: CertifiedName): string | undefined {
  const seen = new Set<string>();
  for (const { type, value } of names.items) {
    const known =
      (type === "url" && value === name.spiffeId) ||
      (type === "dns" && name.dnsName !== undefined && value === name.dnsName);
    if (!known)
      return `asks for the name ${quoted(`${type}:${value}`)}, and its certificate will have ${name.spiffeId}`;
    if (seen.has(type)) return `asks for the name ${quoted(value)} twice`;
    seen.add(type);
  }
  return undefined;
}

/** Cut, and without anything that could steer a terminal. */
function quoted(text: string): string {
  return JSON.stringify(text.length > 120 ? `${text.slice(0, 120)}…` : text).replaceAll(/[^\x20-\x7e…]/g, "?");
}

function refused(problem: string): CsrVerdict {
  return { ok: false, problem };
}
