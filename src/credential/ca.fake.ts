import "reflect-metadata";
import { webcrypto } from "node:crypto";
import {
  type Attribute,
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  type Extension,
  KeyUsageFlags,
  KeyUsagesExtension,
  Pkcs10CertificateRequestGenerator,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  type X509Certificate,
  X509CertificateGenerator,
} from "@peculiar/x509";
import { WayleaveError } from "../core/errors.ts";
import type { AuditEvent, AuditRecord, Recorder } from "../core/record.ts";
import { makeIntermediate, makeLeaf, makeRoot, readCa } from "./ca-certificates.ts";
import type { CaFile, StoredCa, StoredCas } from "./ca-file.ts";
import type { CaTaskName, CaTasks } from "./ca-protocol.ts";
import type { CaSigner } from "./ca-signer.ts";
import { readCsr } from "./svid-csr.ts";

const { subtle } = webcrypto;
type Pair = webcrypto.CryptoKeyPair;

export const dayMs = 86_400_000;
export const startedAt = Date.parse("2026-11-24T09:30:00Z");

export function manualClock(now = startedAt) {
  return {
    at: now,
    now() {
      return this.at;
    },
  };
}

/** The CA's work on the test's own thread. */
export function directSigner(): CaSigner {
  const work: { [N in CaTaskName]: (asks: CaTasks[N]["asks"]) => Promise<CaTasks[N]["gives"]> } = {
    root: ({ trustDomain, validity }) => makeRoot(trustDomain, validity),
    intermediate: ({ trustDomain, root, validity }) => makeIntermediate(trustDomain, root, validity),
    async leaf({ issuer, name, validity, from }) {
      const subject = "csr" in from ? readCsr(from.csr, name) : { ok: true as const, publicKey: from.publicKey };
      return subject.ok
        ? { certificate: await makeLeaf(issuer, subject.publicKey, name, validity) }
        : { problem: subject.problem };
    },
    read: async ({ certificate }) => readCa(certificate),
  };
  return { ask: (task, asks) => work[task](asks), close: async () => undefined };
}

/** A CA's files in memory. `offline` hides the roots' file, `full` refuses every write. */
export class MemoryCaFile implements CaFile {
  cas: StoredCas | undefined;
  roots: readonly StoredCa[] | undefined;
  offline = false;
  full = false;
  read = async () => this.cas;
  readRoots = async () => (this.offline ? undefined : this.roots);
  async write(cas: StoredCas): Promise<void> {
    this.#refuse();
    this.cas = cas;
  }
  async writeRoots(roots: readonly StoredCa[]): Promise<void> {
    this.#refuse();
    this.roots = roots;
  }
  #refuse(): void {
    if (this.full) throw new WayleaveError("key_unavailable", "The disk is full.");
  }
}

/** Records in memory; `fail` refuses like a full disk. */
export class EventRecorder implements Pick<Recorder, "append" | "note"> {
  readonly events: AuditEvent[] = [];
  fail = false;
  async append(events: readonly AuditEvent[]): Promise<readonly AuditRecord[]> {
    await Promise.resolve();
    return events.map((event) => this.#write(event));
  }
  note(event: AuditEvent): string {
    return this.#write(event).id;
  }
  kinds(): readonly string[] {
    return this.events.map(({ kind }) => kind);
  }
  #write(event: AuditEvent): AuditRecord {
    if (this.fail) throw new WayleaveError("journal_unavailable", "The disk is full.");
    this.events.push(event);
    const seq = this.events.length;
    return { ...event, v: 1, id: `rec_${seq}`, seq, time: new Date(startedAt).toISOString() } as AuditRecord;
  }
}

let counter = 0;

/** Never the same twice, and no chance involved. */
export function countingBytes(length: number): Uint8Array {
  counter++;
  return Uint8Array.from({ length }, (_, at) => (at < length - 3 ? 0xff : (counter >> ((length - 1 - at) * 8)) & 255));
}

export type KeyKind = "P-256" | "P-384" | "P-521" | "RSA-1024" | "RSA-2048" | "Ed25519";

