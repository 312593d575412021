import { Agent, request } from "undici";

/** One webhook call, kept after it was made. */
export interface Delivery {
  readonly number: number;
  readonly url: string;
  /** The value of the event header, such as `Job Hook`. */
  readonly event: string;
  /** Exactly the bytes that are sent and signed. */
  readonly body: string;
  /** Made anew for every attempt, because a signature covers its time. */
  readonly makeHeaders: () => Readonly<Record<string, string>>;
  /** As last sent. */
  headers: Readonly<Record<string, string>>;
  /** `lost` was held and not released. A failed one is not tried again by itself. */
  state: "held" | "queued" | "delivered" | "failed" | "lost";
  attempts: number;
  /** Status code of the last answer, if there was one. */
  status: number | undefined;
}

export interface Deliveries {
  readonly all: readonly Delivery[];
  enqueue(call: Pick<Delivery, "url" | "event" | "body" | "makeHeaders">): Delivery;
  /** Keeps what happens from now on until `release`. */
  hold(): void;
  /** Sends what was held, one after the other, in the order `arrange` gives it (may leave out: that one is `lost`;
   *  may repeat: that one is doubled), and stops holding. Resolves when all were sent. */
  release(arrange?: (held: readonly Delivery[]) => readonly Delivery[]): Promise<void>;
  /** Sends one again as it was, as the Resend button does. */
  redeliver(delivery: Delivery): Promise<void>;
  /** Resolves when nothing is under way. What is held stays held. */
  flush(): Promise<void>;
  close(): Promise<void>;
}

const timeoutMs = 10_000;

/** Delivers webhooks over HTTP(S), in order for each address and without waiting for slow neighbours. A delivery
 *  that fails is recorded as failed. For HTTPS receivers `ca` (PEM) is trusted instead of the
 *  system's authorities. */
export function createDeliveries(ca?: string): Deliveries {
  const agent = new Agent({ connect: ca ? { ca } : {}, headersTimeout: timeoutMs, bodyTimeout: timeoutMs });
  const all: Delivery[] = [];
  const queues = new Map<string, Promise<void>>();
  let holding = false;

  const queue = (delivery: Delivery): Promise<void> => {
    delivery.state = "queued";
    const sent = (queues.get(delivery.url) ?? Promise.resolve()).then(() => attempt(agent, delivery));
    queues.set(delivery.url, sent);
    return sent;
  };
  return {
    all,
    enqueue: (call) => {
      const state = holding ? "held" : "queued";
      const delivery: Delivery = {
        ...call,
        number: all.length + 1,
        headers: {},
        state,
        attempts: 0,
        status: undefined,
      };
      all.push(delivery);
      if (!holding) void queue(delivery); // an attempt records its failure and never rejects
      return delivery;
    },
    hold: () => {
      holding = true;
    },
    release: async (arrange = (held) => held) => {
      holding = false;
      const held = all.filter((delivery) => delivery.state === "held");
      for (const delivery of held) delivery.state = "lost";
      for (const delivery of arrange(held)) await queue(delivery);
    },
    redeliver: (delivery) => queue(delivery),
    flush: async () => {
      // Receivers may cause further deliveries while these are on their way.
      for (let seen: Promise<void>[] = []; ; ) {
        const current = [...queues.values()];
        if (current.every((entry) => seen.includes(entry))) return;
        await Promise.all(current);
        seen = current;
      }
    },
    close: () => agent.destroy(),
  };
}

async function attempt(agent: Agent, delivery: Delivery): Promise<void> {
  delivery.attempts += 1;
  try {
    delivery.headers = delivery.makeHeaders();
    const { url, headers, body } = delivery;
    const response = await request(url, { method: "POST", headers, body, dispatcher: agent });
    delivery.status = response.statusCode;
    await response.body.dump();
    delivery.state = response.statusCode < 400 ? "delivered" : "failed";
  } catch {
    // Unreachable or too slow: what GitLab shows as an internal error in its list of deliveries.
    delivery.status = undefined;
    delivery.state = "failed";
  }
}
