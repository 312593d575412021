import type { ServerTotals } from "./ports.ts";

/** A client as nats-server tells the system account of it. Names and users are what it says, not who it is. */
export interface ServerClient {
  /** nats-server's id, `N…`, and its number for the connection. */
  readonly serverId: string;
  readonly cid: number;
  /** Account the client was in, as its key in operator mode and its name in config mode; empty where it was in none. */
  readonly account: string;
  readonly user: string;
  readonly host: string;
}

/** A connection that closed, and the server's counts of it. */
export interface ClosedClient extends ServerClient {
  readonly totals: ServerTotals;
}

/** A client that a server refused. As whom it came is not told: what was refused may be a secret in the wrong place. */
export interface RefusedClient {
  readonly serverId: string;
  readonly cid: number;
  readonly host: string;
  /** nats-server's words: `Proxy Required`, `Proxy Not Trusted`, `Authentication Failure`, … */
  readonly reason: string;
}

/** `$SYS.ACCOUNT.<account>.CONNECT`; undefined for anything else. */
export function readConnect(text: string): ServerClient | undefined {
  return readClient(parse(text));
}

/**
 * `$SYS.ACCOUNT.<account>.DISCONNECT`; undefined for anything else. An advisory says `sent` of what the client sent: for the
 * server that is what it received, and here it is called so.
 */
export function readDisconnect(text: string): ClosedClient | undefined {
  const advisory = parse(text);
  const client = readClient(advisory);
  const received = readCount(advisory.sent);
  const sent = readCount(advisory.received);
  return client && received && sent ? { ...client, totals: { received, sent } } : undefined;
}

/** `$SYS.SERVER.<id>.CLIENT.AUTH.ERR`; undefined for anything else. */
export function readRefusal(text: string): RefusedClient | undefined {
  const advisory = parse(text);
  const client = readClient(advisory);
  if (client === undefined) return undefined;
  const { serverId, cid, host } = client;
  return { serverId, cid, host, reason: label(advisory.reason) };
}

type Json = Readonly<Record<string, unknown>>;

function parse(text: string): Json {
  try {
    return objectOf(JSON.parse(text));
  } catch {
    return {}; // not an advisory, and told apart by what it lacks
  }
}

function readClient(advisory: Json): ServerClient | undefined {
  const client = objectOf(advisory.client);
  const { id: cid } = client;
  const { id: serverId } = objectOf(advisory.server);
  if (typeof serverId !== "string" || !serverIdForm.test(serverId)) return undefined;
  if (typeof cid !== "number" || !Number.isSafeInteger(cid)) return undefined;
  return { serverId, cid, account: label(client.acc), user: label(client.user), host: label(client.host) };
}

/** A server's public nkey. Nothing else may become a token of a subject. */
export const serverIdForm = /^N[A-Z2-7]{55}$/;

function readCount(value: unknown): { readonly messages: number; readonly bytes: number } | undefined {
  const { msgs, bytes } = objectOf(value);
  if (typeof msgs !== "number" || typeof bytes !== "number") return undefined;
  return { messages: msgs, bytes };
}

const objectOf = (value: unknown): Json =>
  typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Json) : {};

/** Shortened: some of it is the client's own. */
const label = (value: unknown): string => (typeof value === "string" ? value.slice(0, 256) : "");
