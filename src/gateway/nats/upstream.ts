import { connect as connectTcp, isIP, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import { WayleaveError } from "../../core/errors.ts";
import { FirstLine } from "./first-line.ts";
import { OpWriter } from "./op-writer.ts";
import type { UpstreamGreeting, UpstreamPass } from "./ports.ts";
import { parseServerInfo, type ServerInfo } from "./server-info.ts";
import { ServerReader } from "./server-reader.ts";
import { isServerTaken, leastServerVersion } from "./server-version.ts";
import type { ServerOps } from "./wire.ts";

/** A nats-server the gateway may connect to. */
export interface NatsServer {
  readonly host: string;
  readonly port: number;
  /** Over TLS only; `ca` is PEM, the system's authorities where it is absent. */
  readonly tls?: { readonly ca?: string };
}

export interface UpstreamDeps {
  readonly servers: readonly NatsServer[];
  /** Uniform, from 0 up to 1. */
  random(): number;
  /** Calls after so many ms; gives what stops it. */
  after(ms: number, run: () => void): () => void;
  /** For each step: the connection, the server's INFO, its answer to CONNECT. */
  readonly timeoutMs: number;
  /** Servers that cannot be reached are tried again for so long: one that restarts is soon back. */
  readonly patienceMs: number;
  /** Monotonic ms. */
  now(): number;
}

export interface UpstreamWishes {
  /** What the connection is called at the server: a label. */
  readonly label: string;
  readonly echo: boolean;
  readonly noResponders: boolean;
  /** Records the connection and gives what the server is to be shown. Rejections pass through. */
  attach(greeting: UpstreamGreeting): Promise<UpstreamPass>;
}

/** A connection to a server that has let the gateway in. Its socket is paused; nothing it says is lost. */
export interface Upstream {
  readonly socket: Socket;
  readonly info: ServerInfo;
  /** Tells the reader whom to tell from now on. */
  listen(ops: ServerOps): ServerReader;
}

/** A longest INFO: a large cluster lists its addresses. */
const longestInfo = 65_536;
/** What a server may send: its own limit holds for messages. */
const anyMessage = { maxLine: longestInfo, maxPayload: 64 * 1_048_576 };

/** Between two rounds, ms. */
const pauseMs = 200;

/**
 * Opens the connection to one of the servers, in random order, again and again while they are away, or their auth callout is:
 * each time the new connection is attached. Rejects `broker_unreachable` where none can be reached, is recent enough or lets
 * the gateway in, with the reason.
 */
export async function openUpstream(deps: UpstreamDeps, wishes: UpstreamWishes, signal: AbortSignal): Promise<Upstream> {
  const giveUpAt = deps.now() + deps.patienceMs;
  for (;;) {
    const found = await openOne(deps, wishes, signal);
    if ("socket" in found) return found;
    if (found.stays || signal.aborted || deps.now() + pauseMs >= giveUpAt) throw unreachable(found.why);
    await new Promise<void>((resolve) => deps.after(pauseMs, resolve));
  }
}

/** Why a server will not do. `stays`: it will not do in a moment either. */
interface Unusable {
  readonly why: string;
  readonly stays: boolean;
}

async function openOne(deps: UpstreamDeps, wishes: UpstreamWishes, signal: AbortSignal): Promise<Upstream | Unusable> {
  let problem: Unusable = { why: "no nats-server is configured", stays: true };
  for (const server of shuffled(deps)) {
    const opening = new Opening(deps, signal);
    try {
      const found = await opening.greet(server);
      const entered = "why" in found ? found : await opening.enter(found, wishes);
      if ("socket" in entered) return entered;
      problem = entered;
    } catch (error) {
      opening.destroy();
      throw error;
    }
    opening.destroy();
    if (signal.aborted) break;
  }
  return problem;
}

function shuffled({ servers, random }: UpstreamDeps): readonly NatsServer[] {
  const order = servers.map((server) => ({ server, at: random() }));
  return order.sort((a, b) => a.at - b.at).map(({ server }) => server);
}

/** One attempt: the sockets of it, and its end. */
class Opening {
  readonly #deps: UpstreamDeps;
  readonly #signal: AbortSignal;
  #socket: Socket | undefined;

  constructor(deps: UpstreamDeps, signal: AbortSignal) {
    this.#deps = deps;
    this.#signal = signal;
  }

  destroy(): void {
    this.#socket?.destroy();
  }

  /** Connects and reads the server's INFO. */
  async greet(server: NatsServer): Promise<ServerInfo | Unusable> {
    const { host, port, tls } = server;
    const where = `${host}:${port}`;
    try {
      const plain = connectTcp({ host, port, noDelay: true });
      this.#take(plain);
      const info = await this.#step<ServerInfo>(plain, "did not send its INFO", (found) => readInfo(plain, found));
      const problem = unfit(info, tls !== undefined);
      if (problem !== undefined) return { why: `the server at ${where} ${problem}`, stays: true };
      if (tls === undefined) return info;
      // Whatever came before the handshake was said by nobody in particular; the server says it again to nobody.
      const name = isIP(host) === 0 ? { host, servername: host } : { host };
      const secured = connectTls({ socket: plain, ...name, ...(tls.ca === undefined ? {} : { ca: tls.ca }) });
      this.#take(secured);
      await this.#step<void>(secured, "did not finish its TLS handshake", (found) =>
        secured.once("secureConnect", found),
      );
      return info;
    } catch (error) {
      return { why: `the server at ${where} ${stepProblem(error)}`, stays: false };
    }
  }

  /** Shows the server what it is to be shown, and waits until it has answered a PING. */
  async enter(info: ServerInfo, wishes: UpstreamWishes): Promise<Upstream | Unusable> {
    const socket = this.#socket;
    const { serverId, cid, version, nonce } = info;
    const pass = await wishes.attach({ serverId, cid, version, nonce });
    if (this.#signal.aborted || socket === undefined || socket.destroyed) {
      return { why: "nats-server closed the connection", stays: false };
    }
    const answer = new Answer(info);
    socket.write(connectLines(wishes, pass));
    try {
      await this.#step<void>(socket, "did not answer", (found, failed) => answer.read(socket, found, failed));
    } catch (error) {
      return { why: `nats-server ${stepProblem(error)}`, stays: false };
    }
    return { socket, info: answer.info, listen: (ops) => answer.listen(ops) };
  }

  #take(socket: Socket): void {
    this.#socket = socket;
    socket.on("error", ignore); // each step hears of it; between two steps it is an end like others
  }

  /** Runs one step on the socket, no longer than its time and the client's. */
  #step<T>(socket: Socket, late: string, run: (found: (value: T) => void, failed: (why: string) => void) => void) {
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    const failed = (why: string) => reject(new StepFailed(why));
    const error = ({ code }: NodeJS.ErrnoException) => failed(`cannot be used (${code ?? "connection error"})`);
    const closed = () => failed("closed the connection");
    const aborted = () => failed("is no longer wanted");
    const cancel = this.#deps.after(this.#deps.timeoutMs, () => failed(`${late} in time`));
    socket.on("error", error).on("close", closed);
    this.#signal.addEventListener("abort", aborted);
    if (this.#signal.aborted) aborted();
    else run(resolve, failed);
    return promise.finally(() => {
      cancel();
      socket.off("error", error).off("close", closed);
      this.#signal.removeEventListener("abort", aborted);
    });
  }
}

