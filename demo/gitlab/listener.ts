import { createServer as createHttpServer, type IncomingMessage, type ServerResponse } from "node:http";
import { createServer as createHttpsServer } from "node:https";
import type { AddressInfo } from "node:net";

export interface ListenOptions {
  /** PEM key and certificate chain to serve HTTPS with; plain HTTP when absent. */
  readonly tls?: { readonly key: string; readonly cert: string };
  /** Address to bind. Default `127.0.0.1`. */
  readonly host?: string;
  /** Port to bind. Default 0: any free one. */
  readonly port?: number;
}

export interface Request {
  readonly method: string;
  /** The path as it was sent, still percent-encoded. */
  readonly path: string;
  readonly query: URLSearchParams;
  /** One value per header, lower-case names. */
  readonly headers: Readonly<Record<string, string | undefined>>;
  readonly body: string;
}

export interface Answer {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  /** A string is sent as plain text, anything else as JSON. */
  readonly body: unknown;
}

/** `bad_gateway` answers every request with 502; `dropped` closes every connection without an answer. */
export type Outage = "bad_gateway" | "dropped";

export interface RequestLine {
  readonly method: string;
  readonly path: string;
  readonly status: number;
}

export interface Listener {
  /** Scheme, host and port, without a path. */
  readonly origin: string;
  /** The latest 10,000 requests, oldest first. An outage shows as status 502, or 0 where there was no answer. */
  readonly requests: readonly RequestLine[];
  /** Takes the server away from the next request on, or brings it back with `undefined`. */
  setOutage(outage: Outage | undefined): void;
  close(): Promise<void>;
}

const kept = 10_000;

/** Serves `answer` over HTTP or HTTPS. Whatever `answer` throws becomes 500 and is shown nowhere. */
export async function listen(
  options: ListenOptions,
  answer: (request: Request) => Answer | Promise<Answer>,
): Promise<Listener> {
  let outage: Outage | undefined;
  const requests: RequestLine[] = [];
  const onRequest = async (message: IncomingMessage, response: ServerResponse) => {
    const request = await read(message).catch(() => undefined);
    if (!request) return void message.socket.destroy();
    const reply = outage ? badGateway : await safely(answer, request);
    const status = outage === "dropped" ? 0 : reply.status;
    requests.push({ method: request.method, path: request.path, status });
    if (requests.length > kept) requests.shift();
    if (status === 0) message.socket.destroy();
    else send(response, reply);
  };
  const server = options.tls ? createHttpsServer(options.tls, onRequest) : createHttpServer(onRequest);
  const host = options.host ?? "127.0.0.1";
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(options.port ?? 0, host, resolve);
  });
  const { port } = server.address() as AddressInfo;
  return {
    origin: `${options.tls ? "https" : "http"}://${host}:${port}`,
    requests,
    setOutage: (next) => {
      outage = next;
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

const badGateway: Answer = { status: 502, headers: { "content-type": "text/html" }, body: "<h1>502 Bad Gateway</h1>" };
const serverError: Answer = { status: 500, body: { message: "500 Internal Server Error" } };

async function safely(answer: (request: Request) => Answer | Promise<Answer>, request: Request): Promise<Answer> {
  try {
    return await answer(request);
  } catch {
    return serverError; // as the real one: the cause is for its own log
  }
}

async function read(message: IncomingMessage): Promise<Request> {
  const chunks: Buffer[] = [];
  for await (const chunk of message) chunks.push(chunk as Buffer);
  const target = message.url ?? "/";
  const mark = target.indexOf("?");
  return {
    method: message.method ?? "GET",
    path: mark < 0 ? target : target.slice(0, mark),
    query: new URLSearchParams(mark < 0 ? "" : target.slice(mark + 1)),
    headers: Object.fromEntries(Object.entries(message.headers).map(([name, value]) => [name, String(value)])),
    body: Buffer.concat(chunks).toString(),
  };
}

function send(response: ServerResponse, { status, headers, body }: Answer): void {
  const text = typeof body === "string";
  response.writeHead(status, { "content-type": text ? "text/plain; charset=utf-8" : "application/json", ...headers });
  response.end(text ? body : JSON.stringify(body));
}
