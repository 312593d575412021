import type { NatsOperation } from "../../core/target.ts";
import type { Denial } from "./denial.ts";
import type { LiveConnection } from "./live-connection.ts";
import type { Outgoing } from "./outgoing.ts";
import { subscribeUse } from "./reserved-subjects.ts";
import { endFor, silentReasons } from "./session-standing.ts";
import type { Subscription } from "./subscriptions.ts";

/** What a client listens to: decided when it begins, and again whenever the answer may have changed. */
export class ClientSubscriptions {
  readonly #live: LiveConnection;
  readonly #out: Outgoing;

  constructor(live: LiveConnection, out: Outgoing) {
    this.#live = live;
    this.#out = out;
  }

  /** The id must not be in use. */
  subscribe(subject: string, queue: string, sid: string): void {
    const { names, subscriptions } = this.#live;
    const inbox = names.toServer(subject);
    const serverSubject = inbox ?? subject;
    const asked = this.#ask({ kind: "nats", verb: "sub", subject: serverSubject, ...(queue === "" ? {} : { queue }) });
    const { decision } = asked;
    const denial = this.#tooMany(asked) ?? (inbox === undefined ? this.#judge(asked) : undefined);
    if (denial !== undefined && !passes(denial)) {
      this.#out.deny(denial, subject);
      return;
    }
    if (denial !== undefined) this.#out.observe(denial);
    else if (inbox === undefined && decision.limit !== undefined) this.#live.authority.count(decision);
    const known = { sid, subject, serverSubject, queue, inbox: inbox !== undefined };
    const translates = known.inbox && !names.isOwnName(subject);
    const { serverSid } = subscriptions.add({ ...known, translates, conditional: !decision.unconditional });
    this.#record(sid, serverSubject, queue, {
      rule: known.inbox ? "inbox" : denial === undefined ? (decision.rule ?? "-") : "-",
      policy: decision.policyVersion,
    });
    this.#out.writer.subscribe(serverSubject, queue, serverSid);
    this.#out.ok();
  }

  /** `max` 0 ends it at once; an id that is not in use is nothing, as the server has it. */
  unsubscribe(sid: string, max: number): void {
    const subscription = this.#live.subscriptions.find(sid);
    if (subscription !== undefined && max > subscription.delivered) {
      const { place, admission } = this.#live;
      subscription.max = max;
      this.#out.record({ kind: "nats.unsubscribed", ...admission.record, data: { ...place, sid, max } });
      this.#out.writer.unsubscribe(subscription.serverSid, max);
    } else if (subscription !== undefined) this.#drop(subscription);
    this.#out.ok();
  }

  /** Asks policy again: about all, or about those whose answer changes with time alone. */
  recheck(which: "all" | "conditional"): void {
    for (const subscription of this.#live.subscriptions.all()) {
      const { inbox, conditional, subject } = subscription;
      if (inbox || (which === "conditional" && !conditional)) continue;
      const denial = this.#askAgain(subscription);
      if (denial === undefined) continue;
      if (silentReasons.has(denial.reason)) {
        this.#live.end(endFor(denial.reason));
        return;
      }
      this.#drop(subscription);
      this.#out.deny(denial, subject);
    }
  }

  #askAgain(subscription: Subscription): Denial | undefined {
    const { serverSubject, queue } = subscription;
    const asked = this.#ask({ kind: "nats", verb: "sub", subject: serverSubject, ...(queue === "" ? {} : { queue }) });
    subscription.conditional = !asked.decision.unconditional;
    const denial = this.#judge(asked);
    // A limit is about beginning, not about going on.
    return denial === undefined || passes(denial) || denial.reason === "limit_exceeded" ? undefined : denial;
  }

  #ask(operation: NatsOperation): Denial {
    const decision = this.#live.authority.decide(this.#live.admission, operation);
    return { operation, decision, reason: decision.reason };
  }

  #judge(asked: Denial): Denial | undefined {
    const use = subscribeUse(asked.operation.subject);
    if (use.kind === "reserved" && !silentReasons.has(asked.reason)) {
      return { ...asked, reason: "subject_refused", detail: use.why };
    }
    return asked.decision.effect === "allow" ? undefined : asked;
  }

  #tooMany(asked: Denial): Denial | undefined {
    const { subscriptions, limits } = this.#live;
    if (subscriptions.size < limits.subscriptions) return undefined;
    const detail = `a connection has at most ${limits.subscriptions} subscriptions: end others first`;
    return { ...asked, reason: "limit_exceeded", decision: { ...asked.decision, mode: "enforce" }, detail };
  }

  #drop(subscription: Subscription): void {
    const { subscriptions, place, admission } = this.#live;
    const { sid, serverSid } = subscription;
    subscriptions.remove(subscription);
    this.#live.ended(subscription);
    this.#out.record({ kind: "nats.unsubscribed", ...admission.record, data: { ...place, sid } });
    this.#out.writer.unsubscribe(serverSid, 0);
  }

  #record(sid: string, subject: string, queue: string, by: { readonly rule: string; readonly policy: string }): void {
    const { place, admission } = this.#live;
    const data = { ...place, sid, subject, ...(queue === "" ? {} : { queue }), ...by };
    this.#out.record({ kind: "nats.subscribed", ...admission.record, data }, true);
  }
}

/** What an observed target lets through: what policy denies, never what no policy could allow. */
function passes({ decision, reason }: Denial): boolean {
  return decision.mode === "observe" && reason !== "subject_refused" && !silentReasons.has(reason);
}