function unfit({ version, headers, tlsRequired }: ServerInfo, tls: boolean): string | undefined {
  if (!isServerTaken(version)) {
    const named = version === "" ? "an unknown version" : version.slice(0, 32);
    return `is nats-server ${named}, older than ${leastServerVersion}: update it`;
  }
  if (!headers) return "takes no headers: turn them on";
  return tlsRequired && !tls ? "wants TLS: write its URL as tls://" : undefined;
}

const ignore = () => undefined;

class StepFailed extends Error {}

/** Why a step failed. Throws what is no step's failure. */
function stepProblem(error: unknown): string {
  if (error instanceof StepFailed) return error.message;
  throw error;
}

/** Reads one line, and nothing behind it: what is there before TLS is not the server's word. */
function readInfo(socket: Socket, found: (info: ServerInfo) => void): void {
  const first = new FirstLine(longestInfo);
  const read = (chunk: Buffer) => {
    const got = first.push(chunk);
    if (got === undefined) return;
    socket.off("data", read).pause();
    const text = got === "too_long" || got.rest.length > 0 ? "" : got.line.toString("utf8");
    const info = text.startsWith("INFO {") ? parseServerInfo(text.slice(5)) : undefined;
    if (info === undefined) socket.destroy();
    else found(info);
  };
  socket.on("data", read);
}

