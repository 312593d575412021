import { WayleaveError } from "../core/errors.ts";
import type { CompiledEvent } from "../policy/policy.ts";
import { backOffMs } from "./back-off.ts";
import { type CauseTable, type EventEntry, messageKey } from "./cause-table.ts";
import type { EventDeps, EventMessage } from "./ports.ts";
import { type Case, deadLetter, type Hold, StartAttempts, type Verdict, whoOf } from "./start-attempts.ts";

export interface EventEngine {
  /** Brings one delivered message as far as it goes now. Never rejects. */
  handle(event: string, message: EventMessage, hold: Hold): Promise<Verdict>;
  /** Gives up a message of which the stream says that it was delivered as often as it may be. */
  exhausted(event: string, message: ExhaustedMessage): Promise<void>;
  /**
   * Tries a dead letter once more, whatever its age; the entry it returns says what became of it. Rejects `not_found` for what
   * no event of the policy in force has, or for another message than the entry's.
   */
  retry(key: string, by: string, message: EventMessage): Promise<EventEntry>;
}

/** What an advisory says of it, and the rest where it is still in the stream. */
export type ExhaustedMessage = Pick<EventMessage, "stream" | "sequence"> & Partial<EventMessage>;

/**
 * Starts pipelines for messages, exactly once in effect: `event.pending` is durable before the CI is asked and
 * `event.started` before the message is acknowledged, and where the first stands without the second, the CI is asked whether
 * the pipeline exists, not before a late request can no longer make one. Where it cannot be asked, nothing is started twice
 * by guessing: the message becomes a dead letter that says so.
 */
export function createEventEngine(deps: EventDeps, table: CauseTable): EventEngine {
  const attempts = new StartAttempts(deps, table);
  const alone = oneAtATime();
  return {
    async handle(event, message, hold) {
      const { deliveries } = message;
      try {
        const rule = deps.rule(event);
        if (rule === undefined) return { kind: "later", afterMs: backOffMs(deliveries) };
        const asked = caseOf(rule, message, hold, false);
        return await alone(asked.key, () => attempts.settle(asked));
      } catch (error) {
        deps.onFault(error);
        return { kind: "later", afterMs: backOffMs(deliveries) };
      }
    },
    async exhausted(event, message) {
      const { stream, sequence, storedAt = deps.now(), subject = "" } = message;
      const isIt = (ref: EventEntry["message"]) =>
        ref.event === event && ref.stream === stream && ref.sequence === sequence;
      const known = table.unsettled().findLast((entry) => isIt(entry.message));
      if (known !== undefined && known.state !== "pending") return;
      const ref = known?.message ?? { event, stream, sequence, stored_at: storedAt, subject };
      const why = { code: "max_deliveries", detail: "It was delivered as often as the consumer allows." };
      await attempts.record([deadLetter(ref, known, why, known?.open ?? false)]);
    },
    async retry(key, by, message) {
      const entry = table.find(key);
      const rule = entry === undefined ? undefined : deps.rule(entry.message.event);
      if (entry === undefined || rule === undefined)
        throw new WayleaveError("not_found", `No event of the policy in force has ${key.slice(0, 200)}.`);
      const asked = caseOf(rule, message, async () => false, true);
      if (asked.key !== key) throw new WayleaveError("not_found", "Its message is not in the stream any more.");
      await alone(key, () => retryOnce(attempts, table, asked, by));
      return table.find(key) ?? entry;
    },
  };
}

async function retryOnce(attempts: StartAttempts, table: CauseTable, asked: Case, by: string): Promise<void> {
  const entry = table.find(asked.key);
  if (entry === undefined || entry.state === "started") return;
  await attempts.record([{ kind: "event.retried", data: { ...entry.message, by }, ...whoOf(entry) }]);
  const verdict = await attempts.settle(asked);
  // The stream delivers a dead letter no more: whatever waits now waits for a person.
  if (verdict.kind === "later") {
    const seconds = Math.ceil(verdict.afterMs / 1000);
    await attempts.giveUp(asked, "not_now", `The CI could not be asked, or wants a rest. Retry it in ${seconds} s.`);
  }
}

/** One piece of work at a time for one key: a retry and a redelivery must not both start. */
function oneAtATime(): <T>(key: string, work: () => Promise<T>) => Promise<T> {
  const running = new Map<string, Promise<unknown>>();
  return async (key, work) => {
    for (let before = running.get(key); before !== undefined; before = running.get(key)) {
      await before.catch(() => undefined); // whoever started it hears of it
    }
    const mine = work();
    running.set(key, mine);
    try {
      return await mine;
    } finally {
      running.delete(key);
    }
  };
}

function caseOf(rule: CompiledEvent, message: EventMessage, hold: Hold, byHand: boolean): Case {
  const { stream, sequence, storedAt, subject } = message;
  const ref = { event: rule.name, stream, sequence, stored_at: storedAt, subject };
  return { rule, message, ref, key: messageKey(ref), hold, byHand };
}
