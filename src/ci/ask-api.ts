import { z } from "zod";
import { WayleaveError } from "../core/errors.ts";
import { readBounded } from "./read-bounded.ts";

/** A usable answer of a CI's REST API. */
export interface ApiAnswer {
  /** False for 404, whose body may still say why. */
  readonly found: boolean;
  /** Parsed JSON; undefined for a 404 without any. */
  readonly body: unknown;
  /** True where the answer is one page of several. */
  readonly more: boolean;
}

/** GET below the API's base; `path` starts with `/` and is already encoded. */
export type AskApi = (path: string) => Promise<ApiAnswer>;

export interface AskApiOptions {
  /** For messages: `GitLab`. */
  readonly ci: string;
  readonly baseUrl: string;
  /** Credential headers; never shown. */
  readonly headers: Readonly<Record<string, string>>;
  /** What the credential must be allowed to do: `read_api`. */
  readonly scope: string;
  readonly fetch: typeof fetch;
  readonly timeoutMs: number;
}

const maxBodyBytes = 8 * 1024 * 1024;

/**
 * Asks a CI's API. Rejects `ci_api_unreachable` for everything but 200 and 404: no answer, redirect, refused token,
 * rate limit, fault, a body too long or not JSON. No error holds the token or the answer's body.
 */
export function createAskApi(options: AskApiOptions): AskApi {
  const base = options.baseUrl.replace(/\/+$/, "");
  return async (path) => {
    const signal = AbortSignal.timeout(options.timeoutMs);
    try {
      const response = await options.fetch(`${base}${path}`, {
        redirect: "manual",
        headers: { accept: "application/json", ...options.headers },
        signal,
      });
      if (response.status !== 200 && response.status !== 404) {
        await response.body?.cancel();
        throw apiUnreachable(options.ci, statusProblem(response, options));
      }
      const text = await readBounded(response, maxBodyBytes);
      return { found: response.status === 200, body: parse(text, response, options.ci), more: hasMore(response) };
    } catch (error) {
      if (error instanceof WayleaveError) throw error;
      if (error instanceof RangeError) {
        throw apiUnreachable(options.ci, `answered more than ${maxBodyBytes} bytes. Check api.url`);
      }
      // No cause is kept: an error about a header can quote the header.
      const problem = signal.aborted
        ? `gave no answer within ${options.timeoutMs} ms`
        : `cannot be reached${code(error)}`;
      throw apiUnreachable(options.ci, `${problem}. Check api.url, ca_file and the network`);
    }
  };
}

/** The body as the schema reads it, or `ci_api_unreachable`: an answer we cannot read is no answer. */
export function readAnswer<Value>(schema: z.ZodType<Value>, body: unknown, ci: string, what: string): Value {
  const read = schema.safeParse(body);
  if (read.success) return read.data;
  const at = read.error.issues[0]?.path.map(String).join(".") ?? "";
  throw apiUnreachable(ci, `answered something that is no ${what} (at "${at.slice(0, 80)}"). Check api.url`);
}

export function apiUnreachable(ci: string, problem: string): WayleaveError {
  return new WayleaveError("ci_api_unreachable", `${ci}'s API ${problem}.`);
}

function statusProblem(response: Response, { scope }: AskApiOptions): string {
  const { status } = response;
  if (status === 401 || status === 403) return `refused our token (${status}). Give issuers[].api one with ${scope}`;
  if (status === 429) {
    const after = response.headers.get("retry-after") ?? "";
    const wait = /^\d{1,6}$/.test(after) ? `for ${after} s (Retry-After)` : "for a while";
    return `asks us to wait ${wait} (429). Raise its rate limit for this token`;
  }
  if (status >= 300 && status < 400) return `answered with a redirect (${status}). Set api.url to where it leads`;
  return `answered ${status}. Try again, and look into its log`;
}

function parse(text: string, response: Response, ci: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    if (response.status === 404) return undefined;
    throw apiUnreachable(ci, "answered something that is not JSON. Check api.url");
  }
}

function hasMore({ headers }: Response): boolean {
  return (headers.get("x-next-page") ?? "") !== "" || /\brel="?next"?/.test(headers.get("link") ?? "");
}

/** `: ECONNREFUSED` where the failure has such a code; nothing else of it is shown. */
function code(error: unknown): string {
  const read = z
    .object({ cause: z.object({ code: z.string().regex(/^[A-Z0-9_]{1,60}$/) }) })
    .safeParse(error instanceof Error ? { cause: error.cause } : undefined);
  return read.success ? `: ${read.data.cause.code}` : "";
}
