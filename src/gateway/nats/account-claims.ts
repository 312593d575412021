/** Claims of a NATS JWT before it is signed; who signs adds `iss`, `iat`, `jti` and `nats.version`. Wire names. */
export interface NatsClaims {
  /** Public nkey of what the claims are about. */
  readonly sub: string;
  readonly name: string;
  readonly nats: Readonly<Record<string, unknown>> & { readonly type: string };
}

/**
 * The signed JWT: the same arguments give the same text. `issuedAt` is a NumericDate; servers that differ over an account
 * keep the later one. The key never leaves whoever gives this.
 */
export type SignClaims = (claims: NatsClaims, issuedAt: number) => string;

/** Bytes an account may keep in all its streams together; absent: as many as the server has. */
export interface JetStreamLimits {
  readonly fileBytes?: number;
  readonly memoryBytes?: number;
}

/** One account, its keys public. */
export interface AccountKeys {
  /** `A…` */
  readonly key: string;
  /** `A…`: keys whose users the account takes, in the order they were made: prepared, active and retiring ones. */
  readonly signingKeys: readonly string[];
}

export interface JobAccount extends AccountKeys {
  readonly name: string;
  /** False: no streams. */
  readonly jetstream: JetStreamLimits | false;
}

/** Every user of a job account says what it may do; one that says nothing may do nothing. */
const nothing = { pub: { deny: [">"] }, sub: { deny: [">"] } };

/**
 * An account that jobs work in. The number of its connections, subscriptions and bytes is not limited: the users' own JWTs
 * limit those. It takes no leaf nodes, imports and exports nothing, and accepts no bearer users, who would prove nothing.
 */
export function jobAccountClaims(account: JobAccount): NatsClaims {
  return accountClaims(account, {
    limits: {
      ...limits,
      leaf: 0,
      imports: 0,
      exports: 0,
      disallow_bearer: true,
      ...jetstreamLimits(account.jetstream),
    },
    default_permissions: nothing,
  });
}

/**
 * The account that every client is in until the callout has placed it. `users` answer the callout, and are the only ones
 * that it is not asked about; `xkey` (`X…`) is what requests are encrypted to. It lets the callout place clients in any
 * account of the operator, since accounts are added while servers run.
 */
export function authAccountClaims(
  account: AccountKeys & { readonly name: string; readonly users: readonly string[]; readonly xkey: string },
): NatsClaims {
  return accountClaims(account, {
    limits: { ...limits, leaf: 0, imports: 0, exports: 0 },
    default_permissions: nothing,
    authorization: { auth_users: account.users.toSorted(), allowed_accounts: ["*"], xkey: account.xkey },
  });
}

/** The system account: kick, totals, pushing of accounts. No job is ever in it. */
export function systemAccountClaims(account: AccountKeys & { readonly name: string }): NatsClaims {
  return accountClaims(account, { limits: { ...limits, disallow_bearer: true } });
}

/**
 * The user that nats-server takes every client for that brings no JWT of its own, in the account that asks the callout. It
 * may do nothing, and connect only through a trusted proxy unless `direct`. It is a bearer user: no other kind can be a
 * default sentinel.
 */
export function sentinelClaims(sentinel: {
  /** `U…` */
  readonly key: string;
  readonly direct: boolean;
}): NatsClaims {
  return {
    sub: sentinel.key,
    name: "wayleave-sentinel",
    nats: {
      ...nothing,
      subs: -1,
      data: -1,
      payload: -1,
      bearer_token: true,
      ...(sentinel.direct ? {} : { proxy_required: true }),
      type: "user",
    },
  };
}

/** What is left out counts as zero, so every limit is said. */
const limits = { subs: -1, data: -1, payload: -1, imports: -1, exports: -1, wildcards: true, conn: -1, leaf: -1 };

function jetstreamLimits(jetstream: JetStreamLimits | false): Readonly<Record<string, number>> {
  if (jetstream === false) return {};
  return {
    mem_storage: jetstream.memoryBytes ?? -1,
    disk_storage: jetstream.fileBytes ?? -1,
    streams: -1,
    consumer: -1,
    max_ack_pending: -1,
  };
}

function accountClaims(
  account: AccountKeys & { readonly name: string },
  nats: Readonly<Record<string, unknown>>,
): NatsClaims {
  const { key, name, signingKeys } = account;
  const keys = signingKeys.length === 0 ? {} : { signing_keys: signingKeys };
  return { sub: key, name, nats: { ...nats, ...keys, type: "account" } };
}
