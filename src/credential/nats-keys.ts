import { hkdfSync } from "node:crypto";
import { WayleaveError } from "../core/errors.ts";
import type { KeyChain } from "./key-chain.ts";
import type { KeyFile } from "./key-file.ts";
import { isAccountName } from "./nats-account-name.ts";
import type { NatsKeyFile, StoredNatsKeys } from "./nats-key-file.ts";
import { createNkey, type Nkey } from "./nats-nkey.ts";
import type { NkeyKind } from "./nats-nkey-text.ts";
import { createSigningKeys, type NatsSigningKey, type SigningKeys } from "./nats-signing-keys.ts";

/** An account of the NATS installation: a place for jobs. */
export interface NatsAccount {
  readonly name: string;
  /** `A…`: the same for ever. */
  readonly publicKey: string;
  /** Signs nothing in daily use: user JWTs are the signing keys' matter, and the account's own JWT the operator's. */
  readonly identity: Nkey;
  /** The key that signs user JWTs now. Throws `key_unavailable` where none does. */
  readonly current: Nkey;
  /** What the account's JWT must list, oldest first. */
  readonly signing: readonly NatsSigningKey[];
}

/** Every key that Wayleave has at NATS. */
export interface NatsKeys {
  /** The operator (operator mode), and the key that signs account JWTs in its name. */
  readonly operator: Nkey;
  readonly operatorSigning: Nkey;
  /** System account and the user that pushes account JWTs and kicks. */
  readonly system: { readonly account: Nkey; readonly user: Nkey };
  /** The account clients are in before they are anybody, the callout's own user in it, and the default sentinel. */
  readonly auth: { readonly account: Nkey; readonly service: Nkey; readonly sentinel: Nkey };
  /** Curve key that nats-server seals callout requests to. */
  readonly xkey: Nkey;
  /** Signs the upstream nonce: what `proxies.trusted` names. */
  readonly proxy: Nkey;
  /** Config mode: `auth_callout.issuer`, which signs users and responses. */
  readonly issuer: Nkey;
  /** 32 bytes: the MAC of tickets. */
  readonly ticketKey: Uint8Array;
  /** The four verbs, for the signing keys of all accounts at once; a `kid` names one generation of them. */
  readonly chain: KeyChain;
  /** The account of this name; one that is new is durable before it is here. Throws `key_unavailable`, and `config_invalid` for no name of an account. */
  account(name: string): Promise<NatsAccount>;
  /** The account, where somebody asked for it before. */
  find(name: string): NatsAccount | undefined;
  /** All of them, in the order they were first asked for. */
  accounts(): readonly NatsAccount[];
  /** Called after each change of what account JWTs must list. Must not throw. Returns what stops it. */
  onChange(listener: () => void): () => void;
}

export interface NatsKeysOptions {
  readonly file: NatsKeyFile;
  /** Where the generations of signing keys are kept: `keyFile(dir, "nats", …)`. */
  readonly signing: KeyFile;
  /** Opens the chain of class `nats` on that file, or rather on the one it is given. */
  openChain(file: KeyFile): Promise<KeyChain>;
  random(bytes: number): Uint8Array;
}

/** Far above one account for each project of a large company; each costs a line of the file and three keys in memory. */
const mostAccounts = 100_000;

/**
 * Opens the keys; makes them on the first start. All identities follow from one secret, so a backup of any age still has the
 * accounts of today. Throws `key_unavailable`.
 */
export async function openNatsKeys(options: NatsKeysOptions): Promise<NatsKeys> {
  const { file, random } = options;
  const stored = (await file.read()) ?? (await firstKeys(file, random));
  const signing = await createSigningKeys(options.signing, options.openChain);
  const identity = (kind: NkeyKind, what: string) => createNkey(kind, () => derived(stored.root, what));
  const accounts = createAccounts(file, stored, signing);
  return {
    operator: identity("operator", "operator"),
    operatorSigning: identity("operator", "operator signing"),
    system: { account: identity("account", "system account"), user: identity("user", "system user") },
    auth: {
      account: identity("account", "auth account"),
      service: identity("user", "auth service"),
      sentinel: identity("user", "auth sentinel"),
    },
    xkey: identity("curve", "xkey"),
    proxy: identity("server", "proxy"),
    issuer: identity("account", "config issuer"),
    ticketKey: derived(stored.root, "ticket"),
    chain: signing.chain,
    ...accounts,
    onChange(listener) {
      const stops = [signing.chain.ring.onChange(listener), accounts.onNew(listener)];
      return () => {
        for (const stop of stops) stop();
      };
    },
  };
}

async function firstKeys(file: NatsKeyFile, random: (bytes: number) => Uint8Array): Promise<StoredNatsKeys> {
  const stored = { root: random(32), accounts: [] };
  await file.write(stored);
  return stored;
}

/** @see RFC 5869 */
function derived(root: Uint8Array, what: string): Uint8Array {
  return new Uint8Array(hkdfSync("sha256", root, "", `wayleave nats identity v1 ${what}`, 32));
}

function createAccounts(file: NatsKeyFile, stored: StoredNatsKeys, signing: SigningKeys) {
  const known = new Map<string, NatsAccount>();
  const listeners = new Set<() => void>();
  const opened = (name: string): NatsAccount => {
    const identity = createNkey("account", () => derived(stored.root, `account ${name}`));
    return {
      name,
      publicKey: identity.publicKey,
      identity,
      get current() {
        return signing.current(name);
      },
      get signing() {
        return signing.live(name);
      },
    };
  };
  for (const name of stored.accounts) known.set(name, opened(name));
  let last: Promise<unknown> = Promise.resolve();

  /** One after the other, so that no write forgets another's account. */
  const add = (name: string): Promise<NatsAccount> => {
    const made = last.then(async () => {
      const there = known.get(name);
      if (there !== undefined) return there;
      if (known.size >= mostAccounts)
        throw new WayleaveError(
          "key_unavailable",
          `There are ${mostAccounts} NATS accounts already; policy asks for too many.`,
        );
      await file.write({ root: stored.root, accounts: [...known.keys(), name] });
      const account = opened(name);
      known.set(name, account);
      for (const listener of listeners) listener();
      return account;
    });
    last = made.catch(() => undefined);
    return made;
  };

  return {
    async account(name: string): Promise<NatsAccount> {
      if (isAccountName(name)) return known.get(name) ?? (await add(name));
      throw new WayleaveError(
        "config_invalid",
        `${JSON.stringify(name.slice(0, 70))} cannot be a NATS account: 1 to 64 of A-Z, a-z, 0-9, _ and -, and neither SYS nor AUTH.`,
      );
    },
    find: (name: string) => known.get(name),
    accounts: () => [...known.values()],
    onNew(listener: () => void): () => void {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}
