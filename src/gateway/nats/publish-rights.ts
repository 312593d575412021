import type { Decision } from "../../core/decision.ts";
import type { NatsOperation } from "../../core/target.ts";
import type { Denial } from "./denial.ts";
import type { Admission, NatsAuthority } from "./ports.ts";
import { acknowledgedConsumer, isAcknowledgement, publishUse } from "./reserved-subjects.ts";
import type { ResponsePermits } from "./response-permits.ts";
import { silentReasons } from "./session-standing.ts";

/** A message may go. */
export interface PublishRight {
  /** How its row begins: `<rule> <subject> `. */
  readonly row: string;
  readonly policy: string;
  /** A use of a limit that is to be counted. */
  readonly counts?: Decision;
  /** Policy would deny it, but the target is observed: to be recorded. Once, where later messages are no other case. */
  readonly observed?: Denial;
}

/**
 * Decisions kept at once, and the longest subject of one: a connection that publishes to more, or to longer ones, asks policy
 * again. A job may have hundreds of connections, and chooses its subjects.
 */
const maxKept = 1_000;
const longestKept = 128;

type Rights = Pick<NatsAuthority, "decide" | "epoch">;

/**
 * Whether messages of one connection may be published, kept by subject as long as nothing could change the answer. A message
 * with a reply may be a request, `req`, or a message, `pub`; an answer to a message that was delivered needs neither.
 */
export class PublishRights {
  readonly #authority: Rights;
  readonly #admission: Admission;
  readonly #permits: ResponsePermits;
  readonly #plain = new Map<string, PublishRight>();
  readonly #replying = new Map<string, PublishRight>();
  readonly #consumers = new Map<string, PublishRight>();
  readonly #observed = new Set<string>();
  #epoch = Number.NaN;

  constructor(authority: Rights, admission: Admission, permits: ResponsePermits) {
    this.#authority = authority;
    this.#admission = admission;
    this.#permits = permits;
  }

  /** Forgets what may no longer hold. To be called before messages are asked about, each time others had their turn. */
  refresh(): void {
    const epoch = this.#authority.epoch(this.#admission.session);
    if (epoch === this.#epoch) return;
    this.#epoch = epoch;
    for (const kept of [this.#plain, this.#replying, this.#consumers, this.#observed]) kept.clear();
  }

  /** @param replies Whether the message says where to answer. */
  find(subject: string, replies: boolean): PublishRight | Denial {
    return (replies ? this.#replying : this.#plain).get(subject) ?? this.#decide(subject, replies);
  }

  #decide(subject: string, replies: boolean): PublishRight | Denial {
    if (isAcknowledgement(subject)) return this.#acknowledge(subject);
    const kept = replies ? this.#replying : this.#plain;
    const use = publishUse(subject);
    if (use.kind === "pull") return this.#judge([this.#ask("pull", use.consumer)], subject, kept);
    if (use.kind === "policy") return this.#judge(this.#askToSend(subject, replies), subject, kept);
    const asked = this.#ask("pub", subject);
    return this.#answer(subject, asked) ?? refusal(asked, use.why);
  }

  /** Each message has its own subject to acknowledge: the decision is kept for the consumer. */
  #acknowledge(subject: string): PublishRight | Denial {
    const consumer = acknowledgedConsumer(subject);
    if (consumer === undefined) return refusal(this.#ask("pub", subject), "it acknowledges no message of JetStream");
    const known = this.#consumers.get(consumer);
    if (known !== undefined) return { ...known, row: `${known.row}${subject} ` };
    return this.#judge([this.#ask("pull", consumer)], subject, this.#consumers, consumer);
  }

  #askToSend(subject: string, replies: boolean): readonly Asked[] {
    if (!replies) return [this.#ask("pub", subject)];
    const request = this.#ask("req", subject);
    return request.decision.effect === "allow" ? [request] : [request, this.#ask("pub", subject)];
  }

  #ask(verb: NatsOperation["verb"], subject: string): Asked {
    const operation: NatsOperation = { kind: "nats", verb, subject };
    return { operation, decision: this.#authority.decide(this.#admission, operation) };
  }

  /** `consumer`: under which name an acknowledgement is kept. */
  #judge(
    asked: readonly Asked[],
    subject: string,
    kept: Map<string, PublishRight>,
    consumer?: string,
  ): PublishRight | Denial {
    const last = asked.at(-1);
    if (last === undefined) throw new TypeError("nothing was asked");
    if (last.decision.effect === "allow") return this.#keep(last, rightOf(last, subject), kept, subject, consumer);
    const asker = [...asked].sort((a, b) => weight(b) - weight(a))[0] ?? last;
    const answer = this.#answer(subject, asker);
    if (answer !== undefined) return answer;
    if (asker.decision.mode === "enforce" || silentReasons.has(asker.decision.reason)) return refusal(asker);
    const right = { row: `- ${subject} `, policy: asker.decision.policyVersion };
    this.#keep(asker, right, kept, subject, consumer);
    return this.#firstTime(asker) ? { ...right, observed: refusal(asker) } : right;
  }

  /** An answer is within what its sender asked for; a session that may do nothing may not answer either. */
  #answer(subject: string, { decision }: Asked): PublishRight | undefined {
    if (silentReasons.has(decision.reason) || !this.#permits.use(subject)) return undefined;
    return { row: `reply ${subject} `, policy: decision.policyVersion };
  }

  #keep(
    { decision }: Asked,
    right: PublishRight,
    kept: Map<string, PublishRight>,
    subject: string,
    consumer: string | undefined,
  ): PublishRight {
    if (!decision.unconditional || decision.limit !== undefined) return right;
    if ((consumer ?? subject).length > longestKept) return right;
    if (kept.size >= maxKept) kept.clear();
    if (consumer === undefined) kept.set(subject, right);
    else kept.set(consumer, { ...right, row: right.row.slice(0, -subject.length - 1) });
    return right;
  }

  /** Each denial of an observed target once, as long as nothing changes: the rows of its messages say the rest. */
  #firstTime({ operation, decision }: Asked): boolean {
    if (operation.subject.length > longestKept) return true;
    const key = `${decision.reason} ${operation.verb} ${operation.subject}`;
    if (this.#observed.has(key)) return false;
    if (this.#observed.size >= maxKept) this.#observed.clear();
    this.#observed.add(key);
    return true;
  }
}

interface Asked {
  readonly operation: NatsOperation;
  readonly decision: Decision;
}

/** The denial that tells more: one that names a role's failing before one that knows of no role. */
const weight = ({ decision }: Asked) => (decision.reason === "no_role" ? 0 : 1);

function rightOf({ decision }: Asked, subject: string): PublishRight {
  return {
    row: `${decision.rule ?? "-"} ${subject} `,
    policy: decision.policyVersion,
    ...(decision.limit === undefined ? {} : { counts: decision }),
  };
}

/** @param why The subject is nobody's, whatever policy says of it. */
function refusal({ operation, decision }: Asked, why?: string): Denial {
  if (why === undefined || silentReasons.has(decision.reason)) return { operation, decision, reason: decision.reason };
  return { operation, decision, reason: "subject_refused", detail: why };
}
