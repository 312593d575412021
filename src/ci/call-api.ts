import { readBounded } from "./read-bounded.ts";

/** A CI's answer, whatever its status. */
export interface ApiReply {
  readonly status: number;
  /** Parsed JSON; undefined where there is none. */
  readonly body: unknown;
  /** ms until it may be asked again, where it says so or is out of requests. */
  readonly waitMs?: number;
  /** True where the answer is one page of several. */
  readonly more: boolean;
}

export interface CallApiOptions {
  readonly baseUrl: string;
  readonly fetch: typeof fetch;
  readonly timeoutMs: number;
  /** ms since the epoch. */
  now(): number;
}

export interface ApiCall {
  readonly method: "GET" | "POST";
  /** Below the API's base, encoded. */
  readonly path: string;
  /** Credential headers; never shown. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: unknown;
}

const maxBodyBytes = 8 * 1024 * 1024;

/**
 * Calls a CI's API; undefined where there is no whole answer: nobody there, too slow, cut off or too long. Never rejects.
 * Redirects are answers like others and are not followed, so that a credential goes nowhere else.
 */
export type CallApi = (call: ApiCall) => Promise<ApiReply | undefined>;

export function createCallApi(options: CallApiOptions): CallApi {
  const base = options.baseUrl.replace(/\/+$/, "");
  return async ({ method, path, headers, body }) => {
    try {
      const response = await options.fetch(`${base}${path}`, {
        method,
        redirect: "manual",
        headers: {
          accept: "application/json",
          ...(body === undefined ? {} : { "content-type": "application/json" }),
          ...headers,
        },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        signal: AbortSignal.timeout(options.timeoutMs),
      });
      const text = await readBounded(response, maxBodyBytes);
      const waitMs = waitOf(response, options.now());
      return {
        status: response.status,
        body: parse(text),
        ...(waitMs === undefined ? {} : { waitMs }),
        more: hasMore(response.headers),
      };
    } catch {
      return undefined; // an error can quote a header, and nobody needs to know which failure it was
    }
  };
}

/** Where a CI limits without saying for how long: its limits are by the minute. */
const defaultWaitMs = 60_000;

/**
 * `Retry-After` in seconds or as a date; else, for 429, `RateLimit-Reset`, which GitLab sends as seconds since the epoch and
 * Buildkite as seconds from now.
 */
function waitOf({ status, headers }: Response, now: number): number | undefined {
  const after = headers.get("retry-after") ?? "";
  if (/^\d{1,7}$/.test(after)) return Number(after) * 1000;
  const date = after === "" ? Number.NaN : Date.parse(after);
  if (!Number.isNaN(date)) return Math.max(0, date - now);
  if (status !== 429) return undefined;
  const reset = headers.get("ratelimit-reset") ?? "";
  if (!/^\d{1,12}$/.test(reset)) return defaultWaitMs;
  const seconds = Number(reset);
  const waitMs = seconds > 1_000_000_000 ? seconds * 1000 - now : seconds * 1000;
  return waitMs > 0 ? waitMs : defaultWaitMs;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // a proxy's page, or nothing: judged by its status
  }
}

function hasMore(headers: Headers): boolean {
  return (headers.get("x-next-page") ?? "") !== "" || /\brel="?next"?/.test(headers.get("link") ?? "");
}

/**
 * What an answer that started nothing means. 429 and 401 (a credential that somebody renews) may be asked again; other 4xx
 * would be refused again; everything else says nothing about what happened behind it.
 */
export function withoutPipeline(
  ci: string,
  reply: ApiReply | undefined,
): { readonly kind: "refused" | "later" | "unknown"; readonly afterMs?: number; readonly detail: string } {
  if (reply === undefined) return { kind: "unknown", detail: `${ci}'s API gave no whole answer.` };
  const { status, waitMs } = reply;
  const asked = waitMs === undefined ? {} : { afterMs: waitMs };
  if (status === 429) return { kind: "later", ...asked, detail: `${ci} limits our requests (429).` };
  if (status === 401)
    return {
      kind: "later",
      ...asked,
      detail: `${ci} refused our credential (401). Renew the token in issuers[].start.`,
    };
  if (status >= 400 && status < 500 && status !== 408)
    return { kind: "refused", detail: `${ci} refused the start (${status}${reasonOf(reply.body)}).` };
  return { kind: "unknown", ...asked, detail: `${ci}'s API answered ${status}.` };
}

/** The CI's own words, as far as they are plain and short: `: Reference not found`. */
function reasonOf(body: unknown): string {
  const found = wordsIn(body, 0).slice(0, 2).join("; ").slice(0, 200);
  return found === "" ? "" : `: ${found}`;
}

function wordsIn(value: unknown, depth: number): readonly string[] {
  if (typeof value === "string") return /^[\w .,:;'()/-]{1,150}$/.test(value) ? [value] : [];
  if (typeof value !== "object" || value === null || depth > 3) return [];
  const parts = Array.isArray(value)
    ? value
    : ["message", "error", "base", "errors"].map((name) => (value as Record<string, unknown>)[name]);
  return parts.flatMap((part) => wordsIn(part, depth + 1));
}
