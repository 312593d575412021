import { createServer, type Server, type Socket } from "node:net";
import { createSecureContext, type SecureContext, TLSSocket } from "node:tls";
import type { Clock } from "../../core/clock.ts";
import { WayleaveError } from "../../core/errors.ts";
import type { AuditEvent } from "../../core/record.ts";
import { infoLine } from "./client-info.ts";
import { type ConnectionSummary, NatsConnection, type Refusal } from "./connection.ts";
import { passingEnd } from "./connection-end.ts";
import { defaultNatsLimits, type NatsGatewayLimits } from "./gateway-limits.ts";
import { writeError } from "./live-connection.ts";
import type { Admission, NatsAuthority, ServerControl, SessionChange } from "./ports.ts";
import { createRefusalNotes } from "./refusal-notes.ts";
import type { ServerInfo } from "./server-info.ts";
import { leastServerVersion } from "./server-version.ts";
import { createSessionPace, type SessionPace } from "./session-pace.ts";
import type { NatsServer } from "./upstream.ts";
import { type After, within } from "./within.ts";

export interface NatsGatewayOptions {
  /** Gateway name from the inventory. */
  readonly name: string;
  readonly authority: NatsAuthority;
  /** Undefined where there is no system account: then nothing is kicked, and the server's totals are not compared. */
  readonly control: ServerControl | undefined;
  readonly servers: readonly NatsServer[];
  /** PEM texts. */
  readonly tls?: { readonly cert: string; readonly key: string };
  readonly limits?: Partial<NatsGatewayLimits>;
  readonly clock: Clock;
  random(bytes: number): Uint8Array;
  /** Calls after so many ms; gives what stops it. The process's own timers where it is absent. */
  readonly after?: After;
  readonly log: {
    /** Something failed that is nobody's refusal. Must not throw. */
    fault(error: unknown): void;
  };
}

export interface NatsGateway {
  /** Takes connections; port 0 is a free one. Rejects where the address cannot be had. */
  listen(host: string, port: number): Promise<{ readonly port: number }>;
  /** Ends every connection and resolves when all is written down; rejects `broker_unreachable` where that takes too long. */
  close(): Promise<void>;
  connections(): readonly ConnectionSummary[];
}

/** How often time is looked at, ms. */
const sweepMs = 1_000;
/** For the last words to every client and their records. */
const closeMs = 15_000;
/** Headers of ours that a server's limit must leave room for: what is more is found out when a client connects. */
const ourHeaders = 1_024;

const nodeAfter: After = (ms, run) => {
  const timer = setTimeout(run, ms);
  return () => clearTimeout(timer);
};

/**
 * A NATS server to jobs, and a NATS client to the real ones: whoever connects says who it is, and from then on every message
 * is decided, recorded and forwarded in our own words. What cannot be decided or recorded is not forwarded.
 */
export function createNatsGateway(options: NatsGatewayOptions): NatsGateway {
  return new Gateway(options);
}

class Gateway implements NatsGateway {
  readonly #options: NatsGatewayOptions;
  readonly #limits: NatsGatewayLimits;
  readonly #after: After;
  readonly #pace: SessionPace;
  readonly #server: Server;
  readonly #secure: SecureContext | undefined;
  readonly #serverId: string;
  readonly #connections = new Set<NatsConnection>();
  readonly #unadmitted = new Map<NatsConnection, string>();
  readonly #sessions = new Map<string, Set<NatsConnection>>();
  readonly #unwatch: () => void;
  readonly #refusals: (refusal: Refusal) => void;
  /** Of the servers behind, as far as they were met. */
  #version = leastServerVersion;
  #maxPayload: number;
  #where = { host: "", port: 0 };
  #cancelSweep: () => void = () => undefined;
  #empty: (() => void) | undefined;
  #closed = false;

  constructor(options: NatsGatewayOptions) {
    const { tls, clock, authority } = options;
    this.#options = options;
    this.#limits = { ...defaultNatsLimits, ...options.limits };
    this.#after = options.after ?? nodeAfter;
    this.#pace = createSessionPace(clock, this.#limits);
    this.#secure = tls === undefined ? undefined : createSecureContext({ ...tls, minVersion: "TLSv1.2" });
    this.#serverId = `WAYLEAVE_${Buffer.from(options.random(15)).toString("hex").toUpperCase()}`;
    this.#maxPayload = this.#limits.wire.maxPayload;
    this.#server = createServer({ noDelay: true, keepAlive: true }, (socket) => this.#take(socket));
    this.#server.on("error", (error) => options.log.fault(error));
    this.#refusals = createRefusalNotes(options.name, clock, (event) => this.#note(event));
    this.#unwatch = authority.watch((change) => this.#changed(change));
  }

