import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import type { Clock } from "../../core/clock.ts";
import { asWayleaveError, WayleaveError } from "../../core/errors.ts";
import type { NatsPlace } from "../../core/nats-record.ts";
import { type ClientConnect, parseConnect } from "./client-connect.ts";
import { ClientReader } from "./client-reader.ts";
import { type ConnectionEnd, passingEnd } from "./connection-end.ts";
import { ConnectionLive } from "./connection-live.ts";
import { FirstLine } from "./first-line.ts";
import type { NatsGatewayLimits } from "./gateway-limits.ts";
import { inboxNames } from "./inbox-names.ts";
import { writeError } from "./live-connection.ts";
import { PingOrder } from "./ping-order.ts";
import type {
  Admission,
  NatsAuthority,
  ServerControl,
  SessionChange,
  UpstreamGreeting,
  UpstreamPass,
} from "./ports.ts";
import { createResponsePermits } from "./response-permits.ts";
import { standingEnd } from "./session-standing.ts";
import { Subscriptions } from "./subscriptions.ts";
import { openUpstream, type Upstream, type UpstreamDeps } from "./upstream.ts";
import { WireSocket } from "./wire-socket.ts";
import { type After, within } from "./within.ts";

export interface ConnectionDeps {
  /** The gateway's name. */
  readonly gateway: string;
  readonly authority: NatsAuthority;
  readonly control: ServerControl | undefined;
  readonly upstream: Pick<UpstreamDeps, "servers" | "random">;
  readonly limits: NatsGatewayLimits;
  readonly clock: Clock;
  readonly after: After;
  /** Address the client comes from. */
  readonly from: string;
  readonly nonce: string;
  infoLine(changed: { readonly maxPayload: number; readonly ldm: boolean }): string;
  /** Makes room among the session's connections, or throws why there is none. */
  admitted(admission: Admission): void;
  /** One more denial of the session; false where it had too many. */
  denied(session: string): boolean;
  /** A refusal that nobody else records. Must not throw. */
  refused(refusal: Refusal): void;
  /** What the server said of itself. */
  reached(upstream: Upstream["info"]): void;
  /** Both sockets are closed and everything is written down. */
  finished(): void;
  onFault(error: unknown): void;
}

export interface Refusal {
  readonly code: string;
  readonly detail: string;
  readonly from: string;
  readonly admission?: Admission;
}

/** What operators see of one connection. */
export interface ConnectionSummary {
  readonly connection: string;
  readonly session: string;
  readonly target: string;
  readonly account: string;
  readonly from: string;
  readonly client?: string;
  /** ms since the epoch. */
  readonly since: number;
  readonly published: number;
  readonly delivered: number;
  readonly denied: number;
}

type Wishes = Omit<ClientConnect, "presented">;

/** Bytes of a client that is not yet admitted; then it is not read. */
const earlyBytes = 65_536;

/** One client, from its first byte: it says who it is, is admitted, gets a connection to a server, and is then live. */
export class NatsConnection {
  readonly #deps: ConnectionDeps;
  readonly #client: WireSocket;
  readonly #first: FirstLine;
  readonly #abort = new AbortController();
  readonly #since: number;
  #early: Buffer[] = [];
  #earlyLength = 0;
  /** What CONNECT said, without the secret, which nobody needs any more. */
  #connect: Wishes | undefined;
  #admission: Admission | undefined;
  #attached: UpstreamGreeting | undefined;
  #live: ConnectionLive | undefined;
  #over: ConnectionEnd | undefined;
  #left = false;
  #cancelTimer: () => void;