export async function keyPair(kind: KeyKind = "P-256"): Promise<Pair> {
  const use = ["sign", "verify"] as const;
  if (kind === "Ed25519") return (await subtle.generateKey("Ed25519", true, [...use])) as Pair;
  if (kind.startsWith("P-")) return subtle.generateKey({ name: "ECDSA", namedCurve: kind }, true, [...use]);
  const modulusLength = Number(kind.slice(4));
  const publicExponent = new Uint8Array([1, 0, 1]);
  return subtle.generateKey({ name: "RSASSA-PKCS1-v1_5", modulusLength, publicExponent, hash: "SHA-256" }, true, [
    ...use,
  ]);
}

function algorithmOf(kind: KeyKind, hash = "SHA-256") {
  if (kind === "Ed25519") return { name: "Ed25519" };
  if (kind.startsWith("P-")) return { name: "ECDSA", namedCurve: kind, hash };
  return { name: "RSASSA-PKCS1-v1_5", hash };
}

export interface CsrParts {
  readonly kind?: KeyKind;
  readonly hash?: string;
  readonly keys?: Pair;
  readonly extensions?: readonly Extension[];
  readonly attributes?: readonly Attribute[];
}

export async function makeCsr({ kind = "P-256", hash, extensions = [], attributes = [], ...rest }: CsrParts = {}) {
  const keys = rest.keys ?? (await keyPair(kind));
  const request = await Pkcs10CertificateRequestGenerator.create({
    name: "CN=whatever",
    keys,
    signingAlgorithm: algorithmOf(kind, hash) as never,
    extensions: [...extensions],
    attributes: [...attributes],
  });
  return new Uint8Array(request.rawData);
}

export function spiffeName(...uris: readonly string[]): Extension {
  return new SubjectAlternativeNameExtension(uris.map((value) => ({ type: "url", value })));
}

export interface CaParts {
  readonly name: string;
  readonly kind?: KeyKind;
  readonly hash?: string;
  readonly ca?: boolean;
  readonly pathLength?: number;
  readonly usages?: number;
  readonly uri?: string;
  readonly from?: number;
  readonly until?: number;
  readonly more?: readonly Extension[];
}

export interface TestCa {
  readonly pem: string;
  readonly keyPem: string;
  readonly certificate: X509Certificate;
  readonly keys: Pair;
  readonly kind: KeyKind;
}

/** A CA certificate of an operator's making, signed by `issuer` or by itself. */
export async function testCa(parts: CaParts, issuer?: TestCa): Promise<TestCa> {
  const kind = parts.kind ?? "P-256";
  const keys = await keyPair(kind);
  const own = await SubjectKeyIdentifierExtension.create(keys.publicKey);
  const above = issuer?.certificate.getExtension(SubjectKeyIdentifierExtension)?.keyId ?? own.keyId;
  const signerKind = issuer?.kind ?? kind;
  const certificate = await X509CertificateGenerator.create({
    serialNumber: Buffer.from(countingBytes(8)).toString("hex").replace(/^./, "1"),
    subject: `CN=${parts.name}`,
    issuer: issuer?.certificate.subjectName ?? `CN=${parts.name}`,
    notBefore: new Date(parts.from ?? startedAt - dayMs),
    notAfter: new Date(parts.until ?? startedAt + 365 * dayMs),
    publicKey: keys.publicKey,
    signingKey: (issuer?.keys ?? keys).privateKey,
    signingAlgorithm: algorithmOf(signerKind, parts.hash ?? "SHA-256") as never,
    extensions: [
      new BasicConstraintsExtension(parts.ca ?? true, parts.pathLength, true),
      new KeyUsagesExtension(parts.usages ?? KeyUsageFlags.keyCertSign, true),
      own,
      new AuthorityKeyIdentifierExtension(above),
      ...(parts.uri === undefined ? [] : [spiffeName(parts.uri)]),
      ...(parts.more ?? []),
    ],
  });
  const key = Buffer.from(await subtle.exportKey("pkcs8", keys.privateKey)).toString("base64");
  return {
    pem: `${certificate.toString("pem")}\n`,
    keyPem: `-----BEGIN PRIVATE KEY-----\n${key}\n-----END PRIVATE KEY-----\n`,
    certificate,
    keys,
    kind,
  };
}
