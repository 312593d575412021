import { ClientReader } from "./client-reader.ts";
import { ClientSubscriptions } from "./client-subscriptions.ts";
import { faultEnd } from "./connection-end.ts";
import type { Denial } from "./denial.ts";
import { HeaderCleaner } from "./header-block.ts";
import { headerGrowth } from "./header-rules.ts";
import type { LiveConnection } from "./live-connection.ts";
import { identityGrowth, identityLines } from "./op-writer.ts";
import type { Outgoing } from "./outgoing.ts";
import { type PublishRight, PublishRights } from "./publish-rights.ts";
import { standingEnd } from "./session-standing.ts";
import type { ClientOps, PublishOp, WireViolation } from "./wire.ts";

/** More PINGs than this without an answer: nobody asks so much in earnest. */
const mostPings = 10_000;

/** What a client says: read strictly, decided, written down, put into our own words, forwarded. */
export class ClientTraffic implements ClientOps {
  readonly #live: LiveConnection;
  readonly #out: Outgoing;
  readonly #reader: ClientReader;
  readonly #rights: PublishRights;
  readonly #subscriptions: ClientSubscriptions;
  readonly #headers: HeaderCleaner;
  readonly #identity: Buffer;
  readonly #growth: number;
  #serverMaxPayload: number;
  #lastRowEnd = { reply: "", headerBytes: -1, totalBytes: -1, text: "" };

  constructor(live: LiveConnection, out: Outgoing, serverMaxPayload: number) {
    const { admission, authority, limits, permits } = live;
    const prefix = admission.inbox.replace(/^_INBOX_/, "");
    this.#live = live;
    this.#out = out;
    this.#reader = new ClientReader(this, limits.wire);
    this.#rights = new PublishRights(authority, admission, permits);
    this.#subscriptions = new ClientSubscriptions(live, out);
    this.#headers = new HeaderCleaner({ prefix });
    this.#identity = identityLines(admission.identity, admission.connection);
    this.#growth = identityGrowth(this.#identity) + headerGrowth(prefix);
    this.#serverMaxPayload = serverMaxPayload;
  }

  /** Longest message that the server takes with what the gateway adds, headers included. */
  get maxPayload(): number {
    return Math.max(0, Math.min(this.#live.limits.wire.maxPayload, this.#serverMaxPayload - this.#growth));
  }

  setServerMaxPayload(bytes: number): void {
    this.#serverMaxPayload = bytes;
  }

  receive(chunk: Buffer): void {
    const over = standingEnd(this.#live);
    if (over !== undefined) {
      this.#live.end(over);
      return;
    }
    this.#rights.refresh();
    this.#reader.push(chunk);
    this.#out.flush();
  }

  /** Nothing is read any more, not even what was already received. */
  stop(): void {
    this.#reader.stop();
  }

  recheck(which: "all" | "conditional"): void {
    this.#subscriptions.recheck(which);
    this.#out.flush();
  }

  connect(): void {
    const detail = "a second CONNECT: a connection keeps the identity it began with; open another one";
    this.#refuse("second_connect", detail);
    this.#live.end(faultEnd("second_connect", detail));
  }

  publish(op: PublishOp): void {
    const right = this.#rights.find(op.subject, op.reply !== "");
    if (!("row" in right)) {
      this.#out.deny(right, op.subject);
      return;
    }
    const reply = op.reply === "" ? "" : this.#live.names.toServer(op.reply);
    if (reply === undefined) {
      this.#deny(op, right, "subject_refused", foreignReply(op.reply));
      return;
    }
    const headers = op.headerEnd > op.headerStart;
    if (headers) {
      const problem = this.#headers.clean(op.buffer, op.headerStart, op.headerEnd);
      if (problem?.code === "header_refused") {
        this.#deny(op, right, "ambiguous_request", problem.detail);
        return;
      }
      if (problem !== undefined) {
        this.violation(problem);
        return;
      }
    }
    if (op.payloadEnd - op.headerStart + this.#growth > this.#serverMaxPayload) {
      this.#tooLarge();
      return;
    }
    if (right.counts !== undefined) this.#live.authority.count(right.counts);
    if (right.observed !== undefined) this.#out.observe(right.observed);
    const number = this.#out.next;
    const lines = headers ? this.#headers.lines : undefined;
    const { headerBytes, totalBytes } = this.#out.writer.publish(op, op.subject, reply, this.#identity, number, lines);
    this.#out.message(right.row + this.#rowEnd(reply, headerBytes, totalBytes), totalBytes, right.policy);
    this.#out.ok();
  }

  /** Messages of one size have the same: who sends many mostly sends like ones. */
  #rowEnd(reply: string, headerBytes: number, totalBytes: number): string {
    const last = this.#lastRowEnd;
    if (last.reply === reply && last.headerBytes === headerBytes && last.totalBytes === totalBytes) return last.text;
    const text = `${reply === "" ? "-" : reply} ${headerBytes} ${totalBytes - headerBytes}`;
    this.#lastRowEnd = { reply, headerBytes, totalBytes, text };
    return text;
  }

  subscribe(subject: string, queue: string, sid: string): void {
    if (this.#live.subscriptions.find(sid) !== undefined) {
      this.violation({ code: "operation_malformed", detail: `the subscription id ${sid} is in use already` });
      return;
    }
    this.#subscriptions.subscribe(subject, queue, sid);
  }

  unsubscribe(sid: string, max: number): void {
    this.#subscriptions.unsubscribe(sid, max);
  }

  ping(): void {
    const { askedServer } = this.#live;
    if (askedServer.theirs >= mostPings) {
      this.violation({ code: "operation_malformed", detail: `${mostPings} PINGs wait for their answer` });
      return;
    }
    askedServer.askTheirs();
    this.#out.writer.ping();
  }

  pong(): void {
    if (this.#live.askedClient.answer() === "theirs") this.#out.writer.pong();
  }

  violation({ code, detail }: WireViolation): void {
    this.#refuse(code, detail);
    this.#live.end(faultEnd("protocol_error", detail));
  }

  /** The one message is refused for what policy is not asked about. */
  #deny(op: PublishOp, right: PublishRight, reason: Denial["reason"], detail: string): void {
    const operation = { kind: "nats", verb: op.reply === "" ? "pub" : "req", subject: op.subject } as const;
    const decision = refusedBeside(right);
    this.#out.deny({ operation, decision, reason, detail }, op.subject);
  }

  #tooLarge(): void {
    const detail = `a message of more than ${this.maxPayload} bytes, headers included: more the server does not take`;
    this.violation({ code: "payload_too_large", detail });
  }

  #refuse(code: string, detail: string): void {
    const { place, admission } = this.#live;
    const data = { gateway: place.gateway, code, detail, connection: place.connection };
    this.#out.record({ kind: "nats.refused", ...admission.record, data });
  }
}

/** Policy would let the message go. */
function refusedBeside({ policy }: PublishRight): Denial["decision"] {
  return {
    effect: "deny",
    reason: "subject_refused",
    mode: "enforce",
    policyVersion: policy,
    facts: [],
    unconditional: false,
  };
}

function foreignReply(reply: string): string {
  const named = reply.length > 64 ? `${reply.slice(0, 64)}…` : reply;
  return `the reply ${named} is no inbox of this job: answers would go out in another's name; use an inbox the client makes`;
}
