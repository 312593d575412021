import type { Callout, CalloutAnswer } from "./callout.ts";

/** A message as nats.js delivers it. */
export interface CalloutMessage {
  readonly data: Uint8Array;
  readonly headers?: { get(name: string): string } | undefined;
  respond(bytes: Uint8Array): boolean;
}

/** What the responder uses of a nats.js connection of the AUTH account's service user. */
export interface CalloutConnection {
  subscribe(
    subject: string,
    options: { queue: string; callback(error: Error | null, message: CalloutMessage): void },
  ): { drain(): Promise<void>; unsubscribe(): void; isClosed(): boolean };
  flush(): Promise<void>;
  status(): AsyncIterable<{ readonly type: string }>;
  closed(): Promise<unknown>;
}

/**
 * How that connection must be made, beside its server and credentials: it never gives up, and notices within seconds that the
 * server does not answer any more.
 */
export const calloutConnectionOptions = {
  name: "wayleave-callout",
  maxReconnectAttempts: -1,
  waitOnFirstConnect: true,
  reconnectTimeWait: 250,
  reconnectJitter: 250,
  reconnectJitterTLS: 250,
  ignoreAuthErrorAbort: true,
  pingInterval: 5_000,
  maxPingOut: 2,
} as const;

/** What became of the requests so far. */
export interface CalloutCounts {
  readonly admitted: number;
  readonly refused: number;
  /** Not answered, by why. `failed`: something threw, or there was nobody to answer to. */
  readonly dropped: Readonly<Record<string, number>>;
  /** Being answered now. */
  readonly pending: number;
}

/** Whether this process answers callouts. Where none does, nats-server lets nobody in. Times are ms since the epoch. */
export type CalloutHealth =
  | { readonly answering: true; readonly since: number }
  /** `why` is one line. */
  | { readonly answering: false; readonly since: number; readonly why: string };

export interface CalloutResponder {
  health(): CalloutHealth;
  counts(): CalloutCounts;
  /** Takes no request any more and resolves when those it had are answered. The connection stays open. */
  stop(): Promise<void>;
}

export interface CalloutResponderOptions {
  readonly connection: CalloutConnection;
  readonly callout: Callout;
  /** ms since the epoch. */
  now(): number;
  /** Told of what is no refusal but a fault. Must not throw. */
  onFault(error: unknown): void;
}

/**
 * Answers `$SYS.REQ.USER.AUTH` in the queue group `wayleave`: without a group, the first of several answers would win. nats.js
 * subscribes again by itself when it reconnects; a callback that threw would stop its reader for good, so none can.
 */
export function startCalloutResponder(options: CalloutResponderOptions): CalloutResponder {
  const { connection, onFault } = options;
  const health = createHealth(options.now);
  const answering = createAnswering(options);
  const subscription = connection.subscribe("$SYS.REQ.USER.AUTH", {
    queue: "wayleave",
    callback(error, message) {
      if (error === null) return answering.take(message);
      health.down("the server does not let its user subscribe to callouts");
      onFault(error);
    },
  });
  const up = () => {
    if (!subscription.isClosed()) health.up();
  };
  follow(connection, up, health.down).catch(onFault);
  return {
    health: health.get,
    counts: answering.counts,
    async stop() {
      // Draining waits for the server's word, which without a connection does not come.
      if (health.get().answering) await subscription.drain().catch(onFault);
      else subscription.unsubscribe();
      health.down("it was stopped", true);
      await answering.settled();
    },
  };
}

function createAnswering({ callout, onFault }: CalloutResponderOptions) {
  const counted = { admitted: 0, refused: 0 };
  const dropped: Record<string, number> = {};
  const pending = new Set<Promise<void>>();
  const drop = (why: string) => {
    dropped[why] = (dropped[why] ?? 0) + 1;
  };
  const failed = (error: unknown) => {
    drop("failed");
    onFault(error);
  };
  const send = (message: CalloutMessage, answer: CalloutAnswer) => {
    if (answer.kind === "dropped") drop(answer.reason);
    else if (message.respond(answer.bytes)) counted[answer.kind]++;
    else drop("failed"); // a request that nobody waits for is no server's
  };
  const later = (message: CalloutMessage, answer: Promise<CalloutAnswer>) => {
    const work = answer
      .then((found) => send(message, found))
      .catch(failed)
      .finally(() => pending.delete(work));
    pending.add(work);
  };
  return {
    /** Never throws. */
    take(message: CalloutMessage): void {
      try {
        const answer = callout(message.data, message.headers?.get("Nats-Server-Xkey") || undefined);
        if (answer instanceof Promise) later(message, answer);
        else send(message, answer);
      } catch (error) {
        failed(error);
      }
    },
    counts: (): CalloutCounts => ({ ...counted, dropped: { ...dropped }, pending: pending.size }),
    async settled(): Promise<void> {
      await Promise.all(pending);
    },
  };
}

function createHealth(now: () => number) {
  let health: CalloutHealth = { answering: false, since: now(), why: "it has not subscribed yet" };
  let over = false;
  return {
    get: () => health,
    up(): void {
      if (!health.answering && !over) health = { answering: true, since: now() };
    },
    /** `since` stays at the first of several reasons. */
    down(why: string, forGood = false): void {
      if (over) return;
      over = forGood;
      health = { answering: false, since: health.answering ? now() : health.since, why };
    },
  };
}

/** Tells of the connection's ups and downs until it is closed for good. */
async function follow(
  connection: CalloutConnection,
  up: () => void,
  down: (why: string, forGood?: boolean) => void,
): Promise<void> {
  const closed = connection.closed().then(() => down("the connection to nats-server was closed", true));
  const first = connection.flush().then(up, () => undefined); // where it fails, the status says what happened
  for await (const { type } of connection.status()) {
    if (type === "reconnect") up();
    else if (type === "disconnect" || type === "staleConnection") down("there is no connection to nats-server");
  }
  await Promise.all([first, closed]);
}
