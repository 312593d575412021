import type { Clock } from "../../core/clock.ts";
import type { ReasonCode } from "../../core/decision.ts";
import type { Answer, Holder, Question, StandingPoint } from "../decision-point.ts";

/** Something that was let through and is not over: a request and its answer, a WebSocket, a TCP connection. */
export interface OpenExchange {
  /** What it would be asked again with: a stream once it needed the right to one. */
  question: Question;
  /** Absent: it was let through without one, so that no session's end is its end. */
  readonly holder?: Holder;
  /** Monotonic ms. */
  readonly openedAt: number;
  /** Bytes that went on, to the service and from it. */
  bytesIn: number;
  bytesOut: number;
  /** It has the right to last, or may not be bounded. */
  unbounded: boolean;
  /** Ends it at once. The answer is there where the decision point was asked once more. */
  cut(reason: ReasonCode, answer?: Answer): void;
}

export interface OpenExchangesDeps {
  readonly clock: Clock;
  readonly point: StandingPoint;
  /** By identity: another value means that another policy is in force. */
  policy(): unknown;
  /** When a session ends at the latest, ms since the epoch; undefined where it is not known any more. */
  hardEndAt(session: string): number | undefined;
  /** How long an exchange may last without the right to a stream, ms. */
  readonly exchangeMs: number;
}

/** A session changed, or a token was revoked. */
export type Change = { readonly session: string } | { readonly revoked: string };

/** How often what only time changes is looked at, ms: the policy in force, hard ends, the length of exchanges. */
const lookMs = 10;
/** How often everything open is decided again, ms: a condition may read the time. */
const againMs = 1_000;

/** Everything open at one proxy; each ends with its right. */
export class OpenExchanges {
  readonly #deps: OpenExchangesDeps;
  readonly #bySession = new Map<string, Set<OpenExchange>>();
  #size = 0;
  #looked: unknown;
  #decidedAt = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(deps: OpenExchangesDeps) {
    this.#deps = deps;
  }

  get size(): number {
    return this.#size;
  }

  add(exchange: OpenExchange): void {
    const id = exchange.holder?.sessionId ?? "";
    const known = this.#bySession.get(id);
    if (known === undefined) this.#bySession.set(id, new Set([exchange]));
    else known.add(exchange);
    this.#size += 1;
    if (this.#timer !== undefined) return;
    this.#looked = this.#deps.policy();
    this.#timer = setInterval(() => this.look(), lookMs);
  }

  remove(exchange: OpenExchange): void {
    const id = exchange.holder?.sessionId ?? "";
    const known = this.#bySession.get(id);
    if (known?.delete(exchange) !== true) return;
    this.#size -= 1;
    if (known.size === 0) this.#bySession.delete(id);
  }

  /** What changed ends at once. */
  changed(change: Change): void {
    if ("revoked" in change) {
      for (const exchange of this.#all())
        if (exchange.holder?.jti === change.revoked) exchange.cut("credential_revoked");
      return;
    }
    for (const exchange of [...(this.#bySession.get(change.session) ?? [])]) this.#again(exchange);
  }

  /**
   * Asks for the right to last. What is refused is cut; what cannot be asked for, since nobody is known, as well.
   */
  needsStream(exchange: OpenExchange): void {
    if (exchange.unbounded) return;
    exchange.unbounded = true;
    const { question, holder } = exchange;
    if (holder === undefined || question.operation.kind !== "http") {
      exchange.cut("stream_refused");
      return;
    }
    const asked = { ...question, operation: { ...question.operation, stream: true }, admitted: holder };
    exchange.question = asked;
    const settle = (answer: Answer) => {
      if (answer.outcome === "deny") exchange.cut(answer.reason, answer);
    };
    const answer = this.#deps.point.answer(asked);
    if (answer instanceof Promise) void answer.then(settle);
    else settle(answer);
  }

  /** Looks at what only time changes. */
  look(): void {
    if (this.#size === 0) {
      clearInterval(this.#timer);
      this.#timer = undefined;
      return;
    }
    const { clock, exchangeMs, policy } = this.#deps;
    const monotonic = clock.monotonic();
    for (const exchange of this.#all()) if (this.#over(exchange, clock.now())) exchange.cut("session_ended");
    if (policy() !== this.#looked || monotonic - this.#decidedAt >= againMs) {
      this.#looked = policy();
      this.#decidedAt = monotonic;
      for (const exchange of this.#all()) this.#again(exchange);
    }
    for (const exchange of this.#all()) {
      if (!exchange.unbounded && monotonic - exchange.openedAt >= exchangeMs) this.needsStream(exchange);
    }
  }

  /** Ends everything. */
  cutAll(): void {
    for (const exchange of this.#all()) exchange.cut("outage");
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  #over({ holder }: OpenExchange, now: number): boolean {
    // Written so that an end that is no time is an end.
    return holder !== undefined && !((this.#deps.hardEndAt(holder.sessionId) ?? 0) > now);
  }

  #all(): OpenExchange[] {
    return [...this.#bySession.values()].flatMap((exchanges) => [...exchanges]);
  }

  #again(exchange: OpenExchange): void {
    const { question, holder } = exchange;
    if (holder === undefined) return;
    const reason = this.#deps.point.refusedNow({ ...question, admitted: holder });
    if (reason !== undefined) exchange.cut(reason);
  }
}
