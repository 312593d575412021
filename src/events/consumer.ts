import { backOffMs } from "./back-off.ts";
import type { EventEngine } from "./engine.ts";
import type { Delivery, EventSource } from "./ports.ts";
import type { Verdict } from "./start-attempts.ts";

export interface ConsumerDeps {
  readonly engine: Pick<EventEngine, "handle">;
  /** Opens the event's source; it is opened again where it fails. */
  open(): Promise<EventSource>;
  /** Sequence numbers of messages whose pipeline an earlier run may have started. */
  readonly pending: () => readonly number[];
  /** How often a message that is worked on must be said to be, ms: well below the consumer's time to acknowledge. */
  readonly workingMs: number;
  /** Resolves after so many ms, or as soon as the signal aborts. */
  pause(ms: number, signal: AbortSignal): Promise<void>;
  onFault(error: unknown): void;
}

export interface RunningConsumer {
  /** The source in use; undefined while there is none. */
  source(): EventSource | undefined;
  /** What keeps it from consuming, for status and doctor. */
  problem(): string | undefined;
  /** Takes no more messages; resolves when the one under way has its verdict. */
  stop(): Promise<void>;
}

/** Brings an event's messages to the engine, one after the other, until stopped. Never ends by itself, whatever fails. */
export function runConsumer(event: string, deps: ConsumerDeps): RunningConsumer {
  const stopping = new AbortController();
  let source: EventSource | undefined;
  let problem: string | undefined;
  let failures = 0;

  async function run(): Promise<void> {
    while (!stopping.signal.aborted) {
      try {
        if (source === undefined) {
          source = await deps.open();
          await resume(event, deps, source);
        }
        const delivery = await source.next();
        problem = undefined;
        failures = 0;
        if (delivery !== undefined) await bring(delivery);
      } catch (error) {
        deps.onFault(error);
        problem = error instanceof Error ? error.message : "unknown cause";
        failures += 1;
        await shut();
        await deps.pause(backOffMs(failures), stopping.signal);
      }
    }
    await shut();
  }

  async function bring(delivery: Delivery): Promise<void> {
    if (stopping.signal.aborted) return delivery.nak(0);
    const beat = setInterval(() => quietly(() => delivery.working()), deps.workingMs);
    try {
      const hold = async (ms: number): Promise<boolean> => {
        await deps.pause(ms, stopping.signal);
        return !stopping.signal.aborted;
      };
      await tell(delivery, await deps.engine.handle(event, delivery, hold));
    } finally {
      clearInterval(beat);
    }
  }

  /** An acknowledgement that is lost brings the message again, and the engine knows what became of it. */
  async function tell(delivery: Delivery, verdict: Verdict): Promise<void> {
    if (verdict.kind === "later") return delivery.nak(verdict.afterMs);
    if (verdict.kind === "term") return delivery.term(verdict.reason);
    await delivery.ack().catch(deps.onFault);
  }

  function quietly(work: () => void): void {
    try {
      work();
    } catch (error) {
      deps.onFault(error);
    }
  }

  async function shut(): Promise<void> {
    const last = source;
    source = undefined;
    await last?.close().catch(deps.onFault);
  }

  const done = run();
  return {
    source: () => source,
    problem: () => problem,
    async stop() {
      stopping.abort();
      await done;
    },
  };
}

/** At once, and not when the stream delivers them again: the CI knows already what became of them. */
async function resume(event: string, { pending, engine }: ConsumerDeps, from: EventSource): Promise<void> {
  for (const sequence of pending()) {
    const message = await from.find(sequence);
    if (message !== undefined) await engine.handle(event, message, async () => false);
  }
}
