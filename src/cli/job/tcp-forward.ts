import { once } from "node:events";
import { type AddressInfo, connect as connectTcp, createServer, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import type { ListedTarget } from "../../api/contract.ts";
import { asWayleaveError, WayleaveError } from "../../core/errors.ts";
import type { CommandIo } from "../command-io.ts";
import type { RefusedRequest } from "./refusals.ts";
import { gatewayUrl, variableName } from "./target-address.ts";

/** One tcp target as a command reaches it. */
export interface ForwardRoute {
  readonly name: string;
  /** `billing-db` → `BILLING_DB`. */
  readonly variable: string;
  /** Port on loopback; 0 takes a free one. */
  readonly port: number;
  /** The Wayleave proxy in front of the target: the one place the credential is sent to. */
  readonly gateway: URL;
}

/** `--forward db=5432`. Throws `invalid_request`. */
export function parseForwardOption(text: string): { readonly name: string; readonly port: number } {
  const [, name, port] = /^([a-z0-9][a-z0-9_-]*)=(\d{1,5})$/.exec(text) ?? [];
  if (name !== undefined && Number(port) <= 65_535) return { name, port: Number(port) };
  throw new WayleaveError("invalid_request", `--forward ${JSON.stringify(text)} is not understood. Write db=5432.`);
}

/**
 * Routes to the tcp targets of a token. The proxy's address comes from `--target` or from `WAYLEAVE_TARGET_<NAME>_URL`. Throws
 * `invalid_request` for a target without one, or that is no tcp target of this job's.
 */
export function forwardRoutes(
  io: Pick<CommandIo, "env">,
  targets: readonly ListedTarget[],
  asked: readonly { readonly name: string; readonly port: number }[],
  addresses: readonly { readonly name: string; readonly gateway?: string }[],
): readonly ForwardRoute[] {
  return asked.map(({ name, port }) => {
    if (!targets.some((target) => target.name === name && target.kind === "tcp")) {
      throw new WayleaveError(
        "invalid_request",
        `No role of this job names ${name} as a tcp target: leave --forward out.`,
      );
    }
    const variable = variableName(name);
    const address =
      addresses.find((entry) => entry.name === name)?.gateway ?? io.env[`WAYLEAVE_TARGET_${variable}_URL`];
    if (address === undefined) {
      throw new WayleaveError(
        "invalid_request",
        `Where is the proxy of ${name}? Add --target ${name}=https://proxy:8780, or set WAYLEAVE_TARGET_${variable}_URL.`,
      );
    }
    return { name, variable, port, gateway: gatewayUrl(name, address) };
  });
}

export interface ForwardOptions {
  readonly route: ForwardRoute;
  readonly ca: readonly string[] | undefined;
  /** A good access token. Throws when there is none. */
  token(): Promise<string>;
  /** The proxy refused a connection, and named the record. */
  onRefusal(record: string, request: RefusedRequest): void;
  /** No answer, from the broker or from the proxy. */
  onOutage(detail: string): void;
}

export interface Forward {
  /** `127.0.0.1:5432`. */
  readonly address: string;
  close(): Promise<void>;
}

/**
 * Listens on loopback for one tcp target, and leads each connection through the Wayleave proxy with the job's credential.
 * Whoever may connect to this machine's loopback can use it while the command runs.
 */
export async function forwardToTarget(options: ForwardOptions): Promise<Forward> {
  const { route } = options;
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true }, (local) => {
    sockets.add(local);
    local.on("error", () => undefined).once("close", () => sockets.delete(local));
    lead(options, local).catch((error: unknown) => {
      local.destroy();
      const { code } = error as NodeJS.ErrnoException;
      const known = asWayleaveError(error);
      const why = `${route.gateway.origin}, the proxy of ${route.name}, did not answer (${code ?? "connection failed"}).`;
      options.onOutage(known.code === "internal" ? why : known.message);
    });
  });
  try {
    await once(server.listen(route.port, "127.0.0.1"), "listening");
  } catch (cause) {
    const detail = `--forward ${route.name}=${route.port}: port ${route.port} cannot be had here. Choose another, or 0 for a free one.`;
    throw new WayleaveError("invalid_request", detail, { cause });
  }
  return {
    address: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    async close() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

async function lead(options: ForwardOptions, local: Socket): Promise<void> {
  const { route, onRefusal } = options;
  const proxy = await dial(options, await options.token());
  local.once("close", () => proxy.destroy());
  const { status, fields } = await readHead(proxy);
  if (status !== 200) {
    proxy.destroy();
    local.destroy();
    const record = fields.get("x-wayleave-record");
    const reason = fields.get("x-wayleave-reason") ?? "";
    const refused = fields.get("x-wayleave-decision") === "deny";
    if (refused && record) onRefusal(record, { target: route.name, operation: "connect", reason });
    else options.onOutage(`Target ${route.name} cannot be reached through ${route.gateway.origin} (${status}).`);
    return;
  }
  proxy.once("close", () => local.destroy());
  local.pipe(proxy).pipe(local);
}

async function dial({ route, ca }: ForwardOptions, token: string): Promise<Socket> {
  const { hostname, port, protocol } = route.gateway;
  const host = hostname.replace(/^\[|\]$/g, "");
  const at = { host, port: Number(port || (protocol === "https:" ? 443 : 80)), allowHalfOpen: true };
  const secure = protocol === "https:";
  const socket: Socket = secure
    ? connectTls({
        ...at,
        ...(/^[\d.]+$|:/.test(host) ? {} : { servername: host }),
        ALPNProtocols: ["http/1.1"],
        ...(ca === undefined ? {} : { ca: [...ca] }),
      })
    : connectTcp(at);
  await once(socket, secure ? "secureConnect" : "connect", { signal: AbortSignal.timeout(10_000) });
  socket.on("error", () => undefined); // told by close
  const authority = `${route.name}:1`; // the proxy looks at the name alone
  socket.write(`CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\nAuthorization: Bearer ${token}\r\n\r\n`);
  return socket;
}

/** Longer than the proxy takes to give up on a target. */
const answerMs = 90_000;
const maxHeadBytes = 16_384;

/** The head of the proxy's answer; what came behind it stays to be read. */
function readHead(socket: Socket): Promise<{ readonly status: number; readonly fields: ReadonlyMap<string, string> }> {
  return new Promise((resolve, reject) => {
    let head = Buffer.alloc(0);
    const stop = () => socket.off("data", take).off("end", closed).off("close", closed).setTimeout(0);
    const closed = () => {
      stop();
      reject(new Error("the proxy closed the connection"));
    };
    const take = (chunk: Buffer) => {
      head = Buffer.concat([head, chunk]);
      const end = head.indexOf("\r\n\r\n");
      if (end === -1 && head.length < maxHeadBytes) return;
      stop();
      socket.pause();
      if (end === -1) return reject(new Error("the proxy's answer has no end"));
      if (head.length > end + 4) socket.unshift(head.subarray(end + 4));
      const [line = "", ...lines] = head.toString("latin1", 0, end).split("\r\n");
      const fields = new Map(
        lines.map((text) => [text.slice(0, text.indexOf(":")).toLowerCase(), text.slice(text.indexOf(":") + 1).trim()]),
      );
      resolve({ status: Number(/^HTTP\/1\.1 (\d{3})\b/.exec(line)?.[1] ?? 0), fields });
    };
    socket.on("data", take).once("end", closed).once("close", closed);
    socket.setTimeout(answerMs, () => socket.destroy());
  });
}
