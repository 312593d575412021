import { createHmac, createSecretKey, type KeyObject, timingSafeEqual } from "node:crypto";

/** What a ticket is good for: one connection of the gateway to one server, once, for some seconds. */
export interface Ticket {
  /** `nc_` and 16 characters. */
  readonly connection: string;
  readonly session: string;
  readonly target: string;
  /** nats-server's id, `N…`, and its number for the connection: both as its INFO said them. */
  readonly serverId: string;
  readonly cid: number;
  /** ms since the epoch. */
  readonly expiresAt: number;
}

/** How long a ticket is good: a CONNECT follows at once, and the callout has the server's timeout of 2 s. */
export const ticketLifeMs = 5_000;

/**
 * The ticket as the gateway puts it into its upstream CONNECT: its words and an HMAC-SHA-256 of them under `key`, 32 bytes.
 * The same words give the same text, so a ticket may be minted again for nothing.
 */
export function mintTicket(key: Uint8Array, ticket: Ticket): string {
  const { connection, session, target, serverId, cid, expiresAt } = ticket;
  const body = Buffer.from(JSON.stringify([connection, session, target, serverId, cid, expiresAt])).toString(
    "base64url",
  );
  return `${prefix}${body}.${macOf(key, body).toString("base64url")}`;
}

/**
 * What a live ticket says; undefined for anything else: forged, altered, expired, or good for longer than any ticket is.
 * Whether it is presented where it is good, and for the first time, its reader checks: `serverId`, `cid`, `useTicket`.
 */
export function readTicket(key: Uint8Array, text: string, now: number): Ticket | undefined {
  if (text.length > maxLength || !isTicket(text)) return undefined;
  const [body = "", mac = "", ...more] = text.slice(prefix.length).split(".");
  if (more.length > 0) return undefined;
  const given = Buffer.from(mac, "base64url");
  const right = macOf(key, body);
  if (given.length !== right.length || !timingSafeEqual(given, right)) return undefined;
  if (given.toString("base64url") !== mac) return undefined; // one ticket, one text
  const [connection, session, target, serverId, cid, expiresAt] = JSON.parse(
    Buffer.from(body, "base64url").toString(),
  ) as [string, string, string, string, number, number];
  // The clocks of two replicas may differ by as much as a ticket's life.
  const live = now < expiresAt && expiresAt <= now + 2 * ticketLifeMs;
  return live ? { connection, session, target, serverId, cid, expiresAt } : undefined;
}

/** True for what can only be a ticket, real or not: no other credential begins so. */
export function isTicket(text: string): boolean {
  return text.startsWith(prefix);
}

const prefix = "wlt_";
const maxLength = 1024;

/** Bound to its use, so that no other MAC under the key is a ticket. */
function macOf(key: Uint8Array, body: string): Buffer {
  return createHmac("sha256", keyObject(key)).update(`wayleave nats ticket v1\n${body}`).digest();
}

/** Made once for each key: making one costs four times as much as a MAC. */
const keyObjects = new WeakMap<Uint8Array, KeyObject>();

function keyObject(key: Uint8Array): KeyObject {
  const known = keyObjects.get(key);
  if (known !== undefined) return known;
  if (key.length < 32) throw new TypeError("the ticket key is 32 bytes");
  const made = createSecretKey(key);
  keyObjects.set(key, made);
  return made;
}

/** Which tickets were used. It knows a ticket as long as the ticket lives, so it holds as many as there are connects in 10 s. */
export interface UsedTickets {
  /** True the first time. `text` must have been read by `readTicket`. */
  use(text: string, expiresAt: number, now: number): boolean;
  readonly size: number;
}

/**
 * Tickets used at this process. Another replica would take a ticket once more, though for the same connection of the same
 * server only, whose one CONNECT the gateway sends.
 */
export function createUsedTickets(): UsedTickets {
  const used = new Map<string, number>();
  /** In order of arrival, which is nearly that of expiry: the front is looked at with each use. */
  const forget = (now: number) => {
    for (const [text, expiresAt] of used) {
      if (expiresAt > now) return;
      used.delete(text);
    }
  };
  return {
    use(text, expiresAt, now) {
      forget(now);
      if (used.has(text)) return false;
      used.set(text, expiresAt);
      return true;
    },
    get size() {
      return used.size;
    },
  };
}