  listen(host: string, port: number): Promise<{ readonly port: number }> {
    return new Promise((resolve, reject) => {
      this.#server.once("error", reject);
      this.#server.listen({ host, port, backlog: 1_024 }, () => {
        this.#server.off("error", reject);
        const address = this.#server.address();
        const bound = typeof address === "object" && address !== null ? address.port : port;
        this.#where = { host, port: bound };
        this.#sweepLater();
        resolve({ port: bound });
      });
    });
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#cancelSweep();
    this.#server.close();
    const end = { ...passingEnd("gateway_closed", "the gateway is shutting down"), orderly: true } as const;
    const empty = new Promise<void>((resolve) => {
      this.#empty = resolve;
    });
    for (const connection of [...this.#connections]) connection.end(end);
    const late = "not everything could be written down in time";
    try {
      if (this.#connections.size > 0) await within(this.#after, closeMs, empty, late);
    } finally {
      this.#unwatch();
    }
  }

  connections(): readonly ConnectionSummary[] {
    return [...this.#connections].flatMap((connection) => connection.summary() ?? []);
  }

  #take(socket: Socket): void {
    const from = socket.remoteAddress ?? "";
    socket.on("error", () => undefined); // its close is what counts
    const nonce = Buffer.from(this.#options.random(16)).toString("base64url");
    const info = (changed: { readonly maxPayload: number; readonly ldm?: boolean }) =>
      infoLine({
        ...{ name: this.#options.name, serverId: this.#serverId, version: this.#version, nonce, ...this.#where },
        ...{ tls: this.#secure !== undefined, ...changed },
      });
    socket.write(info({ maxPayload: this.#maxPayload }));
    const problem = this.#crowded(from);
    if (problem !== undefined) {
      this.#refusals({ code: "too_many_connections", detail: problem, from });
      if (this.#secure === undefined) socket.end(writeError(`maximum connections exceeded: ${problem}`));
      else socket.destroy();
      this.#after(this.#limits.lingerMs, () => socket.destroy());
      return;
    }
    const { authority, control, clock, servers, name, log } = this.#options;
    const connection: NatsConnection = new NatsConnection(
      {
        ...{ gateway: name, authority, control, clock, from, nonce, limits: this.#limits, after: this.#after },
        upstream: { servers, random: () => this.#uniform() },
        infoLine: info,
        admitted: (admission) => this.#admitted(connection, admission),
        denied: (session) => this.#pace.denied(session),
        refused: this.#refusals,
        reached: (server) => this.#reached(server),
        finished: () => this.#finished(connection),
        onFault: (error) => log.fault(error),
      },
      this.#secure === undefined ? socket : secured(socket, this.#secure),
    );
    this.#connections.add(connection);
    this.#unadmitted.set(connection, from);
  }

  #crowded(from: string): string | undefined {
    const { connections, unadmitted, unadmittedPerAddress } = this.#limits;
    if (this.#closed) return "the gateway is shutting down";
    if (this.#connections.size >= connections) return "the gateway has as many as it takes";
    if (this.#unadmitted.size >= unadmitted) return "too many wait to be admitted: try again";
    let same = 0;
    for (const address of this.#unadmitted.values()) if (address === from) same++;
    return same >= unadmittedPerAddress ? "too many from this address wait to be admitted: try again" : undefined;
  }

  #admitted(connection: NatsConnection, { session }: Admission): void {
    const known = this.#sessions.get(session) ?? new Set();
    if (known.size >= this.#limits.connectionsPerSession) {
      throw new WayleaveError("access_denied", `this job has ${known.size} connections: close others first`);
    }
    this.#pace.connected(session);
    this.#unadmitted.delete(connection);
    known.add(connection);
    this.#sessions.set(session, known);
  }

  #finished(connection: NatsConnection): void {
    this.#unadmitted.delete(connection);
    this.#connections.delete(connection);
    const { session } = connection;
    const known = session === undefined ? undefined : this.#sessions.get(session);
    if (session !== undefined && known?.delete(connection) && known.size === 0) this.#sessions.delete(session);
    if (this.#connections.size === 0) this.#empty?.();
  }

  #changed(change: SessionChange): void {
    for (const connection of [...(this.#sessions.get(change.session) ?? [])]) connection.changed(change);
  }

  #reached({ version, maxPayload }: ServerInfo): void {
    this.#version = version;
    this.#maxPayload = Math.max(0, Math.min(this.#limits.wire.maxPayload, maxPayload - ourHeaders));
  }

  #sweepLater(): void {
    this.#cancelSweep = this.#after(sweepMs, () => {
      for (const connection of [...this.#connections]) connection.sweep();
      if (!this.#closed) this.#sweepLater();
    });
  }

  #uniform(): number {
    return Buffer.from(this.#options.random(4)).readUInt32BE() / 2 ** 32;
  }

  #note(event: AuditEvent): void {
    try {
      this.#options.authority.note(event);
    } catch (error) {
      this.#options.log.fault(error); // nothing was let through: there is nothing to take back
    }
  }
}

/** The client's side under TLS, which begins after our INFO. */
function secured(socket: Socket, secureContext: SecureContext): TLSSocket {
  const secure = new TLSSocket(socket, { isServer: true, secureContext });
  // A server's socket keeps its errors to itself unless it came from a tls.Server.
  secure.on("_tlsError", () => secure.destroy());
  return secure;
}
