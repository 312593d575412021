import { WayleaveError } from "../core/errors.ts";
import type { CompiledEvent } from "../policy/policy.ts";
import type { CauseTable, EventEntry } from "./cause-table.ts";
import { type ConsumerDeps, type RunningConsumer, runConsumer } from "./consumer.ts";
import type { EventEngine } from "./engine.ts";
import type { EventSource } from "./ports.ts";

export interface EventConsumersDeps {
  readonly engine: EventEngine;
  readonly table: CauseTable;
  /** The events of the policy in force. */
  rules(): readonly CompiledEvent[];
  /** Opens the event's source in its account, `on.account`. */
  open(
    rule: CompiledEvent,
    resumeFrom: number | undefined,
    onExhausted: (message: { readonly stream: string; readonly sequence: number }) => void,
  ): Promise<EventSource>;
  readonly workingMs: number;
  pause: ConsumerDeps["pause"];
  onFault(error: unknown): void;
}

/** The consumers of all events, and the operator's view of what they hold. */
export interface EventConsumers {
  /** Makes what runs equal to the policy in force. An event that changes its stream or subject starts over with it. */
  reconcile(): Promise<void>;
  /** Events that do not consume at the moment, with the reason. */
  problems(): readonly { readonly event: string; readonly problem: string }[];
  /** Waiting messages and dead letters, oldest first. */
  list(): readonly EventEntry[];
  /** Tries a dead letter, or one that waits, once more. Rejects `not_found`, or `invalid_request` while the event has no consumer. */
  retry(key: string, by: string): Promise<EventEntry>;
  stop(): Promise<void>;
}

interface Running {
  /** What a change of needs another consumer. */
  readonly place: string;
  readonly consumer: RunningConsumer;
}

export function createEventConsumers(deps: EventConsumersDeps): EventConsumers {
  const running = new Map<string, Running>();
  let last: Promise<void> = Promise.resolve();

  function start(rule: CompiledEvent): Running {
    const consumer = runConsumer(rule.name, {
      engine: deps.engine,
      open: () => {
        const current = deps.rules().find(({ name }) => name === rule.name) ?? rule;
        return deps.open(current, deps.table.resumeFrom(rule.name), (message) => void exhausted(rule.name, message));
      },
      pending: () => openStarts(deps.table, rule.name),
      workingMs: deps.workingMs,
      pause: deps.pause,
      onFault: deps.onFault,
    });
    return { place: placeOf(rule), consumer };
  }

  async function exhausted(
    event: string,
    message: { readonly stream: string; readonly sequence: number },
  ): Promise<void> {
    try {
      const found = await running.get(event)?.consumer.source()?.find(message.sequence);
      await deps.engine.exhausted(event, { ...message, ...found });
    } catch (error) {
      deps.onFault(error);
    }
  }

  async function reconcile(): Promise<void> {
    const rules = new Map(deps.rules().map((rule) => [rule.name, rule]));
    for (const [name, { place, consumer }] of running) {
      const rule = rules.get(name);
      if (rule !== undefined && placeOf(rule) === place) continue;
      await consumer.stop();
      running.delete(name);
    }
    for (const [name, rule] of rules) if (!running.has(name)) running.set(name, start(rule));
  }

  return {
    reconcile() {
      last = last.then(reconcile, reconcile);
      return last;
    },
    problems: () =>
      [...running].flatMap(([event, { consumer }]) => {
        const problem = consumer.problem();
        return problem === undefined ? [] : [{ event, problem }];
      }),
    list: () => deps.table.unsettled(),
    async retry(key, by) {
      const entry = deps.table.find(key);
      if (entry === undefined || entry.state === "started")
        throw new WayleaveError(
          "not_found",
          `No waiting message or dead letter ${key.slice(0, 200)}; see \`wayleave events list\`.`,
        );
      const { event, sequence } = entry.message;
      const source = running.get(event)?.consumer.source();
      if (source === undefined)
        throw new WayleaveError("invalid_request", `Event ${event} has no consumer now; see \`wayleave events list\`.`);
      const message = await source.find(sequence);
      if (message === undefined) throw new WayleaveError("not_found", "Its message is not in the stream any more.");
      return deps.engine.retry(key, by, message);
    },
    async stop() {
      await last.catch(deps.onFault);
      await Promise.all([...running.values()].map(({ consumer }) => consumer.stop()));
      running.clear();
    },
  };
}

/** Messages of an event that may have a pipeline nobody knows yet. */
function openStarts(table: CauseTable, event: string): readonly number[] {
  return table
    .unsettled()
    .filter(({ state, open, message }) => state === "pending" && open && message.event === event)
    .map(({ message }) => message.sequence);
}

function placeOf({ on }: CompiledEvent): string {
  return JSON.stringify([on.account, on.stream, on.subject]);
}
