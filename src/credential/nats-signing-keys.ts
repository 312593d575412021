import { hkdfSync } from "node:crypto";
import { WayleaveError } from "../core/errors.ts";
import type { KeyChain } from "./key-chain.ts";
import type { KeyFile, StoredKey } from "./key-file.ts";
import { isLive } from "./key-life.ts";
import { createNkey, type Nkey } from "./nats-nkey.ts";

/** A signing key of an account, as far as it has come. */
export interface NatsSigningKey {
  /** `A…` */
  readonly publicKey: string;
  /** `prepared`: known to the servers, not signing. `retiring`: signs no more, and a user JWT of it may live. */
  readonly state: "prepared" | "active" | "retiring";
}

/** The signing keys of every account, generation by generation. */
export interface SigningKeys {
  readonly chain: KeyChain;
  /** What signs for the account now. Throws `key_unavailable` where nothing does. */
  current(account: string): Nkey;
  live(account: string): readonly NatsSigningKey[];
}

/**
 * One generation is one key of the chain; each account's signing key follows from it and the account's name. So the verbs move
 * the keys of all accounts in one step, an account that is new has keys of every live generation, and the order of file and
 * journal, crashes and old backups are the chain's matter. The chain's own key signs nothing: its secret is only derived from.
 */
export async function createSigningKeys(
  file: KeyFile,
  openChain: (file: KeyFile) => Promise<KeyChain>,
): Promise<SigningKeys> {
  const secrets = new Map<string, Buffer>();
  const chain = await openChain(noticing(file, secrets));
  const made = new Map<string, Map<string, Nkey>>();

  const key = (kid: string, account: string): Nkey => {
    const keys = made.get(kid) ?? new Map<string, Nkey>();
    made.set(kid, keys);
    const known = keys.get(account);
    if (known !== undefined) return known;
    const secret = secrets.get(kid);
    if (secret === undefined) throw new WayleaveError("key_unavailable", `The file has no NATS key ${kid}; revoke it.`);
    const fresh = createNkey("account", () => derived(secret, account));
    keys.set(account, fresh);
    return fresh;
  };
  chain.ring.onChange(() => {
    const live = new Set(chain.list().flatMap((life) => (isLive(life) ? [life.kid] : [])));
    for (const kid of made.keys()) if (!live.has(kid)) made.delete(kid);
  });

  return {
    chain,
    current: (account) => key(chain.ring.kid, account),
    live: (account) =>
      chain.list().flatMap(({ kid, state }): NatsSigningKey[] => {
        if (state !== "prepared" && state !== "active" && state !== "retiring") return [];
        return [{ publicKey: key(kid, account).publicKey, state }];
      }),
  };
}

/** The file, noting the secret of each key that goes through it. A chain writes every key before it lets it sign. */
function noticing(file: KeyFile, secrets: Map<string, Buffer>): KeyFile {
  const note = (keys: readonly StoredKey[]) => {
    secrets.clear();
    for (const { kid, jwk } of keys) if (jwk?.d !== undefined) secrets.set(kid, Buffer.from(jwk.d, "base64url"));
  };
  return {
    async read() {
      const keys = await file.read();
      note(keys ?? []);
      return keys;
    },
    write(keys) {
      note(keys);
      return file.write(keys);
    },
  };
}

/** @see RFC 5869 */
function derived(secret: Uint8Array, account: string): Uint8Array {
  return new Uint8Array(hkdfSync("sha256", secret, "", `wayleave nats signing key v1 ${account}`, 32));
}
