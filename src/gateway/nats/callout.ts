import { asWayleaveError } from "../../core/errors.ts";
import { type Admitted, boundAdmissions } from "./callout-direct.ts";
import { type CalloutKeys, type CalloutRequest, type DropReason, readCalloutRequest } from "./callout-request.ts";
import { createUsedTickets, isTicket, readTicket, type Ticket } from "./ticket.ts";
import { type NatsUser, type NatsUserClaims, natsUserClaims } from "./user-claims.ts";

/** Whom a credential stands for at NATS. */
export interface CalloutGrant extends Omit<NatsUser, "userNkey" | "mode"> {
  /** NATS account name. */
  readonly account: string;
}

/** A client of nats-server that was refused, for the record `nats.refused`. It never holds what was presented. */
export interface CalloutRefusal {
  readonly code: RefusalCode;
  /** One line for operators. The client is told nothing but that it was refused: nats-server does not pass it on. */
  readonly detail: string;
  readonly request: Pick<CalloutRequest, "server" | "cid" | "from">;
  /** The connection of the gateway, where a real ticket named one. */
  readonly connection?: string;
}

export type RefusalCode =
  /** It came past the gateway, or not with what the gateway gave it. */
  | "ticket_missing"
  | "ticket_invalid"
  | "ticket_used"
  /** A real ticket, at another server or on another connection. */
  | "ticket_elsewhere"
  /** A leaf node, WebSocket or MQTT. */
  | "connection_kind"
  /** The session is over, or has no rights there any more. */
  | "grant_refused"
  /** Direct mode: what it presented was refused. */
  | "credential_refused"
  /** Direct mode: more ask at once than can be served. */
  | "overloaded"
  | "internal";

export type CalloutAnswer =
  | { readonly kind: "admitted"; readonly bytes: Uint8Array }
  | { readonly kind: "refused"; readonly bytes: Uint8Array; readonly code: RefusalCode }
  /** No answer: the server refuses the client when its timeout is over. */
  | { readonly kind: "dropped"; readonly reason: DropReason };

/** `natsCalloutKeys` has it all. */
export interface CalloutSigningKeys extends CalloutKeys {
  /** A user JWT, placed in the account. Throws where the account or its key is not there. */
  signUser(account: string, claims: NatsUserClaims): string;
  signResponse(claims: {
    readonly sub: string;
    readonly aud: string;
    readonly nats: { readonly type: "authorization_response"; readonly jwt?: string; readonly error?: string };
  }): string;
}

export interface CalloutOptions {
  readonly keys: CalloutSigningKeys;
  /** 32 bytes. The same for whoever mints tickets. */
  readonly ticketKey: Uint8Array;
  /** ms since the epoch. */
  now(): number;
  /** Whom a ticket's session is, and its rights at this moment. Undefined where it is not active or has none there. */
  grantOf(ticket: Ticket): CalloutGrant | undefined;
  /**
   * Whom an open connection of a live session belongs to, by the server's id and number. When its configuration is reloaded, a
   * server in operator mode asks about every connection again and has its credential no more; numbers are never given twice.
   * Undefined for all others. Where this is left out, a reload closes every connection.
   */
  grantOfOpen?(serverId: string, cid: number): (CalloutGrant & Pick<NatsUser, "mode">) | undefined;
  /**
   * Direct mode, off where this is left out: whom a password or a CI token stands for. The record of the connection is durable
   * when it resolves. Rejects a `WayleaveError` for what is refused.
   */
  admitDirect?(request: CalloutRequest): Promise<CalloutGrant>;
  /** Must not throw. */
  onRefused(refusal: CalloutRefusal): void;
}

/** Admissions of direct mode under way, and those that wait: more would be past their deadline before their turn. */
const directBounds = { atOnce: 64, waiting: 2048 } as const;

/** Answers one request; a promise only where direct mode has to ask. Throws or rejects only where no answer can be signed. */
export type Callout = (bytes: Uint8Array, peer: string | undefined) => CalloutAnswer | Promise<CalloutAnswer>;

/**
 * The auth callout of nats-server: a connection is somebody only if the gateway opened it, moments ago, for a live session, at
 * this server and under this number; or, in direct mode, if what it presents is a credential of a job. Whatever fails refuses.
 */
