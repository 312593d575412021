/** One connection of a job to a NATS gateway. Every record about it repeats these. */
export interface NatsPlace {
  readonly gateway: string;
  /** `nc_` and 16 characters. */
  readonly connection: string;
  readonly target: string;
  /** NATS account name. */
  readonly account: string;
}

/** Messages and payload bytes (headers included, as nats-server counts them). */
export interface NatsCount {
  readonly messages: number;
  readonly bytes: number;
}

/** A job's connection, before it reaches the server: nothing goes upstream that has no such record. */
export interface NatsConnected extends NatsPlace {
  /** `direct`: the job's own connection to the server, authenticated by the callout alone; its messages have no records. */
  readonly mode: "gateway" | "direct";
  /** nats-server's id and its number for the connection: what KICK and the server's own advisories name it by. */
  readonly server_id: string;
  readonly cid: number;
  readonly server_version: string;
  /** What the client calls itself: a label, never an identity. */
  readonly client?: { readonly name?: string; readonly lang?: string; readonly version?: string };
  readonly from?: string;
  readonly roles: readonly string[];
  readonly policy: string;
  /** `durable`: each message recorded before it is forwarded. `fast`: recorded behind. */
  readonly records: "durable" | "fast";
  readonly expires_at: number;
}

/**
 * Messages the gateway forwarded to the server, in order. A message is one text of five words:
 * `<rule> <subject> <reply or -> <header bytes> <payload bytes>`, as the server was sent it.
 */
export interface NatsPublished extends NatsPlace {
  /** Number of the first of them on its connection; the first ever is 1. */
  readonly first: number;
  readonly messages: readonly string[];
  /** Payloads and headers of all of them, as forwarded. */
  readonly bytes: number;
  readonly policy: string;
}

export interface NatsSubscribed extends NatsPlace {
  /** The client's own name for the subscription. */
  readonly sid: string;
  readonly subject: string;
  readonly queue?: string;
  readonly rule: string;
  readonly policy: string;
}

export interface NatsUnsubscribed extends NatsPlace {
  readonly sid: string;
  /** It ends by itself after so many messages. */
  readonly max?: number;
}

/** What one subscription was delivered since the last such record. */
export interface NatsDelivered extends NatsPlace, NatsCount {
  readonly sid: string;
  /** The subscription's subject. */
  readonly subject: string;
  readonly first_at: number;
  readonly last_at: number;
  /** Where policy asks for each: `<subject> <reply or -> <header bytes> <payload bytes>`, in order. */
  readonly each?: readonly string[];
}

/** The final record of a connection. */
export interface NatsDisconnected extends NatsPlace {
  /** `session_ended`, `client_closed`, `server_closed`, `protocol_error`, … */
  readonly reason: string;
  readonly detail?: string;
  readonly published: NatsCount;
  readonly delivered: NatsCount;
  readonly denied: number;
  /** What came from the server, where not all of it was delivered: its subscription had ended, or its right. */
  readonly arrived?: NatsCount;
  /** Among what came: answers that nobody is there to answer, which the server makes and does not count. */
  readonly unanswered?: NatsCount;
  /** It was cut off: what was under way may be counted on one side only. */
  readonly cut?: true;
  /** The server's own totals, where it told them in time: `received` from the job, `sent` to it. */
  readonly server?: { readonly received: NatsCount; readonly sent: NatsCount };
}

/** The server's totals of a connection are not the gateway's: messages went past one of them. */
export interface NatsMismatch extends NatsPlace {
  readonly gateway_counts: { readonly published: NatsCount; readonly delivered: NatsCount };
  readonly server_counts: { readonly received: NatsCount; readonly sent: NatsCount };
}

/** A connection that was refused, before there was one or because of what it sent. */
export interface NatsRefused {
  readonly gateway: string;
  readonly code: string;
  readonly detail: string;
  readonly connection?: string;
  readonly from?: string;
  /** Keyed fingerprint of what it presented. */
  readonly token?: string;
}

/** A password or credentials file for a NATS gateway. It lives as long as its session. */
export interface NatsCredentialMinted {
  readonly class: "password" | "creds";
  readonly gateway: string;
  readonly target: string;
  readonly expires_at: number;
  /** Keyed fingerprint of it. */
  readonly token: string;
}

/** An operator was given a way into an account at the servers themselves, past the gateway. */
export interface NatsAdminMinted {
  readonly gateway: string;
  readonly account: string;
  /** Public user nkey, `U…`: what nats-server's own log names the connection by. */
  readonly key: string;
  readonly expires_at: number;
  readonly by: string;
}

/** An account was made known to the servers, or its rights and signing keys changed. */
export interface NatsAccountPushed {
  readonly gateway: string;
  readonly account: string;
  /** Public account nkey, `A…`. */
  readonly key: string;
  /** Public signing keys, in the order they were made. */
  readonly signing_keys: readonly string[];
}

/** By kind of record; part of `EventData`. */
export interface NatsEventData {
  readonly "nats.credential_minted": NatsCredentialMinted;
  readonly "nats.admin_minted": NatsAdminMinted;
  readonly "nats.account_pushed": NatsAccountPushed;
  readonly "nats.connected": NatsConnected;
  readonly "nats.refused": NatsRefused;
  readonly "nats.published": NatsPublished;
  readonly "nats.subscribed": NatsSubscribed;
  readonly "nats.unsubscribed": NatsUnsubscribed;
  readonly "nats.delivered": NatsDelivered;
  readonly "nats.disconnected": NatsDisconnected;
  readonly "nats.mismatch": NatsMismatch;
}
