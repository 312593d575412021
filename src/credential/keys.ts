import type { CryptoKey, JWK } from "jose";
import type { KeyClass } from "./key-life.ts";

/** The ES256 keys of one class, as they are at each moment: whoever keeps a ring sees every change of it. */
export interface KeyRing {
  readonly class: KeyClass;
  /** Resolves when a key signs: at once but in the moment after a revocation. Rejects `key_unavailable` where none can. */
  ready(): Promise<void>;
  /** The key that signs now. Throws `key_unavailable` where none does: wait for `ready` first. */
  readonly kid: string;
  /** The private key of `kid`; read both in one go. Throws as `kid` does. */
  readonly privateKey: CryptoKey;
  /** The public key of a live kid, or undefined. */
  publicKey(kid: string): CryptoKey | undefined;
  /** RFC 7517 key set of all live public keys. One object for ever; what it holds changes. */
  readonly jwks: { readonly keys: readonly JWK[] };
  /** Kids whose tokens may be accepted; a token of any other, or of none, is refused. */
  liveKids(): readonly string[];
  /** Called after every change of what is live or signs. Must not throw. Returns what stops it. */
  onChange(listener: () => void): () => void;
}

/** Throws where a key was revoked while a signature of it was being checked: to be called once that is done. */
export function refuseRevoked(keys: KeyRing, kid: string | undefined): void {
  if (keys.publicKey(kid ?? "") === undefined) throw new TypeError("its key was revoked meanwhile");
}
