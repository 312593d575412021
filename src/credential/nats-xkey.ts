import { diffieHellman, randomBytes } from "node:crypto";
import { hsalsa, xsalsa20poly1305 } from "@noble/ciphers/salsa.js";
import { curvePrivateKey, curvePublicKey, type Nkey } from "./nats-nkey.ts";

/** In front of everything sealed, and then 24 bytes of nonce. */
const version = Buffer.from("xkv1");
const nonceLength = 24;
const tagLength = 16;

/**
 * Sealed by `own` so that only `peer` (a public key `X…`) opens it: `xkv1`, nonce, NaCl box. Whoever opens it knows that one
 * of the two sealed it. Throws `TypeError` where a key is no curve key.
 */
export function sealXkey(own: Nkey, peer: string, plain: Uint8Array): Buffer {
  const nonce = randomBytes(nonceLength);
  return Buffer.concat([version, nonce, xsalsa20poly1305(sharedKey(own, peer), nonce).encrypt(plain)]);
}

/** What `peer` sealed for `own`. Throws `TypeError` for anything that `peer` did not seal for it. */
export function openXkey(own: Nkey, peer: string, sealed: Uint8Array): Buffer {
  const start = version.length + nonceLength;
  const known = sealed.length >= start + tagLength && version.equals(sealed.subarray(0, version.length));
  if (!known) throw new TypeError("not sealed with an xkey");
  const cipher = xsalsa20poly1305(sharedKey(own, peer), sealed.subarray(version.length, start));
  try {
    return Buffer.from(cipher.decrypt(sealed.subarray(start)));
  } catch {
    throw new TypeError("not sealed by this peer for this xkey");
  }
}

/** By pair: an X25519 agreement costs many times what a message does, and the peers are a few servers. */
const shared = new WeakMap<Nkey, Map<string, Uint8Array>>();
const mostShared = 256;

function sharedKey(own: Nkey, peer: string): Uint8Array {
  const keys = shared.get(own) ?? new Map<string, Uint8Array>();
  shared.set(own, keys);
  const known = keys.get(peer);
  if (known !== undefined) return known;
  const key = agree(own, peer);
  if (keys.size >= mostShared) keys.delete(keys.keys().next().value ?? "");
  keys.set(peer, key);
  return key;
}

/** HSalsa20 reads memory as words, in the machine's own order, and so does a typed array. */
const sigma = words(Buffer.from("expand 32-byte k"));

/** NaCl's `box` key: HSalsa20 of the X25519 secret. A peer of low order, whose secret everybody knows, is refused. */
function agree(own: Nkey, peer: string): Uint8Array {
  const pair = { privateKey: curvePrivateKey(own), publicKey: curvePublicKey(peer) };
  const key = new Uint32Array(8);
  hsalsa(sigma, words(secretOf(pair)), new Uint32Array(4), key);
  return new Uint8Array(key.buffer);
}

function secretOf(pair: Parameters<typeof diffieHellman>[0]): Buffer {
  try {
    const secret = diffieHellman(pair);
    if (secret.some((byte) => byte !== 0)) return secret;
  } catch {
    // OpenSSL refuses such a peer by itself; the reason is the same
  }
  throw new TypeError("the peer's curve key is of low order");
}

function words(bytes: Uint8Array): Uint32Array {
  return new Uint32Array(Uint8Array.from(bytes).buffer);
}
