import type { GatewayCounts } from "../../core/nats-totals.ts";
import type { AuditEvent } from "../../core/record.ts";
import { passingEnd } from "./connection-end.ts";
import { FetchRights } from "./fetch-rights.ts";
import { GroupCommit, type Sealed } from "./group-commit.ts";
import type { LiveConnection } from "./live-connection.ts";
import { OpWriter } from "./op-writer.ts";
import { isAcknowledgement } from "./reserved-subjects.ts";
import { SentMemory } from "./spent-memory.ts";
import { type Subscription, takeDelivered } from "./subscriptions.ts";
import type { MessageOp, ServerOps, WireViolation } from "./wire.ts";

export interface ServerTrafficEvents {
  info(json: string): void;
  /** The server answered a PING of our own. */
  answered(): void;
  /** A PING of the client was answered: its greeting is over. */
  greeted(): void;
}

/** What the server says: counted, or written down where policy asks for it, and given to the client in its own names. */
export class ServerTraffic implements ServerOps {
  readonly #live: LiveConnection;
  readonly #events: ServerTrafficEvents;
  readonly #writer = new OpWriter();
  readonly #commit: GroupCommit;
  readonly #memory = new SentMemory();
  readonly #fetches: FetchRights;
  readonly #arrived = { messages: 0, bytes: 0 };
  readonly #uncounted = { messages: 0, bytes: 0 };
  readonly #delivered = { messages: 0, bytes: 0 };
  #messages = 0;
  #bytes = 0;
  #waiting = 0;
  #now = 0;
  /** The client is gone: what comes now is only counted. */
  #stopped = false;
  /** What the server said of an end that is near. */
  lastError = "";

