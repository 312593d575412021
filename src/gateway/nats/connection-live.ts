import type { AuditEvent } from "../../core/record.ts";
import { ClientTraffic } from "./client-traffic.ts";
import { type ConnectionEnd, clientClosed, finalEnd, passingEnd } from "./connection-end.ts";
import { finalEvents } from "./connection-totals.ts";
import { type LiveConnection, writeError } from "./live-connection.ts";
import { Outgoing } from "./outgoing.ts";
import type { ServerControl, SessionChange } from "./ports.ts";
import { parseServerInfo } from "./server-info.ts";
import { ServerTraffic } from "./server-traffic.ts";
import { standingEnd } from "./session-standing.ts";
import { Silence } from "./silence.ts";
import { freeChunk } from "./spent-memory.ts";
import type { Upstream } from "./upstream.ts";
import { WireSocket } from "./wire-socket.ts";
import { type After, within } from "./within.ts";

export interface ConnectionLiveDeps {
  readonly live: Omit<LiveConnection, "server" | "end" | "ended">;
  readonly upstream: Upstream;
  readonly control: ServerControl | undefined;
  readonly after: After;
  /** What the client is told when the server's word about itself changes. */
  infoLine(changed: { readonly maxPayload: number; readonly ldm: boolean }): string;
  /** Everything about it is written down, and both sockets are closed. */
  finished(): void;
}

/** Node's timers take no longer time. */
const longestTimer = 2_147_483_647;

/** A connection whose both sides are open: traffic, watch over it, and its end. */
export class ConnectionLive {
  readonly #deps: ConnectionLiveDeps;
  readonly #live: LiveConnection;
  readonly #out: Outgoing;
  readonly #client: ClientTraffic;
  readonly #server: ServerTraffic;
  readonly #readServer: ReturnType<Upstream["listen"]>;
  readonly #clientSilence: Silence;
  readonly #serverSilence: Silence;
  #epoch: number;
  #info: Upstream["info"];
  #greeted = false;
  #infoWaits = false;
  #end: ConnectionEnd | undefined;
  /** Nothing is forwarded any more in either direction. */
  #cut = false;
  #cancelHardEnd: () => void = () => undefined;
  #cancelSlow: () => void = () => undefined;
  #countedAt: number;
  /** The last PING went out: its answer comes after everything else the server has. */
  #leaving = false;
  readonly #drained = Promise.withResolvers<boolean>();