  /** @param stream The client's side, after our INFO and, where there is one, under TLS. */
  constructor(deps: ConnectionDeps, stream: Duplex | Socket) {
    const { limits, after, clock } = deps;
    this.#deps = deps;
    this.#since = clock.now();
    this.#first = new FirstLine(limits.connectLine + 2);
    this.#client = new WireSocket(stream, {
      data: (chunk) => this.#data(chunk),
      full: () => this.#live?.clientFull(),
      drained: () => this.#live?.clientDrained(),
      ended: () => this.#ended(),
      fault: (error) => this.#fault(error),
    });
    const seconds = limits.connectMs / 1000;
    this.#cancelTimer = after(limits.connectMs, () =>
      this.#refuse("connect_late", `no CONNECT came within ${seconds} s`),
    );
  }

  get session(): string | undefined {
    return this.#admission?.session;
  }

  /** Undefined before it is live. */
  summary(): ConnectionSummary | undefined {
    if (this.#admission === undefined || this.#live === undefined) return undefined;
    const { connection, session, target, account } = this.#admission;
    const { published, delivered, denied } = this.#live.counts;
    const name = this.#connect?.client.name;
    return {
      ...{ connection, session, target, account, denied, from: this.#deps.from, since: this.#since },
      ...(name === undefined ? {} : { client: name }),
      published: published.messages,
      delivered: delivered.messages,
    };
  }

  changed(change: SessionChange): void {
    if (this.#live !== undefined) {
      this.#live.changed(change);
      return;
    }
    if (change.kind === "ended") this.#tell(`Authorization Violation: session ended: ${change.why}`, "session_ended");
  }

  sweep(): void {
    this.#live?.sweep();
  }

  end(end: ConnectionEnd): void {
    if (this.#live !== undefined) this.#live.end(end);
    else this.#tell(end.tell ?? "", end.reason);
  }

  #data(chunk: Buffer): void {
    if (this.#live !== undefined) {
      this.#live.fromClient(chunk);
      return;
    }
    if (this.#over !== undefined) return;
    if (this.#connect === undefined) {
      this.#greet(chunk);
      return;
    }
    this.#early.push(chunk);
    this.#earlyLength += chunk.length;
    if (this.#earlyLength > earlyBytes) this.#client.hold("admission");
  }

  /** The first line is a CONNECT, or there is no second. */
  #greet(chunk: Buffer): void {
    const got = this.#first.push(chunk);
    if (got === undefined) return;
    if (got === "too_long") {
      this.#refuse("line_too_long", `CONNECT is longer than ${this.#deps.limits.connectLine} bytes`);
      return;
    }
    this.#cancelTimer();
    let connect: ClientConnect;
    try {
      connect = parseConnect(readConnect(got.line, this.#deps.limits.connectLine), this.#deps.nonce);
    } catch (error) {
      const { code, message } = asWayleaveError(error);
      this.#refuse(code, message);
      return;
    }
    const { presented, ...wishes } = connect;
    this.#connect = wishes;
    if (got.rest.length > 0) this.#data(got.rest);
    this.#open(wishes, presented).catch((error: unknown) => this.#refuseFor(error));
  }

  async #open(connect: Wishes, presented: ClientConnect["presented"]): Promise<void> {
    const { authority, gateway, from, limits, after, clock, upstream: deps } = this.#deps;
    const request = { gateway, from, presented, client: connect.client };
    const late = "the credential could not be verified in time: try again";
    const admission = await within(after, limits.admitMs, authority.admit(request), late);
    if (this.#over !== undefined) return;
    this.#admission = admission;
    this.#deps.admitted(admission);
    const over = standingEnd({ authority, admission, clock });
    if (over !== undefined) {
      this.#note(over.reason, over.detail);
      return this.end(over);
    }
    const wishes = {
      label: `${connect.client.name ?? "client"} (${admission.connection})`,
      echo: connect.echo,
      noResponders: connect.noResponders,
      attach: (greeting: UpstreamGreeting) => this.#attach(admission, greeting),
    };
    const times = { timeoutMs: limits.upstreamMs, patienceMs: limits.upstreamPatienceMs, now: () => clock.monotonic() };
    const opening = { ...deps, ...times, after };
    const upstream = await openUpstream(opening, wishes, this.#abort.signal);
    try {
      if (this.#over === undefined) return this.#begin(connect, admission, upstream);
    } catch (error) {
      upstream.socket.destroy();
      throw error;
    }
    upstream.socket.destroy();
  }

  #attach(admission: Admission, greeting: UpstreamGreeting): Promise<UpstreamPass> {
    const { authority, limits, after } = this.#deps;
    const attaching = authority.attach(admission, greeting).then((pass) => {
      this.#attached = greeting;
      if (this.#over !== undefined) this.#neverLive(this.#over);
      return pass;
    });
    attaching.catch(() => undefined); // it may come after the wait was given up
    return within(after, limits.upstreamMs, attaching, "the connection could not be recorded in time: try again");
  }

  #begin(connect: Wishes, admission: Admission, upstream: Upstream): void {
    const { authority, control, gateway, limits, clock, after, infoLine, denied, reached, finished, onFault } =
      this.#deps;
    const { connection, target, account, session } = admission;
    const place: NatsPlace = { gateway, connection, target, account };
    reached(upstream.info);
    this.#live = new ConnectionLive({
      live: {
        ...{ admission, place, connect, authority, limits, clock, onFault },
        names: inboxNames(admission.inbox),
        permits: createResponsePermits({ max: limits.permits, lifeMs: limits.permitMs, now: () => clock.monotonic() }),
        subscriptions: new Subscriptions(),
        client: this.#client,
        askedServer: new PingOrder(),
        askedClient: new PingOrder(),
        denied: () => denied(session),
      },
      ...{ upstream, control, after, infoLine, finished },
    });
    const early = Buffer.concat(this.#early);
    this.#early = [];
    this.#live.begin(early);
    if (this.#left) this.#live.clientEnded();
  }

  #ended(): void {
    if (this.#live !== undefined) {
      this.#live.clientEnded();
      return;
    }
    // What it sent before it left is still its own, where it is let in.
    if (this.#earlyLength > 0) this.#left = true;
    else this.#tell("", "client_closed");
  }

  #fault(error: unknown): void {
    if (this.#live !== undefined) {
      this.#live.fault(error);
      return;
    }
    this.#refuseFor(error);
  }

  #refuseFor(error: unknown): void {
    if (this.#over !== undefined) return; // nobody waits for it any more
    const failure = asWayleaveError(error);
    const outage = failure.wire.http >= 500;
    if (!(error instanceof WayleaveError) || outage) this.#deps.onFault(error);
    // What the authority refused, it has recorded; the rest is ours.
    if (this.#admission !== undefined || outage) this.#note(failure.code, failure.message);
    this.#tell(`${outage ? "Gateway Unavailable" : "Authorization Violation"}: ${failure.message}`, "outage");
  }

  #refuse(code: string, detail: string): void {
    this.#note(code, detail);
    this.#tell(`Authorization Violation: ${detail}`, "protocol_error");
  }

  #note(code: string, detail: string): void {
    const { from } = this.#deps;
    const admission = this.#admission;
    this.#deps.refused({ code, detail, from, ...(admission === undefined ? {} : { admission }) });
  }

  /** The last word to a client that never was live. */
  #tell(text: string, reason: ConnectionEnd["reason"]): void {
    if (this.#over !== undefined) return;
    const { after, limits } = this.#deps;
    this.#over = { ...passingEnd(reason, text), tell: text };
    this.#cancelTimer();
    this.#abort.abort();
    this.#early = [];
    this.#client.finish(text === "" ? "" : writeError(text));
    after(limits.lingerMs, () => this.#client.destroy());
    if (this.#attached === undefined) this.#deps.finished();
    else this.#neverLive(this.#over);
  }

  /** It was recorded as connected: so is its end. */
  #neverLive({ reason, detail }: ConnectionEnd): void {
    const { authority, gateway, onFault, finished } = this.#deps;
    const admission = this.#admission;
    if (admission === undefined) return;
    const { connection, target, account } = admission;
    const none = { messages: 0, bytes: 0 };
    const data = { gateway, connection, target, account, reason, detail, published: none, delivered: none, denied: 0 };
    authority
      .append([{ kind: "nats.disconnected", ...admission.record, data }])
      .catch(onFault)
      .then(finished, onFault);
  }
}

/** The JSON of a CONNECT line. Throws where the line is another one. */
function readConnect(line: Buffer, maxLine: number): string {
  let json: string | undefined;
  const other = () => undefined;
  const ops = { publish: other, subscribe: other, unsubscribe: other, ping: other, pong: other, violation: other };
  const connect = (text: string) => {
    json = text;
  };
  new ClientReader({ ...ops, connect }, { maxLine, maxPayload: 0 }).push(line);
  if (json !== undefined) return json;
  throw new WayleaveError(
    "credential_invalid",
    "the first line must be a CONNECT with one JSON object, ended by CR LF",
  );
}