  constructor(live: LiveConnection, events: ServerTrafficEvents) {
    this.#live = live;
    this.#events = events;
    this.#fetches = new FetchRights(live);
    this.#commit = new GroupCommit({
      journal: live.authority,
      seal: () => this.#seal(),
      failed: (error) => this.#unwritten(error),
      maxAhead: live.limits.aheadMessages,
    });
  }

  get counts(): Pick<GatewayCounts, "arrived" | "uncounted"> {
    return { arrived: this.#arrived, uncounted: this.#uncounted };
  }

  /** Messages that were handed to the client's socket. */
  get delivered(): GatewayCounts["arrived"] {
    return this.#delivered;
  }

  /** To be called before the server's reader is given bytes. */
  begin(): void {
    this.#now = this.#live.clock.now();
    this.#fetches.refresh();
  }

  flush(): void {
    this.#commit.flush();
    this.#pace();
  }

  /** The client's socket is through with all that it was given. */
  drained(): void {
    this.#memory.drained();
  }

  /** The client is given nothing more. */
  stop(): void {
    this.#stopped = true;
    this.#commit.stop();
  }

  /** Records of what was delivered since the last time. */
  takeCounts(): readonly AuditEvent[] {
    // Where each delivery has its row, what has none yet was not given to the client.
    if (this.#stopped && this.#live.admission.deliveries === "full") return [];
    const ended = this.#pending;
    this.#pending = [];
    return [...ended, ...this.#live.subscriptions.all().flatMap((subscription) => this.#eventOf(subscription))];
  }

  info(json: string): void {
    this.#events.info(json);
  }

  message(op: MessageOp): void {
    const bytes = op.payloadEnd - op.headerStart;
    this.#arrived.messages++;
    this.#arrived.bytes += bytes;
    if (isNobodyAnswers(op)) {
      this.#uncounted.messages++;
      this.#uncounted.bytes += bytes;
    }
    const { subscriptions, names, permits, connect } = this.#live;
    const subscription = this.#stopped ? undefined : subscriptions.findAtServer(op.sid);
    if (subscription === undefined) return; // the client has left, or ended it a moment ago
    const fetched = subscription.inbox && isAcknowledgement(op.reply);
    if (fetched && !this.#fetches.mayCome(op.reply)) return;
    this.#count(subscription, op, bytes);
    if (op.reply !== "" && !fetched) permits.grant(op.reply);
    if (!connect.headers) op.headerStart = op.headerEnd;
    op.sid = subscription.sid;
    this.#writer.message(op, subscription.translates ? names.toClient(op.subject) : op.subject, op.reply);
    this.#messages++;
    this.#bytes += bytes;
    if (subscription.delivered === subscription.max) this.#finished(subscription);
  }

  ok(): void {
    // We ask for none; were one to come, it would answer nothing of the client's.
  }

  error(text: string): void {
    const { place, admission, authority } = this.#live;
    this.lastError = text;
    const data = { gateway: place.gateway, code: "server_refused", detail: text, connection: place.connection };
    authority.note({ kind: "nats.refused", ...admission.record, data });
    // Any other is its last word, after which not every client would come again: its end is told in ours.
    if (/^permissions violation/i.test(text)) this.#writer.error(text);
    // A server that refuses what policy allows does so again and again.
    if (!this.#live.denied()) this.#live.end(passingEnd("server_closed", "the server refuses too much"));
  }

  ping(): void {
    this.#live.askedClient.askTheirs();
    this.#writer.ping();
  }

  pong(): void {
    const whose = this.#live.askedServer.answer();
    if (whose === "ours") this.#events.answered();
    else if (whose === "theirs") {
      this.#writer.pong();
      this.#events.greeted();
    }
  }

  violation({ detail }: WireViolation): void {
    this.#live.end(passingEnd("server_closed", `what the server said cannot be read: ${detail}`));
  }

  #count(subscription: Subscription, op: MessageOp, bytes: number): void {
    if (subscription.messages === 0) subscription.firstAt = this.#now;
    subscription.lastAt = this.#now;
    subscription.messages++;
    subscription.bytes += bytes;
    subscription.delivered++;
    if (this.#live.admission.deliveries !== "full") return;
    const headers = op.headerEnd - op.headerStart;
    const reply = op.reply === "" ? "-" : op.reply;
    const row = `${op.subject} ${reply} ${headers} ${bytes - headers}`;
    const { rows, rowCharacters } = this.#live.limits;
    subscription.rowCharacters += row.length;
    if (subscription.rows.push(row) >= rows || subscription.rowCharacters >= rowCharacters) {
      this.#finishedRows(subscription);
    }
  }

  #finished(subscription: Subscription): void {
    this.#live.subscriptions.remove(subscription);
    this.#pending.push(...this.#eventOf(subscription));
  }

  /** The client ended it: what it was delivered is written down with what is still on its way to it, and never lost. */
  ended(subscription: Subscription): void {
    this.#pending.push(...this.#eventOf(subscription));
    this.#commit.flush();
  }

  #finishedRows(subscription: Subscription): void {
    this.#pending.push(...this.#eventOf(subscription));
  }

  /** Records of subscriptions that ended by themselves, and of rows that are enough for one. */
  #pending: AuditEvent[] = [];

  #eventOf(subscription: Subscription): readonly AuditEvent[] {
    const { place, admission } = this.#live;
    const data = takeDelivered(place, subscription);
    return data === undefined ? [] : [{ kind: "nats.delivered", ...admission.record, data }];
  }

  #seal(): Sealed | undefined {
    const bytes = this.#writer.take();
    const full = this.#live.admission.deliveries === "full";
    const events = full ? this.takeCounts() : this.#pending;
    if (bytes.length === 0 && events.length === 0) return undefined;
    const messages = this.#messages;
    const size = this.#bytes;
    this.#pending = [];
    this.#messages = 0;
    this.#bytes = 0;
    this.#waiting += bytes.length;
    const apply = () => {
      this.#waiting -= bytes.length;
      this.#delivered.messages += messages;
      this.#delivered.bytes += size;
      this.#live.client.send(bytes);
      this.#memory.sent(bytes, this.#live.client.waiting);
      this.#pace();
    };
    return { events, written: full ? "before" : "behind", messages: events.length, apply };
  }

  #pace(): void {
    const { server, limits } = this.#live;
    if (this.#waiting + this.#writer.length > limits.heldBytes) server.hold("journal");
    else server.release("journal");
  }

  #unwritten(error: unknown): void {
    this.#live.onFault(error);
    this.#live.end(passingEnd("outage", "what the client receives cannot be recorded: an outage, and no refusal"));
  }
}

const nobody = Buffer.from("NATS/1.0 503");

/** The server's word that a request has no responder: it is made for the requester and counted nowhere. */
function isNobodyAnswers({ buffer, headerStart, headerEnd, payloadEnd }: MessageOp): boolean {
  if (headerEnd !== payloadEnd || headerEnd - headerStart < nobody.length) return false;
  return buffer.compare(nobody, 0, nobody.length, headerStart, headerStart + nobody.length) === 0;
}
