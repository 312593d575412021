import { Agent, request } from "undici";
import { errorCodes, WayleaveError } from "../core/errors.ts";

/** The broker, as a NATS gateway of its own process asks it. Rejects `broker_unreachable` for no answer, and with the broker's own code and words where it refuses. */
export interface BrokerLink {
  get<T>(path: NatsPath): Promise<T>;
  /** `body` is an object, or JSON text. */
  post<T>(path: NatsPath, body: object | string, timeoutMs?: number): Promise<T>;
  /** The lines of the feed as they come, until it breaks: it rejects, or just ends. */
  feed(signal: AbortSignal): AsyncGenerator<string>;
  close(): Promise<void>;
}

export type NatsPath = "settings" | "admissions" | "passes" | "records" | "kick" | "totals" | "feed";

/** A gateway as it proves itself to the broker. */
export interface LinkOptions {
  readonly name: string;
  readonly secret: string;
  /** Without final slash. The secret and jobs' credentials go there: the caller has seen that it is TLS, or loopback. */
  readonly brokerUrl: string;
  /** PEM certificates to trust beside the system's. */
  readonly ca?: readonly string[] | undefined;
}

const defaultTimeoutMs = 5_000;

/** The longest line of a feed: a snapshot. */
const maxLineBytes = 64 * 1024 * 1024;

export function createBrokerLink({ name, secret, brokerUrl, ca }: LinkOptions): BrokerLink {
  const dispatcher = new Agent({
    allowH2: false,
    // A feed says something every second.
    bodyTimeout: 10_000,
    headersTimeout: 30_000,
    connect: { timeout: 3_000, ...(ca === undefined ? {} : { ca: [...ca] }) },
  });
  const headers = { "x-wayleave-gateway": name, "x-wayleave-gateway-secret": secret };
  const unreachable = () =>
    // No cause is kept: an error about a header can quote the header.
    new WayleaveError("broker_unreachable", `the broker at ${brokerUrl} does not answer; try again`);
  const ask = async (path: NatsPath, body: string | undefined, signal: AbortSignal) => {
    const json = body === undefined ? {} : { "content-type": "application/json" };
    const method = body === undefined ? "GET" : "POST";
    try {
      return await request(`${brokerUrl}/v1/gateway/nats/${path}`, {
        dispatcher,
        method,
        headers: { ...headers, ...json },
        signal,
        ...(body === undefined ? {} : { body }),
      });
    } catch {
      throw unreachable();
    }
  };
  const call = async <T>(path: NatsPath, body: string | undefined, timeoutMs: number): Promise<T> => {
    const { statusCode, body: answer } = await ask(path, body, AbortSignal.timeout(timeoutMs));
    const text = await answer.text().catch(() => {
      throw unreachable();
    });
    if (statusCode === 200) return JSON.parse(text) as T;
    throw refusal(statusCode, text);
  };
  return {
    get: (path) => call(path, undefined, defaultTimeoutMs),
    post: (path, body, timeoutMs = defaultTimeoutMs) =>
      call(path, typeof body === "string" ? body : JSON.stringify(body), timeoutMs),
    async *feed(signal) {
      const { statusCode, body } = await ask("feed", undefined, signal);
      if (statusCode !== 200) throw refusal(statusCode, await body.text());
      body.setEncoding("utf8");
      let rest = "";
      for await (const piece of body as AsyncIterable<string>) {
        const lines = (rest + piece).split("\n");
        rest = lines.pop() ?? "";
        if (rest.length > maxLineBytes) throw unreachable();
        yield* lines;
      }
    },
    close: () => dispatcher.destroy(),
  };
}

function refusal(status: number, text: string): WayleaveError {
  let body: { readonly code?: unknown; readonly detail?: unknown } = {};
  try {
    body = JSON.parse(text) as typeof body;
  } catch {
    // not a problem document: told by its status
  }
  const code = errorCodes.find((known) => known === body.code);
  if (code !== undefined && typeof body.detail === "string") return new WayleaveError(code, body.detail);
  const detail = `the broker answered HTTP ${status}, which is none of its own answers; check its URL`;
  return new WayleaveError(status >= 500 ? "broker_unreachable" : "invalid_request", detail);
}
