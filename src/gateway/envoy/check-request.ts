import type { HttpOperation } from "../../core/target.ts";
import { ambiguousHop, ambiguousHost, ambiguousMethod, hostOf } from "../request-ambiguity.ts";
import { type Kind, kind } from "./check-header-kind.ts";

/** The client's request as Envoy will send it on, in one reading. */
export interface ClientRequest {
  readonly operation: HttpOperation;
  readonly authorization: string | undefined;
  /** The client's `DPoP`. */
  readonly proof: string | undefined;
  /** The client's `Txn-Token`. */
  readonly assertion: string | undefined;
  readonly traceparent: string | undefined;
  readonly ambiguity: string | undefined;
  /** Look-alikes that came, by the name they came under: the upstream must not see them. */
  readonly twins: readonly string[];
  /** The client reads gRPC: a refusal's text becomes its `grpc-message`. */
  readonly grpc: boolean;
}

/** The request line as Envoy tells it. */
export interface RequestLine {
  readonly method: string;
  /** `:authority`, with a port where it had one. */
  readonly authority: string;
  /** Raw, with the query. */
  readonly path: string;
}

/** What is kept of the headers while they are read, one after the other, each line for itself. */
export interface HeaderReading {
  /** By kind; the first value of each. */
  readonly values: (string | undefined)[];
  readonly twins: string[];
  readonly once: string[];
  grpc: boolean;
  ambiguity: string | undefined;
}

export function startReading(): HeaderReading {
  return { values: [], twins: [], once: [], grpc: false, ambiguity: undefined };
}

/** Reads one header line that is not `plain`. */
export function readHeader(reading: HeaderReading, found: Kind, name: string, value: string): void {
  if (found === kind.twin) reading.twins.push(name.toLowerCase());
  else if (found === kind.contentType) reading.grpc ||= /(?:^|,)[\t ]*application\/grpc/i.test(value);
  else if (found >= kind.forwarded) readOnce(reading, name);
  else if (reading.values[found] === undefined) reading.values[found] = value;
  else if (found === kind.traceparent)
    reading.values[found] = ""; // two say nothing
  else reading.ambiguity ??= `more than one ${name.toLowerCase()} header`;
}

function readOnce(reading: HeaderReading, name: string): void {
  const lower = name.toLowerCase();
  if (reading.once.includes(lower)) reading.ambiguity ??= `more than one ${lower} header`;
  reading.once.push(lower);
}

/**
 * The request of a line and its headers. A gRPC call cannot be told from a gRPC stream before its end, so every one is a
 * stream (design §6: off unless the operation says `stream: true`).
 */
export function clientRequest({ method, authority, path }: RequestLine, reading: HeaderReading): ClientRequest {
  const { values, twins, grpc } = reading;
  const upgrade = values[kind.upgrade];
  const host = hostOf(authority);
  const query = path.indexOf("?");
  const traceparent = values[kind.traceparent];
  return {
    operation: {
      kind: "http",
      method,
      host,
      path: query === -1 ? path : path.slice(0, query),
      stream: grpc || (upgrade !== undefined && upgrade.toLowerCase() === "websocket"),
    },
    authorization: values[kind.authorization],
    proof: values[kind.proof],
    assertion: values[kind.assertion],
    traceparent: traceparent === "" ? undefined : traceparent,
    ambiguity:
      reading.ambiguity ??
      ambiguousCredential(values[kind.authorization]) ??
      ambiguousMethod(method) ??
      ambiguousHop(values[kind.connection], upgrade) ??
      ambiguousHost(host, authority, values[kind.host]),
    twins,
    grpc,
  };
}

/** Envoy joins the lines of this header before anybody sees them; no token has a comma (RFC 6750 §2.1). */
function ambiguousCredential(authorization: string | undefined): string | undefined {
  const joined = authorization?.includes(",") && /\b(?:bearer|dpop)\s/i.test(authorization);
  return joined ? "more than one authorization header" : undefined;
}