export function createCallout(options: CalloutOptions): Callout {
  const { keys, now, admitDirect } = options;
  const used = createUsedTickets();
  const admission = admitDirect && boundAdmissions(admitDirect, { ...directBounds, now });
  return (bytes, peer) => {
    const request = readCalloutRequest(keys, bytes, peer, now());
    if (typeof request === "string") return { kind: "dropped", reason: request };
    if (!request.standard)
      return refuse(options, request, { code: "connection_kind", detail: "Only NATS clients on TCP are let in." });
    const { secret } = request;
    if (secret === "") return again(options, request);
    if (admission !== undefined && !isTicket(secret)) return direct(options, admission, request);
    const found = byTicket(options, used, request);
    return "code" in found ? refuse(options, request, found) : admit(options, request, found.grant, "gateway");
  };
}

type Refused = Omit<CalloutRefusal, "request">;

function byTicket(
  { ticketKey, now, grantOf }: CalloutOptions,
  used: ReturnType<typeof createUsedTickets>,
  { secret, server, cid }: CalloutRequest,
): { readonly grant: CalloutGrant } | Refused {
  const ticket = readTicket(ticketKey, secret, now());
  if (ticket === undefined)
    return { code: "ticket_invalid", detail: "A client presented something else than a live ticket of the gateway." };
  const { connection } = ticket;
  if (ticket.serverId !== server.id || ticket.cid !== cid)
    return {
      code: "ticket_elsewhere",
      detail: "A ticket was presented on another connection than its own.",
      connection,
    };
  if (!used.use(secret, ticket.expiresAt, now()))
    return { code: "ticket_used", detail: "A ticket was presented for a second time.", connection };
  const grant = guarded(() => grantOf(ticket));
  if (grant === undefined)
    return {
      code: "grant_refused",
      detail: "The session of the ticket is over, or has no rights at the target.",
      connection,
    };
  return { grant };
}

function guarded<T>(work: () => T | undefined): T | undefined {
  try {
    return work();
  } catch {
    return undefined; // a session that cannot be looked up has no rights
  }
}

function again(options: CalloutOptions, request: CalloutRequest): CalloutAnswer {
  const open = guarded(() => options.grantOfOpen?.(request.server.id, request.cid));
  if (open === undefined)
    return refuse(options, request, {
      code: "ticket_missing",
      detail: "A client came without a ticket of the gateway.",
    });
  const { mode, ...grant } = open;
  return admit(options, request, grant, mode);
}

async function direct(
  options: CalloutOptions,
  admission: (request: CalloutRequest) => Promise<Admitted<CalloutGrant>>,
  request: CalloutRequest,
): Promise<CalloutAnswer> {
  try {
    const asked = await admission(request);
    if (asked.kind === "asked") return admit(options, request, asked.grant, "direct");
    if (asked.kind === "late") return { kind: "dropped", reason: "late" };
    return refuse(options, request, { code: "overloaded", detail: "Too many clients ask at once; they come again." });
  } catch (error) {
    const { code, message } = asWayleaveError(error);
    return refuse(options, request, { code: "credential_refused", detail: `${code}: ${message}` });
  }
}

function admit(
  options: CalloutOptions,
  request: CalloutRequest,
  { account, ...grant }: CalloutGrant,
  mode: NatsUser["mode"],
): CalloutAnswer {
  const { keys, now } = options;
  try {
    const jwt = keys.signUser(account, natsUserClaims({ ...grant, userNkey: request.userNkey, mode }, now()));
    return { kind: "admitted", bytes: respond(keys, request, { jwt }) };
  } catch (error) {
    return refuse(options, request, { code: "internal", detail: asWayleaveError(error).message });
  }
}

function refuse({ keys, onRefused }: CalloutOptions, request: CalloutRequest, refused: Refused): CalloutAnswer {
  const { server, cid, from } = request;
  onRefused({ ...refused, request: { server, cid, from } });
  return { kind: "refused", code: refused.code, bytes: respond(keys, request, { error: refused.code }) };
}

function respond(
  keys: CalloutSigningKeys,
  { userNkey, server }: CalloutRequest,
  outcome: { readonly jwt: string } | { readonly error: string },
): Uint8Array {
  const token = keys.signResponse({
    sub: userNkey,
    aud: server.id,
    nats: { ...outcome, type: "authorization_response" },
  });
  const bytes = Buffer.from(token, "latin1");
  return keys.xkey === undefined || server.xkey === undefined ? bytes : keys.xkey.seal(server.xkey, bytes);
}
