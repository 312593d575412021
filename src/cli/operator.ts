import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Agent } from "undici";
import { WayleaveError } from "../core/errors.ts";
import { configPath, type Input } from "./command.ts";
import type { CommandIo } from "./command-io.ts";

/** A running broker as its operator talks to it: HTTP over the Unix socket in its data folder, or to its public address as somebody signed in. */
export interface Operator {
  get<T>(path: string): Promise<T>;
  post<T>(path: string, body: unknown): Promise<T>;
  /** Lines of a stream as they arrive, until the signal aborts or the broker closes it; `opened` is called before the first. */
  lines(path: string, signal: AbortSignal, opened: () => void): AsyncGenerator<string>;
  close(): Promise<void>;
}

/**
 * The broker of this configuration by its socket, or the one that somebody signed in to: `--broker`, then what names a
 * configuration, then the latest sign-in. Throws `broker_unreachable` where no broker runs, or the socket is not ours to open.
 */
export async function connectOperator(io: Pick<CommandIo, "env" | "now">, input: Input): Promise<Operator> {
  const way = (await signedInWay(io, input)) ?? (await socketWay(io, input));
  const { agent } = way;
  const { operatorSend, refusedAs } = await import("./operator-request.ts");
  const send = (method: "GET" | "POST", path: string, body?: unknown, signal?: AbortSignal) =>
    operatorSend(
      agent,
      {
        method,
        url: way.base + path,
        headers: way.headers(method, path),
        ...(body === undefined ? {} : { body }),
        ...(signal === undefined ? {} : { signal }),
      },
      way.failed,
    );
  const ask = async <T>(method: "GET" | "POST", path: string, body?: unknown): Promise<T> => {
    const response = await send(method, path, body);
    const text = await response.body.text();
    if (response.statusCode >= 300) throw refusedAs(response.statusCode, text);
    return (text === "" ? undefined : JSON.parse(text)) as T;
  };
  return {
    get: (path) => ask("GET", path),
    post: (path, body) => ask("POST", path, body),
    async *lines(path, signal, opened) {
      const response = await send("GET", path, undefined, signal);
      if (response.statusCode >= 300) throw refusedAs(response.statusCode, await response.body.text());
      opened();
      yield* linesOf(response.body, signal);
    },
    close: () => agent.destroy(),
  };
}

/** How a broker is reached, and what shows who asks. */
interface Way {
  readonly agent: Agent;
  readonly base: string;
  headers(method: string, path: string): Readonly<Record<string, string>>;
  failed(cause: unknown): WayleaveError;
}

async function socketWay(io: Pick<CommandIo, "env">, input: Input): Promise<Way> {
  const { locateConfig } = await import("../config/locate.ts");
  const { Agent } = await import("undici");
  const { dataDir, file } = locateConfig(configPath(io, input));
  const socketPath = join(dataDir, "admin.sock");
  return {
    agent: new Agent({ allowH2: false, connect: { socketPath }, bodyTimeout: 0 }),
    base: "http://wayleave",
    headers: () => ({}),
    failed: (cause) => unreachable(socketPath, file, cause),
  };
}

/** Undefined where a configuration is at hand. */
async function signedInWay(io: Pick<CommandIo, "env" | "now">, input: Input): Promise<Way | undefined> {
  const named = input.text("broker");
  const local = input.text("config") !== undefined || !!io.env.WAYLEAVE_CONFIG || existsSync(configPath(io, input));
  if (named === undefined && local) return undefined;
  const { findSignIn } = await import("./sign-in-file.ts");
  const found = findSignIn(io, named ?? (io.env.WAYLEAVE_URL || undefined));
  if (found === undefined) {
    if (named !== undefined)
      throw new WayleaveError("sign_in_required", `Nobody is signed in to ${named} here: wayleave login ${named}`);
    throw new WayleaveError(
      "config_invalid",
      "There is no wayleave.yaml here, and nobody is signed in. Name the file with --config or WAYLEAVE_CONFIG, or run `wayleave login <url>`.",
    );
  }
  if (Date.parse(found.expiresAt) <= io.now()) {
    const detail = `The sign-in to ${found.brokerUrl} is over since ${found.expiresAt}: wayleave login ${found.brokerUrl}`;
    throw new WayleaveError("sign_in_required", detail);
  }
  const [{ Agent }, { unanswered }, { importProofKey }, { trustedCa }] = await Promise.all([
    import("undici"),
    import("./operator-request.ts"),
    import("./job/proof-key.ts"),
    import("./job/trust.ts"),
  ]);
  const ca = trustedCa(io, found.caFile);
  const key = importProofKey(found.key);
  const base = `${found.brokerUrl}/operator`;
  return {
    agent: new Agent({ allowH2: false, connect: ca === undefined ? {} : { ca }, bodyTimeout: 0 }),
    base,
    headers: (method, path) => ({
      authorization: `DPoP ${found.token}`,
      dpop: key.proof({ method, url: base + (path.split("?", 1)[0] ?? ""), nowMs: io.now(), token: found.token }),
    }),
    failed: (cause) => unanswered(base, cause),
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

/** Query string of the options that were given; empty text for none. */
export function queryOf(values: Readonly<Record<string, string | undefined>>): string {
  const given = Object.entries(values).filter((entry): entry is [string, string] => entry[1] !== undefined);
  return given.length === 0 ? "" : `?${new URLSearchParams(given).toString()}`;
}
