import type { NatsDelivered, NatsPlace } from "../../core/nats-record.ts";

/** One subscription of a client, and what it was delivered. */
export interface Subscription {
  /** The client's id for it. A client may use one again. */
  readonly sid: string;
  /** The gateway's own id for it at the server: never used again, so that no late message is taken for another's. */
  readonly serverSid: string;
  /** As the client calls it, and as the server does. */
  readonly subject: string;
  readonly serverSubject: string;
  /** Empty where there is none. */
  readonly queue: string;
  /** One of the job's own inboxes: policy is not asked. */
  readonly inbox: boolean;
  /** The client says `_INBOX.`: so must what it is delivered. */
  readonly translates: boolean;
  /** Whether policy's answer may change although nothing else does: with time, or with counts. */
  conditional: boolean;
  /** It ends by itself after so many messages; 0 where it does not. */
  max: number;
  /** Messages since it began. */
  delivered: number;
  /** Since the last record: */
  messages: number;
  bytes: number;
  firstAt: number;
  lastAt: number;
  rows: string[];
  rowCharacters: number;
}

type Begun = Pick<Subscription, "sid" | "subject" | "serverSubject" | "queue" | "inbox" | "translates" | "conditional">;

/** Subscriptions of one connection. */
export class Subscriptions {
  readonly #bySid = new Map<string, Subscription>();
  readonly #byServerSid = new Map<string, Subscription>();
  #last = 0;

  get size(): number {
    return this.#bySid.size;
  }

  all(): readonly Subscription[] {
    return [...this.#bySid.values()];
  }

  find(sid: string): Subscription | undefined {
    return this.#bySid.get(sid);
  }

  findAtServer(serverSid: string): Subscription | undefined {
    return this.#byServerSid.get(serverSid);
  }

  /** The client's id must not be in use. */
  add(begun: Begun): Subscription {
    const counts = { max: 0, delivered: 0, messages: 0, bytes: 0, firstAt: 0, lastAt: 0, rows: [], rowCharacters: 0 };
    const subscription = { ...begun, serverSid: String(++this.#last), ...counts };
    this.#bySid.set(subscription.sid, subscription);
    this.#byServerSid.set(subscription.serverSid, subscription);
    return subscription;
  }

  remove({ sid, serverSid }: Subscription): void {
    this.#bySid.delete(sid);
    this.#byServerSid.delete(serverSid);
  }
}

/** What it was delivered since the last time, or undefined for nothing. */
export function takeDelivered(place: NatsPlace, subscription: Subscription): NatsDelivered | undefined {
  const { sid, serverSubject, messages, bytes, firstAt, lastAt, rows } = subscription;
  if (messages === 0) return undefined;
  subscription.messages = 0;
  subscription.bytes = 0;
  subscription.rows = [];
  subscription.rowCharacters = 0;
  return {
    ...place,
    sid,
    subject: serverSubject,
    messages,
    bytes,
    first_at: firstAt,
    last_at: lastAt,
    ...(rows.length === 0 ? {} : { each: rows }),
  };
}
