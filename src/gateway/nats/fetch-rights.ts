import { denialEvent } from "./denial.ts";
import type { LiveConnection } from "./live-connection.ts";
import { acknowledgedConsumer } from "./reserved-subjects.ts";
import { silentReasons } from "./session-standing.ts";

/** Consumers remembered: policy is asked again about more. */
const maxKept = 256;

/**
 * Whether messages that a job fetches may still come to it. It asked for them while it might; the server goes on for as long as
 * it was asked to, also to an inbox that a later connection of the job listens to.
 */
export class FetchRights {
  readonly #live: Pick<LiveConnection, "authority" | "admission" | "place">;
  readonly #kept = new Map<string, boolean>();
  #epoch = Number.NaN;
  /** The last consumer that may, as its replies begin: one after the other is of the same. */
  #last = "\0";

  constructor(live: Pick<LiveConnection, "authority" | "admission" | "place">) {
    this.#live = live;
  }

  /** Forgets what may no longer hold. To be called before messages are asked about, each time others had their turn. */
  refresh(): void {
    const { authority, admission } = this.#live;
    const epoch = authority.epoch(admission.session);
    if (epoch === this.#epoch) return;
    this.#epoch = epoch;
    this.#kept.clear();
    this.#last = "\0";
  }

  /** @param reply Begins with `$JS.ACK.`. The first message of a consumer that may not come is recorded as a denial. */
  mayCome(reply: string): boolean {
    if (reply.startsWith(this.#last)) return true;
    const consumer = acknowledgedConsumer(reply);
    if (consumer === undefined) return false; // no server says so
    return this.#kept.get(consumer) ?? this.#ask(consumer, reply);
  }

  #ask(consumer: string, reply: string): boolean {
    const { authority, admission, place } = this.#live;
    const operation = { kind: "nats", verb: "pull", subject: consumer } as const;
    const decision = authority.decide(admission, operation);
    const { effect, mode, reason, unconditional } = decision;
    // A limit is about asking, not about what was asked for.
    const may = effect === "allow" || reason === "limit_exceeded" || (mode === "observe" && !silentReasons.has(reason));
    if (!may) authority.note(denialEvent(place.gateway, admission, { operation, decision, reason }, "deny"));
    if (may && !unconditional) return true;
    if (this.#kept.size >= maxKept) this.#kept.clear();
    this.#kept.set(consumer, may);
    if (may) this.#last = reply.slice(0, reply.indexOf(`.${consumer}.`) + consumer.length + 2);
    return may;
  }
}
