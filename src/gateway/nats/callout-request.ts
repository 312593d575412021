/** What the callout needs of its keys. Functions that verify or open throw for what they do not accept. */
export interface CalloutKeys {
  /** Public key of the account that answers: requests are addressed to it. */
  readonly account: string;
  /** `exp` of a token nobody verified, ms since the epoch. Undefined where it says none. */
  expiryOf(token: string): number | undefined;
  /** Claims of a NATS JWT whose signature is its issuer's. */
  decode(token: string): RequestClaims;
  isServerKey(text: unknown): text is string;
  isUserKey(text: unknown): text is string;
  /** The curve key requests are sealed to. Where there is one, an open request is not taken. */
  readonly xkey?: {
    open(peer: string, sealed: Uint8Array): Uint8Array;
    seal(peer: string, plain: Uint8Array): Uint8Array;
  };
}

interface RequestClaims {
  readonly iss: string;
  readonly sub: string;
  readonly aud?: string;
  readonly exp?: number;
  readonly nats: object;
}

/** A client that nats-server asks about. Everything the client said of itself is a claim. */
export interface CalloutRequest {
  /** The server's one-shot key for the user it is to be. */
  readonly userNkey: string;
  readonly server: {
    readonly id: string;
    readonly name: string;
    readonly version: string;
    /** Curve key that the answer is sealed to. */
    readonly xkey?: string;
  };
  readonly cid: number;
  /** A client of the NATS protocol on TCP; not a leaf node, WebSocket or MQTT. */
  readonly standard: boolean;
  /** Network address of the client. */
  readonly from: string;
  /** `auth_token`, or else `pass`. Empty where there is neither. */
  readonly secret: string;
  readonly user?: string;
  readonly client: { readonly name?: string; readonly lang?: string; readonly version?: string };
  /** ms since the epoch: after it the server has refused the client. */
  readonly deadline: number;
}

/** Why a request gets no answer, so that the server's own timeout refuses the client. */
export type DropReason =
  /** Past its deadline. */
  | "late"
  | "too_large"
  /** Not sealed where it must be, sealed where it cannot be, or to somebody else. */
  | "unsealed"
  /** Not a request that a nats-server signed. */
  | "forged";

/** A token is at most as long as a control line, and the rest is short. */
const maxBytes = 128 * 1024;

/** Clocks of server and broker may differ; a request has whole seconds. */
const leewayMs = 1_000;

/**
 * Reads a request of `$SYS.REQ.USER.AUTH`; the checks stand in the order of their cost, and none is left out. `peer` is the
 * header `Nats-Server-Xkey`. A deadline that is over ends it before any signature is looked at; where requests are sealed,
 * after they were opened, which is cheap.
 */
export function readCalloutRequest(
  keys: CalloutKeys,
  bytes: Uint8Array,
  peer: string | undefined,
  now: number,
): CalloutRequest | DropReason {
  if (bytes.length > maxBytes) return "too_large";
  const token = openToken(keys, bytes, peer);
  if (token === undefined) return "unsealed";
  const expiry = keys.expiryOf(token);
  if (expiry !== undefined && expiry + leewayMs < now) return "late";
  try {
    return requestOf(keys, keys.decode(token), peer) ?? "forged";
  } catch {
    return "forged"; // whatever is wrong with it, nobody is told: it is no server's
  }
}

function openToken(keys: CalloutKeys, bytes: Uint8Array, peer: string | undefined): string | undefined {
  if (keys.xkey === undefined) return peer === undefined ? Buffer.from(bytes).toString("latin1") : undefined;
  if (peer === undefined) return undefined;
  try {
    return Buffer.from(keys.xkey.open(peer, bytes)).toString("latin1");
  } catch {
    return undefined; // another key, or altered
  }
}

/** Undefined for what a nats-server would not have said. */
function requestOf(keys: CalloutKeys, claims: RequestClaims, peer: string | undefined): CalloutRequest | undefined {
  const { iss, sub, aud, exp } = claims;
  const nats = objectOf(claims.nats);
  const server = objectOf(nats.server_id);
  const info = objectOf(nats.client_info);
  const options = objectOf(nats.connect_opts);
  const { user_nkey: userNkey } = nats;
  const right =
    nats.type === "authorization_request" &&
    aud === "nats-authorization-request" &&
    keys.isServerKey(iss) &&
    server.id === iss &&
    server.xkey === peer &&
    sub === keys.account &&
    keys.isUserKey(userNkey) &&
    exp !== undefined &&
    Number.isSafeInteger(info.id);
  if (!right) return undefined;
  const { auth_token: token, pass } = options;
  return {
    userNkey,
    server: {
      id: iss,
      name: textOf(server.name),
      version: textOf(server.version),
      ...(peer === undefined ? {} : { xkey: peer }),
    },
    cid: info.id as number,
    standard: info.kind === "Client" && info.type === "nats",
    from: textOf(info.host),
    secret: textOf(token) || textOf(pass),
    ...optional("user", options.user),
    client: {
      ...optional("name", options.name),
      ...optional("lang", options.lang),
      ...optional("version", options.version),
    },
    deadline: exp * 1000,
  };
}

function objectOf(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value)
    ? (value as Readonly<Record<string, unknown>>)
    : {};
}

function textOf(value: unknown): string {
  return typeof value === "string" ? value : "";
}

/** A label as far as it is of use; it goes into records. */
function optional<K extends string>(name: K, value: unknown): { readonly [_ in K]?: string } {
  const text = textOf(value).slice(0, 120);
  return text === "" ? {} : ({ [name]: text } as { readonly [_ in K]: string });
}
