import {
  AckPolicy,
  type Consumer,
  type ConsumerConfig,
  DeliverPolicy,
  JetStreamApiCodes,
  JetStreamApiError,
  type JetStreamManager,
  type JsMsg,
  jetstream,
  jetstreamManager,
} from "@nats-io/jetstream";
import type { MsgHdrs, NatsConnection, Subscription } from "@nats-io/transport-node";
import { z } from "zod";
import type { Delivery, EventMessage, EventSource } from "./ports.ts";

export interface JetStreamSourceOptions {
  /** The broker's own connection in the account of the stream. */
  readonly connection: NatsConnection;
  /** Name of the event; the consumer is `wayleave_<event>`. */
  readonly event: string;
  readonly stream: string;
  readonly subject: string;
  /** Time to acknowledge, ms: well above a CI's time to answer. */
  readonly ackWaitMs: number;
  readonly maxDeliver: number;
  /** Where a new consumer begins, ms since the epoch; undefined: with messages that come from now on. */
  readonly resumeFrom: number | undefined;
  /** A message that was delivered as often as it may be. */
  onExhausted(message: { readonly stream: string; readonly sequence: number; readonly deliveries: number }): void;
  onFault(error: unknown): void;
}

/** How long one pull waits, ms; it is also how long a stop takes. */
const pullMs = 1_000;

/** Messages delivered and not acknowledged, at most: those waiting to be tried again among them. */
const maxAckPending = 256;

/**
 * A durable pull consumer, made or brought up to date. Rejects where the stream does not exist or the server cannot be asked.
 * A consumer that the event already has keeps its place, whatever `resumeFrom` says.
 */
export async function openJetStreamSource(options: JetStreamSourceOptions): Promise<EventSource> {
  const { connection, stream } = options;
  const manager = await jetstreamManager(connection);
  const name = consumerName(options.event);
  await ensureConsumer(manager, name, options);
  const consumer = await jetstream(connection).consumers.get(stream, name);
  const advisories = followAdvisories(options, name);
  return {
    next: () => nextDelivery(consumer),
    find: (sequence) => findMessage(manager, stream, sequence, options.onFault),
    async close() {
      advisories.unsubscribe();
    },
  };
}

function consumerName(event: string): string {
  return `wayleave_${event}`;
}

async function ensureConsumer(manager: JetStreamManager, name: string, options: JetStreamSourceOptions): Promise<void> {
  const { stream, resumeFrom } = options;
  const settings = {
    ack_wait: options.ackWaitMs * 1_000_000,
    max_deliver: options.maxDeliver,
    max_ack_pending: maxAckPending,
    filter_subject: options.subject,
  };
  if (await hasConsumer(manager, stream, name)) {
    await manager.consumers.update(stream, name, settings);
    return;
  }
  const start: Partial<ConsumerConfig> =
    resumeFrom === undefined
      ? { deliver_policy: DeliverPolicy.New }
      : { deliver_policy: DeliverPolicy.StartTime, opt_start_time: new Date(resumeFrom).toISOString() };
  await manager.consumers.add(stream, { durable_name: name, ack_policy: AckPolicy.Explicit, ...settings, ...start });
}

async function hasConsumer(manager: JetStreamManager, stream: string, name: string): Promise<boolean> {
  try {
    await manager.consumers.info(stream, name);
    return true;
  } catch (error) {
    if (error instanceof JetStreamApiError && error.code === JetStreamApiCodes.ConsumerNotFound) return false;
    throw error;
  }
}

async function nextDelivery(consumer: Consumer): Promise<Delivery | undefined> {
  const message = await consumer.next({ expires: pullMs });
  return message === null ? undefined : deliveryOf(message);
}

function deliveryOf(message: JsMsg): Delivery {
  const { stream, streamSequence, deliveryCount } = message.info;
  return {
    stream,
    sequence: streamSequence,
    storedAt: Number(message.timestampNanos / 1_000_000n),
    subject: message.subject,
    payload: message.data,
    deliveries: deliveryCount,
    header: (name) => headerValues(() => message.headers, name),
    ack: () => message.ackAck(),
    nak: (afterMs) => message.nak(Math.ceil(afterMs)),
    term: (reason) => message.term(reason),
    working: () => message.working(),
  };
}

async function findMessage(
  manager: JetStreamManager,
  stream: string,
  sequence: number,
  onFault: (error: unknown) => void,
): Promise<EventMessage | undefined> {
  const stored = await manager.streams.getMessage(stream, { seq: sequence }).catch((error: unknown) => {
    if (!(error instanceof JetStreamApiError)) throw error;
    onFault(error);
    return null;
  });
  if (stored === null) return undefined;
  return {
    stream,
    sequence: stored.seq,
    storedAt: stored.time.getTime(),
    subject: stored.subject,
    payload: stored.data,
    deliveries: 1,
    header: (name) => headerValues(() => stored.header, name),
  };
}

/** Every value of a header in any spelling. The library throws on names that no gateway lets through: then there are none. */
function headerValues(read: () => MsgHdrs | undefined, name: string): readonly string[] {
  try {
    const headers = read();
    if (headers === undefined) return [];
    const spellings = headers.keys().filter((key) => key.toLowerCase() === name.toLowerCase());
    return spellings.flatMap((key) => headers.values(key));
  } catch {
    return []; // a message without a readable identity starts nothing
  }
}

const Advisory = z.object({ stream: z.string(), consumer: z.string(), stream_seq: z.int(), deliveries: z.int() });

/** Core NATS, at most once: what is missed here stays listed as pending. */
function followAdvisories(options: JetStreamSourceOptions, name: string): Subscription {
  const { connection, stream } = options;
  return connection.subscribe(`$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.${stream}.${name}`, {
    // What a callback throws kills the library's reader, and with it everything on this connection.
    callback(error, message) {
      try {
        if (error !== null) throw error;
        const read = Advisory.parse(message.json());
        if (read.stream !== stream || read.consumer !== name) return;
        options.onExhausted({ stream, sequence: read.stream_seq, deliveries: read.deliveries });
      } catch (fault) {
        options.onFault(fault);
      }
    },
  });
}
