import { type Dispatcher, request } from "undici";
import type { ProblemResponse } from "../api/contract.ts";
import { errorCodes, WayleaveError } from "../core/errors.ts";

export interface OperatorCall {
  readonly method: "GET" | "POST";
  readonly url: string;
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
}

/** One question to a broker, with its answer as JSON. Throws the broker's own error; `broker_unreachable` without an answer. */
export async function operatorRequest<T>(dispatcher: Dispatcher, call: OperatorCall): Promise<T> {
  const response = await operatorSend(dispatcher, call, (cause) => unanswered(call.url, cause));
  const text = await response.body.text();
  if (response.statusCode >= 300) throw refusedAs(response.statusCode, text);
  return (text === "" ? undefined : JSON.parse(text)) as T;
}

/** The answer with its body unread, whatever its status. */
export function operatorSend(
  dispatcher: Dispatcher,
  { method, url, body, headers, signal }: OperatorCall,
  failed: (cause: unknown) => WayleaveError,
): Promise<Dispatcher.ResponseData> {
  return request(url, {
    dispatcher,
    method,
    headers: { ...headers, ...(body === undefined ? {} : { "content-type": "application/json" }) },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    ...(signal === undefined ? {} : { signal }),
  }).catch((cause: unknown) => {
    throw failed(cause);
  });
}

/** What a broker's refusal says, as it was thrown there. */
export function refusedAs(status: number, text: string): WayleaveError {
  let body: Partial<ProblemResponse> = {};
  try {
    body = JSON.parse(text) as Partial<ProblemResponse>;
  } catch {
    // not a problem document: told by its status
  }
  const code = errorCodes.find((known) => known === body.code) ?? "internal";
  return new WayleaveError(code, body.detail ?? `The broker answered HTTP ${status}; see its log.`);
}

export function unanswered(url: string, cause: unknown): WayleaveError {
  const { code, name } = cause as NodeJS.ErrnoException;
  const { origin } = new URL(url);
  const detail = `The broker at ${origin} did not answer (${code ?? name}). Check the address, --ca-file and the network.`;
  return new WayleaveError("broker_unreachable", detail, { cause });
}
