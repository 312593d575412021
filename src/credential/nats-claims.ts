/**
 * What NATS JWTs of version 2 say, as far as Wayleave writes them. Wire names. A limit that is left out is 0 for nats-server,
 * so every limit is there; -1 is none.
 *
 * @see nats-io/jwt v2
 */
export interface NatsClaims {
  /** Subject: the public key of whom it is about. */
  readonly sub: string;
  readonly name?: string;
  readonly aud?: string;
  /** NumericDate. */
  readonly exp?: number;
  readonly nbf?: number;
  readonly nats: NatsOperatorBody | NatsAccountBody | NatsUserBody | NatsAuthorizationResponseBody | NatsOtherBody;
}

/** Allowed or denied subjects; one for `sub` may be `<subject> <queue group>`. An empty list is no list for nats-server. */
export interface NatsSubjects {
  readonly allow?: readonly string[];
  readonly deny?: readonly string[];
}

export interface NatsPermissions {
  readonly pub?: NatsSubjects;
  readonly sub?: NatsSubjects;
  /** How many messages may answer one delivered reply subject, and for how many nanoseconds. */
  readonly resp?: { readonly max: number; readonly ttl: number };
}

export interface NatsOperatorBody {
  readonly type: "operator";
  readonly signing_keys?: readonly string[];
  readonly system_account?: string;
  readonly account_server_url?: string;
  readonly operator_service_urls?: readonly string[];
  readonly strict_signing_key_usage?: boolean;
}

export interface NatsAccountBody {
  readonly type: "account";
  readonly limits: NatsAccountLimits;
  readonly signing_keys?: readonly string[];
  readonly default_permissions?: NatsPermissions;
  readonly revocations?: Readonly<Record<string, number>>;
  readonly exports?: readonly Readonly<Record<string, unknown>>[];
  readonly imports?: readonly Readonly<Record<string, unknown>>[];
  readonly description?: string;
  /** Auth callout: who answers it, into which accounts it may place a client, and the key its questions are sealed to. */
  readonly authorization?: {
    readonly auth_users: readonly string[];
    readonly allowed_accounts?: readonly string[];
    readonly xkey?: string;
  };
}

export interface NatsAccountLimits {
  readonly subs: number;
  readonly data: number;
  readonly payload: number;
  readonly imports: number;
  readonly exports: number;
  readonly wildcards: boolean;
  readonly conn: number;
  readonly leaf: number;
  readonly disallow_bearer?: boolean;
  /** JetStream: bytes; 0 is none of it. */
  readonly mem_storage?: number;
  readonly disk_storage?: number;
  readonly streams?: number;
  readonly consumer?: number;
}

export interface NatsUserBody extends NatsPermissions {
  readonly type: "user";
  readonly subs: number;
  readonly data: number;
  /** Longest message, bytes. */
  readonly payload: number;
  readonly allowed_connection_types?: readonly "STANDARD"[];
  readonly bearer_token?: boolean;
  /** Only a connection through a trusted proxy may use it. nats-server 2.12. */
  readonly proxy_required?: boolean;
  /** The account, where one of its signing keys signed. */
  readonly issuer_account?: string;
  readonly tags?: readonly string[];
}

/** Answer of an auth callout: exactly one of both. */
export interface NatsAuthorizationResponseBody {
  readonly type: "authorization_response";
  readonly jwt?: string;
  /** For the server's log; clients are never told. */
  readonly error?: string;
  readonly issuer_account?: string;
}

/** What others sign and this version only reads. */
export interface NatsOtherBody {
  readonly type: string;
  readonly [name: string]: unknown;
}