  constructor(deps: ConnectionLiveDeps) {
    const { live, upstream } = deps;
    const server = new WireSocket(upstream.socket, {
      data: (chunk) => this.#fromServer(chunk),
      full: () => live.client.hold("server"),
      drained: () => {
        this.#out.drained();
        live.client.release("server");
      },
      ended: () => this.#serverEnded(),
      fault: (error) => this.fault(error),
    });
    this.#deps = deps;
    this.#info = upstream.info;
    this.#live = {
      ...{ ...live, server },
      end: (end) => this.end(end),
      ended: (subscription) => this.#server.ended(subscription),
    };
    this.#out = new Outgoing(this.#live);
    this.#client = new ClientTraffic(this.#live, this.#out, upstream.info.maxPayload);
    this.#server = new ServerTraffic(this.#live, {
      info: (json) => this.#serverInfo(json),
      answered: () => {
        // Earlier ones asked whether it lives.
        if (this.#leaving && this.#live.askedServer.ours === 0) this.#drained.resolve(true);
      },
      greeted: () => {
        this.#greeted = true;
        if (this.#infoWaits) this.#tellInfo();
      },
    });
    this.#readServer = upstream.listen(this.#server);
    const now = live.clock.monotonic();
    this.#clientSilence = new Silence(live.limits.pingMs, now);
    this.#serverSilence = new Silence(live.limits.pingMs, now);
    this.#countedAt = now;
    this.#epoch = live.authority.epoch(live.admission.session);
  }

  get counts() {
    return { published: this.#out.forwarded, delivered: this.#server.delivered, denied: this.#out.denied };
  }

  /** @param early What the client said while the server was being reached. */
  begin(early: Buffer): void {
    const { client, connect, limits } = this.#live;
    this.#watchHardEnd();
    if (connect.verbose) client.send("+OK\r\n");
    if (this.#client.maxPayload !== limits.wire.maxPayload || this.#info.ldm) this.#tellInfo();
    if (early.length > 0) this.fromClient(early);
    client.release("admission");
    this.#deps.upstream.socket.resume();
  }

  fromClient(chunk: Buffer): void {
    if (this.#end !== undefined) return;
    this.#clientSilence.heard(this.#live.clock.monotonic());
    this.#client.receive(chunk);
    freeChunk(chunk);
  }

  /** The client's socket takes no more: the server waits, for some time. */
  clientFull(): void {
    const { server, client, connect, limits } = this.#live;
    server.hold("client");
    if (connect.verbose) client.hold("client"); // each of its operations would be one more answer
    const seconds = limits.slowMs / 1000;
    const slow = passingEnd("slow_reader", `the client did not read for ${seconds} s: a slow consumer`);
    this.#cancelSlow = this.#deps.after(limits.slowMs, () => this.#guarded(() => this.end(slow)));
  }

  clientDrained(): void {
    this.#server.drained();
    this.#cancelSlow();
    this.#live.server.release("client");
    this.#live.client.release("client");
  }

  clientEnded(): void {
    this.end(clientClosed);
  }

  #serverEnded(): void {
    const said = this.#server.lastError;
    const detail = "nats-server closed the connection";
    this.end(passingEnd("server_closed", said === "" ? detail : `${detail}: ${said}`));
  }

  /** Something failed that nobody meant to: nothing may go on after it. */
  fault(error: unknown): void {
    this.#live.onFault(error);
    this.end(passingEnd("outage", "the gateway failed: an outage, and no refusal"));
  }

  changed(change: SessionChange): void {
    this.#guarded(() => {
      if (change.kind === "ended") return this.end(finalEnd("session_ended", `session ended: ${change.why}`));
      if (change.kind === "rights") return this.end(passingEnd("rights_changed", `rights changed: ${change.why}`));
      this.#recheck();
    });
  }

  /** Looks after what only time brings. To be called every second or so. */
  sweep(): void {
    if (this.#end !== undefined) return;
    this.#guarded(() => {
      const { authority, admission, clock, limits } = this.#live;
      const now = clock.monotonic();
      if (authority.epoch(admission.session) !== this.#epoch) this.#recheck();
      else this.#client.recheck("conditional");
      if (this.#end === undefined && now - this.#countedAt >= limits.deliveredMs) this.#writeCounts(now);
      this.#lookForSilence(now);
    });
  }

  end(end: ConnectionEnd): void {
    const leaving = this.#end?.orderly === true && !this.#cut;
    if (this.#end !== undefined && (!leaving || end.orderly === true)) return;
    if (leaving && end.reason === "server_closed") {
      this.#drained.resolve(false);
      return;
    }
    const first = this.#end === undefined;
    this.#end = end;
    this.#cancelHardEnd();
    this.#cancelSlow();
    this.#client.stop();
    const orderly = end.orderly === true;
    if (!orderly) this.#cutNow(end);
    if (!first) return; // who is leaving writes it down
    this.#finish(orderly).catch((error: unknown) => this.#live.onFault(error));
  }

  #guarded(work: () => void): void {
    try {
      work();
    } catch (error) {
      this.fault(error);
    }
  }

  #fromServer(chunk: Buffer): void {
    this.#serverSilence.heard(this.#live.clock.monotonic());
    this.#server.begin();
    this.#readServer.push(chunk);
    this.#server.flush();
    freeChunk(chunk);
  }

  #serverInfo(json: string): void {
    this.#info = parseServerInfo(json, this.#info) ?? this.#info;
    this.#client.setServerMaxPayload(this.#info.maxPayload);
    if (this.#end === undefined) this.#tellInfo();
  }

  /** Not before the answer to the client's first PING: Go's client takes nothing else for that answer. */
  #tellInfo(): void {
    this.#infoWaits = !this.#greeted;
    if (this.#infoWaits) return;
    this.#live.client.send(this.#deps.infoLine({ maxPayload: this.#client.maxPayload, ldm: this.#info.ldm }));
  }

  #watchHardEnd(): void {
    const { authority, admission, clock } = this.#live;
    this.#cancelHardEnd();
    const left = Math.min(Math.max(0, authority.hardEndAt(admission.session) - clock.now()), longestTimer);
    this.#cancelHardEnd = this.#deps.after(left, () => this.#guarded(() => this.#recheck()));
  }

  /** Time, facts or policy moved on: may it still be here, and listen to what it listens to? */
  #recheck(): void {
    if (this.#end !== undefined) return;
    const { authority, admission } = this.#live;
    this.#epoch = authority.epoch(admission.session);
    const over = standingEnd(this.#live);
    if (over !== undefined) {
      this.end(over);
      return;
    }
    this.#watchHardEnd();
    this.#client.recheck("all");
  }

  #writeCounts(now: number): void {
    this.#countedAt = now;
    for (const event of this.#server.takeCounts()) this.#live.authority.note(event);
  }

  #lookForSilence(now: number): void {
    const { client, server, askedClient } = this.#live;
    if (this.#end !== undefined) return;
    // Whom we do not listen to, we cannot hear.
    const clientIs = client.held ? undefined : this.#clientSilence.check(now);
    if (clientIs === "dead") {
      this.end(passingEnd("client_silent", "the client answered no PING"));
      return;
    }
    if (clientIs === "ask") {
      askedClient.askOurs();
      client.send("PING\r\n");
    }
    const serverIs = server.held ? undefined : this.#serverSilence.check(now);
    if (serverIs === "dead") {
      this.end(passingEnd("server_silent", "nats-server answered no PING"));
      return;
    }
    if (serverIs === "ask") this.#askServer();
  }

  #askServer(): void {
    this.#live.askedServer.askOurs();
    this.#out.writer.ping();
    this.#out.flush();
  }

  /** Nothing already received is forwarded after this. */
  #cutNow(end: ConnectionEnd): void {
    const { client, server, limits } = this.#live;
    this.#cut = true;
    this.#leftovers.push(...this.#out.stop());
    this.#server.stop();
    server.destroy();
    this.#drained.resolve(false);
    this.#kick(end);
    client.finish(end.tell === undefined ? "" : writeError(end.tell));
    this.#deps.after(limits.lingerMs, () => client.destroy());
  }

  /** Refused operations whose record was not written when the end came. */
  readonly #leftovers: AuditEvent[] = [];

  /** The backstop: our socket is closed already. */
  #kick({ reason }: ConnectionEnd): void {
    const { control } = this.#deps;
    if (control === undefined || reason === "server_closed") return;
    const { serverId, cid } = this.#info;
    Promise.resolve()
      .then(() => control.kick(serverId, cid))
      .catch((error: unknown) => this.#live.onFault(error));
  }

  async #finish(orderly: boolean): Promise<void> {
    const { authority, onFault } = this.#live;
    const drained = orderly && (await this.#leave());
    const totals = await this.#totals();
    const end = this.#end ?? clientClosed;
    const counts = { published: this.#out.forwarded, delivered: this.#server.delivered, denied: this.#out.denied };
    const counted = { ...this.#server.counts, published: this.#out.forwarded };
    const final = finalEvents({ ...this.#live, end, counts, counted, totals, drained });
    if (final.contradiction) onFault(new Error("nats-server's totals contradict the gateway's: see nats.mismatch"));
    try {
      await authority.append([...this.#leftovers, ...this.#server.takeCounts(), ...final.events]);
    } catch (error) {
      onFault(error);
    }
    this.#deps.finished();
  }

  /** Forwards what was received and hears the server out. True where everything it sent has arrived. */
  async #leave(): Promise<boolean> {
    const { client, server, limits, subscriptions } = this.#live;
    const { after } = this.#deps;
    const inTime = (ms: number, work: Promise<boolean>) => within(after, ms, work, "late").catch(() => false);
    const forwarded = await inTime(
      limits.admitMs,
      this.#out.settled().then(() => true),
    );
    let drained = false;
    if (forwarded && !this.#cut) {
      this.#server.stop();
      for (const { serverSid } of subscriptions.all()) this.#out.writer.unsubscribe(serverSid, 0);
      server.release("client");
      this.#leaving = true;
      this.#askServer();
      drained = await inTime(limits.drainMs, this.#drained.promise);
    }
    if (this.#cut) return false;
    this.#cut = true;
    this.#leftovers.push(...this.#out.stop());
    const tell = this.#end?.tell;
    if (drained) server.finish("");
    else server.destroy();
    client.finish(tell === undefined ? "" : writeError(tell));
    after(limits.lingerMs, () => {
      client.destroy();
      server.destroy();
    });
    return drained;
  }

  async #totals() {
    const { control } = this.#deps;
    try {
      return await control?.totals(this.#info.serverId, this.#info.cid, this.#live.limits.totalsMs);
    } catch (error) {
      this.#live.onFault(error);
      return undefined;
    }
  }
}
