import { join } from "node:path";
import type { ProblemResponse } from "../api/contract.ts";
import { errorCodes, WayleaveError } from "../core/errors.ts";
import { configPath, type Input } from "./command.ts";
import type { CommandIo } from "./command-io.ts";

/** A running broker as its operator talks to it: HTTP over the Unix socket in its data folder. */
export interface Operator {
  get<T>(path: string): Promise<T>;
  post<T>(path: string, body: unknown): Promise<T>;
  /** Lines of a stream as they arrive, until the signal aborts or the broker closes it; `opened` is called before the first. */
  lines(path: string, signal: AbortSignal, opened: () => void): AsyncGenerator<string>;
  close(): Promise<void>;
}

/** Throws `broker_unreachable` where no broker of this configuration runs, or the socket is not ours to open. */
export async function connectOperator(io: Pick<CommandIo, "env">, input: Input): Promise<Operator> {
  const { locateConfig } = await import("../config/locate.ts");
  const { Agent, request } = await import("undici");
  const { dataDir, file } = locateConfig(configPath(io, input));
  const socketPath = join(dataDir, "admin.sock");
  const agent = new Agent({ allowH2: false, connect: { socketPath }, bodyTimeout: 0 });

  const send = async (method: "GET" | "POST", path: string, body?: unknown, signal?: AbortSignal) => {
    const content =
      body === undefined ? {} : { body: JSON.stringify(body), headers: { "content-type": "application/json" } };
    return request(`http://wayleave${path}`, {
      dispatcher: agent,
      method,
      ...content,
      ...(signal === undefined ? {} : { signal }),
    }).catch((cause: unknown) => {
      throw unreachable(socketPath, file, cause);
    });
  };
  const ask = async <T>(method: "GET" | "POST", path: string, body?: unknown): Promise<T> => {
    const response = await send(method, path, body);
    const text = await response.body.text();
    if (response.statusCode >= 300) throw refused(response.statusCode, text);
    return JSON.parse(text) as T;
  };
  return {
    get: (path) => ask("GET", path),
    post: (path, body) => ask("POST", path, body),
    async *lines(path, signal, opened) {
      const response = await send("GET", path, undefined, signal);
      if (response.statusCode >= 300) throw refused(response.statusCode, await response.body.text());
      opened();
      yield* linesOf(response.body, signal);
    },
    close: () => agent.destroy(),
  };
}

async function* linesOf(body: AsyncIterable<Buffer>, signal: AbortSignal): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let rest = "";
  try {
    for await (const chunk of body) {
      const parts = (rest + decoder.decode(chunk, { stream: true })).split("\n");
      rest = parts.pop() ?? "";
      yield* parts.filter((line) => line !== "");
    }
  } catch (error) {
    if (!signal.aborted)
      throw new WayleaveError("broker_unreachable", "The broker closed the stream; it stopped or restarted.", {
        cause: error,
      });
  }
}

function unreachable(socketPath: string, file: string, cause: unknown): WayleaveError {
  const { code } = cause as NodeJS.ErrnoException;
  const why =
    code === "EACCES"
      ? "may be opened by another user only; run this as the user that runs the broker"
      : `has nobody behind it; start the broker with \`wayleave serve --config ${file}\``;
  return new WayleaveError("broker_unreachable", `The socket ${socketPath} ${why}.`, { cause });
}

function refused(status: number, text: string): WayleaveError {
  let body: Partial<ProblemResponse> = {};
  try {
    body = JSON.parse(text) as Partial<ProblemResponse>;
  } catch {
    // not a problem document: told by its status
  }
  const code = errorCodes.find((known) => known === body.code) ?? "internal";
  return new WayleaveError(code, body.detail ?? `The broker answered HTTP ${status}; see its log.`);
}

/** Query string of the options that were given; empty text for none. */
export function queryOf(values: Readonly<Record<string, string | undefined>>): string {
  const given = Object.entries(values).filter((entry): entry is [string, string] => entry[1] !== undefined);
  return given.length === 0 ? "" : `?${new URLSearchParams(given).toString()}`;
}
