import type { Clock } from "../../core/clock.ts";
import type { NatsPlace } from "../../core/nats-record.ts";
import type { ClientConnect } from "./client-connect.ts";
import type { ConnectionEnd } from "./connection-end.ts";
import type { NatsGatewayLimits } from "./gateway-limits.ts";
import type { InboxNames } from "./inbox-names.ts";
import { OpWriter } from "./op-writer.ts";
import type { PingOrder } from "./ping-order.ts";
import type { Admission, NatsAuthority } from "./ports.ts";
import type { ResponsePermits } from "./response-permits.ts";
import type { Subscription, Subscriptions } from "./subscriptions.ts";
import type { WireSocket } from "./wire-socket.ts";

/** What both directions of an admitted connection share. */
export interface LiveConnection {
  readonly admission: Admission;
  readonly place: NatsPlace;
  readonly connect: Omit<ClientConnect, "presented">;
  readonly authority: NatsAuthority;
  readonly limits: NatsGatewayLimits;
  readonly clock: Clock;
  readonly names: InboxNames;
  readonly permits: ResponsePermits;
  readonly subscriptions: Subscriptions;
  readonly client: WireSocket;
  readonly server: WireSocket;
  /** PINGs that went to each side. */
  readonly askedServer: PingOrder;
  readonly askedClient: PingOrder;
  /** One more denial; false where the session had too many. */
  denied(): boolean;
  /** A subscription was removed: what it was delivered is still to be written down. */
  ended(subscription: Subscription): void;
  /** Ends the connection; only the first end counts. */
  end(end: ConnectionEnd): void;
  /** Told of faults that are nobody's doing: for the log. */
  onFault(error: unknown): void;
}

/** One `-ERR` line. An apostrophe would end it: in its place goes the letter that looks like one. */
export function writeError(text: string): Buffer {
  const writer = new OpWriter();
  writer.error(text.replaceAll("'", "’"));
  return writer.take();
}
