import {
  type AccountKeys,
  authAccountClaims,
  type JetStreamLimits,
  jobAccountClaims,
  type SignClaims,
  sentinelClaims,
  systemAccountClaims,
} from "./account-claims.ts";
import { operatorClaims } from "./operator-claims.ts";
import { authAccountName, type NatsTrust, systemAccountName } from "./settings.ts";

/** Public halves of the broker's keys at NATS. */
export interface NatsPublicKeys {
  readonly operator: { readonly name: string; readonly key: string; readonly signingKeys: readonly string[] };
  readonly system: { readonly key: string; readonly users: readonly string[] };
  /** `sentinel`: `U…`. */
  readonly auth: {
    readonly key: string;
    readonly users: readonly string[];
    readonly xkey: string;
    readonly sentinel: string;
  };
  readonly issuer: string;
  readonly proxies: readonly string[];
  account(name: string): AccountKeys;
}

/** What signs in whose name. */
export interface NatsSigners {
  /** The operator's own key: signs the operator's JWT. */
  readonly operator: SignClaims;
  /** One of the operator's signing keys, or its own: signs the accounts'. */
  readonly accounts: SignClaims;
  /** The auth account's key: signs the sentinel's. */
  readonly auth: SignClaims;
}

/**
 * Everything the servers are told of whom to trust. With the same keys, settings and `issuedAt` (a NumericDate; the moment
 * the keys were made) it is the same bytes. Servers keep the later of two JWTs of an account, so what the broker pushed to
 * them since is never undone by a file rendered from this.
 */
export function natsTrust(input: {
  readonly keys: NatsPublicKeys;
  readonly sign: NatsSigners;
  readonly direct: boolean;
  readonly jetstream: JetStreamLimits | false;
  readonly issuedAt: number;
}): NatsTrust {
  const { keys, sign, direct, jetstream, issuedAt } = input;
  const { operator, system, auth } = keys;
  const job = (name: string) => jobAccountClaims({ ...keys.account(name), name, jetstream });
  return {
    jwts: {
      operator: sign.operator(operatorClaims({ ...operator, systemAccount: system.key }), issuedAt),
      system: sign.accounts(
        systemAccountClaims({ key: system.key, name: systemAccountName, signingKeys: [] }),
        issuedAt,
      ),
      auth: sign.accounts(authAccountClaims({ ...auth, name: authAccountName, signingKeys: [] }), issuedAt),
      sentinel: sign.auth(sentinelClaims({ key: auth.sentinel, direct }), issuedAt),
    },
    system,
    auth: { key: auth.key, users: auth.users, xkey: auth.xkey },
    issuer: keys.issuer,
    proxies: keys.proxies,
    account: (name) => ({ ...keys.account(name), jwt: sign.accounts(job(name), issuedAt) }),
  };
}
