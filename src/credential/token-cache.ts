import { hash } from "node:crypto";
import type { VerifiedAccessToken } from "./access-token.ts";

/** Verified tokens by the SHA-256 of the whole token, so that a warm token costs one hash and no signature check. */
export interface TokenCache {
  /**
   * The token's meaning, or undefined when it is not a valid token of ours. A promise only on first sight.
   * An expired token is `expired`; revocation and the session's life are the caller's to check, on each request.
   */
  lookup(token: string, nowMs: number): TokenLookup | Promise<TokenLookup>;
  /** Forget everything: a key was removed. */
  clear(): void;
}

export type TokenLookup =
  | { readonly state: "valid"; readonly token: VerifiedAccessToken }
  | { readonly state: "expired"; readonly token: VerifiedAccessToken }
  | { readonly state: "invalid" };

const invalid: TokenLookup = Object.freeze({ state: "invalid" });

/** No token of ours is longer; a longer one is refused unread. */
const maxTokenLength = 8192;

interface Entry {
  readonly token: VerifiedAccessToken;
  readonly valid: TokenLookup;
}

/**
 * A bounded cache over `verify`. Only valid tokens are kept, so a flood of rubbish evicts nothing; when full, the
 * oldest goes first.
 */
export function createTokenCache(
  verify: (token: string, nowMs: number) => Promise<VerifiedAccessToken>,
  capacity = 50_000,
): TokenCache {
  const entries = new Map<string, Entry>();
  let generation = 0;

  const first = async (key: string, token: string, nowMs: number): Promise<TokenLookup> => {
    const seen = generation;
    let verified: VerifiedAccessToken;
    try {
      verified = await verify(token, nowMs);
    } catch {
      return invalid; // why does not matter to the caller: it is not a token of ours
    }
    const valid: TokenLookup = { state: "valid", token: verified };
    if (seen === generation) {
      if (entries.size >= capacity) entries.delete(entries.keys().next().value ?? "");
      entries.set(key, { token: verified, valid });
    }
    return valid;
  };

  return {
    lookup(token, nowMs) {
      if (token.length > maxTokenLength) return invalid;
      const key = hash("sha256", token, "base64");
      const entry = entries.get(key);
      if (entry === undefined) return first(key, token, nowMs);
      if (nowMs < entry.token.expiresAt) return entry.valid;
      entries.delete(key);
      return { state: "expired", token: entry.token };
    },
    clear() {
      generation++;
      entries.clear();
    },
  };
}
