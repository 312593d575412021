import { createPrivateKey, createPublicKey, type KeyObject, sign, verify } from "node:crypto";
import { decodeNkeyText, encodeNkeyText, type NkeyKind } from "./nats-nkey-text.ts";

/** A NATS key pair. `inspect` and JSON show its public half only. */
export interface Nkey {
  readonly kind: NkeyKind;
  /** 56 characters; the first one says the kind: O, A, U, N or X. */
  readonly publicKey: string;
  /** The private key, 58 characters, `SO…`, `SA…`, `SU…`, `SN…`, `SX…`: for key files and credentials files only. */
  readonly seed: string;
  /** Ed25519 signature, 64 bytes. Throws `TypeError` for a curve key, which does not sign. */
  sign(bytes: Uint8Array): Buffer;
}

/** DER before the 32 bytes of a key. @see RFC 8410 */
const ed25519Private = Buffer.from("302e020100300506032b657004220420", "hex");
const ed25519Public = Buffer.from("302a300506032b6570032100", "hex");
const x25519Private = Buffer.from("302e020100300506032b656e04220420", "hex");
const x25519Public = Buffer.from("302a300506032b656e032100", "hex");

/** A new key pair from 32 random bytes. */
export function createNkey(kind: NkeyKind, random: (bytes: number) => Uint8Array): Nkey {
  return nkeyOf(kind, random(32));
}

/** The key pair of a seed. Throws `TypeError` for anything but a whole, canonical seed of a known kind. */
export function openNkey(seed: string): Nkey {
  const { kind, bytes } = decodeNkeyText(seed, "seed");
  return nkeyOf(kind, bytes);
}

/** True where the owner of the public key signed exactly these bytes. False, too, for what is no public key that can sign. */
export function verifyNkey(publicKey: string, bytes: Uint8Array, signature: Uint8Array): boolean {
  const key = signatureKey(publicKey);
  return key !== undefined && signature.length === 64 && verify(null, bytes, key, signature);
}

/** The X25519 private key of a curve pair. Throws `TypeError` for another kind. */
export function curvePrivateKey(own: Nkey): KeyObject {
  if (own instanceof KeyPair && own.kind === "curve") return own.privateKey;
  throw new TypeError("not a curve key pair");
}

/** The X25519 public key in a text `X…`. Throws `TypeError`. */
export function curvePublicKey(text: string): KeyObject {
  const { kind, bytes } = decodeNkeyText(text, "public");
  if (kind !== "curve") throw new TypeError("not a curve public key");
  return createPublicKey({ key: Buffer.concat([x25519Public, bytes]), format: "der", type: "spki" });
}

function nkeyOf(kind: NkeyKind, secret: Uint8Array): Nkey {
  if (secret.length !== 32) throw new TypeError("a key pair is made of 32 bytes");
  return new KeyPair(kind, secret);
}

class KeyPair implements Nkey {
  readonly kind: NkeyKind;
  readonly publicKey: string;
  readonly #secret: Uint8Array;
  readonly #private: KeyObject;

  constructor(kind: NkeyKind, secret: Uint8Array) {
    this.kind = kind;
    this.#secret = Uint8Array.from(secret);
    const prefix = kind === "curve" ? x25519Private : ed25519Private;
    this.#private = createPrivateKey({ key: Buffer.concat([prefix, secret]), format: "der", type: "pkcs8" });
    const spki = createPublicKey(this.#private).export({ format: "der", type: "spki" });
    this.publicKey = encodeNkeyText(kind, "public", spki.subarray(spki.length - 32));
  }

  get seed(): string {
    return encodeNkeyText(this.kind, "seed", this.#secret);
  }

  get privateKey(): KeyObject {
    return this.#private;
  }

  sign(bytes: Uint8Array): Buffer {
    if (this.kind === "curve") throw new TypeError("a curve key does not sign");
    return sign(null, bytes, this.#private);
  }
}

/** The few keys that sign again and again, by their text: making a key object costs as much as a signature. */
const known = new Map<string, KeyObject>();
const mostKnown = 256;

/** Undefined for what cannot have signed anything. */
function signatureKey(text: string): KeyObject | undefined {
  const found = known.get(text);
  if (found !== undefined) return found;
  const key = importSignatureKey(text);
  if (key === undefined) return undefined;
  if (known.size >= mostKnown) known.delete(known.keys().next().value ?? "");
  known.set(text, key);
  return key;
}

function importSignatureKey(text: string): KeyObject | undefined {
  try {
    const { kind, bytes } = decodeNkeyText(text, "public");
    if (kind === "curve") return undefined;
    return createPublicKey({ key: Buffer.concat([ed25519Public, bytes]), format: "der", type: "spki" });
  } catch {
    return undefined; // not a public key: nobody signed
  }
}