function connectLines(wishes: UpstreamWishes, pass: UpstreamPass): Buffer {
  const writer = new OpWriter();
  writer.connect(
    JSON.stringify({
      verbose: false,
      pedantic: false,
      tls_required: false,
      auth_token: pass.ticket,
      ...(pass.proxySignature === "" ? {} : { proxy_sig: pass.proxySignature }),
      name: wishes.label.replace(/[^ -~]/g, "?"),
      lang: "wayleave",
      version: "1",
      protocol: 1,
      echo: wishes.echo,
      headers: true,
      no_responders: wishes.noResponders,
    }),
  );
  writer.ping();
  return writer.take();
}

/** The server's answer to CONNECT, and then the reader of everything it says. */
class Answer {
  info: ServerInfo;
  #ops: ServerOps | undefined;
  readonly #reader: ServerReader;
  #socket: Socket | undefined;
  #found: (() => void) | undefined;
  #failed: ((why: string) => void) | undefined;

  constructor(info: ServerInfo) {
    this.info = info;
    const outOfOrder = () => this.#failed?.("sent a message before it was asked for one");
    this.#reader = new ServerReader(
      {
        info: (json) => {
          if (this.#ops !== undefined) return this.#ops.info(json);
          this.info = parseServerInfo(json, this.info) ?? this.info;
        },
        message: (op) => (this.#ops === undefined ? outOfOrder() : this.#ops.message(op)),
        ok: () => this.#ops?.ok(),
        error: (text) => (this.#ops === undefined ? this.#failed?.(refusalOf(text)) : this.#ops.error(text)),
        ping: () => (this.#ops === undefined ? this.#socket?.write("PONG\r\n") : this.#ops.ping()),
        pong: () => (this.#ops === undefined ? this.#found?.() : this.#ops.pong()),
        violation: (violation) =>
          this.#ops === undefined ? this.#failed?.(violation.detail) : this.#ops.violation(violation),
      },
      anyMessage,
    );
  }

  read(socket: Socket, found: () => void, failed: (why: string) => void): void {
    const read = (chunk: Buffer) => this.#reader.push(chunk);
    this.#socket = socket;
    this.#failed = (why) => {
      this.#reader.stop();
      failed(why);
    };
    this.#found = () => {
      this.#found = undefined;
      this.#failed = undefined; // what it says now, its end will say
      socket.off("data", read).pause();
      found();
    };
    socket.on("data", read);
    socket.resume();
  }

  listen(ops: ServerOps): ServerReader {
    this.#ops = ops;
    return this.#reader;
  }
}

/** The server never says why it refuses: its callout's reason is in its log alone. */
function refusalOf(text: string): string {
  if (/^authorization violation/i.test(text)) {
    return "refused the gateway's ticket: its auth callout is away, slow or of another key; its log says why";
  }
  if (/^authentication timeout/i.test(text)) return "waited too long for its auth callout";
  return `refused the connection: ${text.slice(0, 200)}`;
}

function unreachable(problem: string): WayleaveError {
  return new WayleaveError("broker_unreachable", problem);
}
