import type { HttpOperation } from "../../core/target.ts";
import { ambiguousHop, ambiguousHost, ambiguousMethod, hostOf } from "../request-ambiguity.ts";
import { type FieldRules, fieldKind } from "./header-rules.ts";

/** A request's head as the parser gave it. */
export interface RawHead {
  readonly method: string;
  /** Raw request target. */
  readonly url: string;
  /** `:authority`, or the first `Host`. */
  readonly authority: string;
  /** Names and values in turn; HTTP/2's pseudo-headers may be among them. */
  readonly rawHeaders: readonly string[];
  /** As the request line says it; absent for HTTP/2. */
  readonly version?: string;
  /** What makes it two requests in one, where somebody saw that before. */
  readonly ambiguity?: string;
}

/** A request in one reading. */
export interface RequestHead {
  readonly operation: HttpOperation;
  /** As it came, with its query: what goes on. */
  readonly url: string;
  readonly authority: string;
  readonly credential: string | undefined;
  /** The client's `DPoP`. */
  readonly proof: string | undefined;
  readonly traceparent: string | undefined;
  readonly ambiguity: string | undefined;
  readonly websocket: boolean;
  readonly grpc: boolean;
  readonly contentLength: number | undefined;
  /** Says that a body follows, of whatever length. */
  readonly framed: boolean;
  /** Names and values in turn that may go on as they came. */
  readonly fields: readonly string[];
}

/** What is kept while headers are read, one after the other. */
interface Reading {
  readonly fields: string[];
  readonly stripped: string[];
  credential: string | undefined;
  credentialName: string;
  proof: string | undefined;
  traceparent: string | undefined;
  connection: string | undefined;
  upgrade: string | undefined;
  host: string | undefined;
  contentLength: string | undefined;
  transferEncoding: boolean;
  grpc: boolean;
  cookie: string;
  ambiguity: string | undefined;
}

/** Reads a request strictly: whatever could be read in two ways is said in `ambiguity`. Never throws. */
export function readHead(raw: RawHead, rules: FieldRules): RequestHead {
  const { method, url, authority, rawHeaders, version } = raw;
  const reading = readFields(rawHeaders, rules);
  const { connection, upgrade, contentLength } = reading;
  const query = url.indexOf("?");
  const host = hostOf(authority);
  const length = contentLength === undefined ? undefined : Number(contentLength);
  const websocket = upgrade !== undefined && upgrade.toLowerCase() === "websocket";
  return {
    operation: {
      kind: "http",
      method,
      host,
      path: query === -1 ? url : url.slice(0, query),
      stream: websocket,
    },
    url,
    authority,
    credential: reading.credential,
    proof: reading.proof,
    traceparent: reading.traceparent === "" ? undefined : reading.traceparent,
    ambiguity:
      raw.ambiguity ??
      reading.ambiguity ??
      (version === undefined || /^1\.[01]$/.test(version) ? undefined : "a version that HTTP/1 has not") ??
      ambiguousMethod(method) ??
      ambiguousHop(connection, upgrade) ??
      ambiguousHost(host, authority, reading.host) ??
      ambiguousBody(reading, websocket, method),
    websocket,
    grpc: reading.grpc,
    contentLength: length,
    framed: reading.transferEncoding || (length !== undefined && length > 0),
    fields: reading.cookie === "" ? reading.fields : [...reading.fields, "cookie", reading.cookie],
  };
}

/** The head of a `CONNECT`: who asks. Where the connection leads is no part of it. */
export function readConnect(
  rawHeaders: readonly string[],
  rules: FieldRules,
): Pick<RequestHead, "credential" | "traceparent" | "ambiguity"> {
  const reading = readFields(rawHeaders, rules);
  const framed = reading.transferEncoding || reading.contentLength !== undefined;
  return {
    credential: reading.credential,
    traceparent: reading.traceparent === "" ? undefined : reading.traceparent,
    ambiguity:
      reading.ambiguity ??
      (reading.upgrade === undefined ? undefined : "a connection is not upgraded") ??
      ambiguousHop(reading.connection, undefined) ??
      (framed ? "CONNECT has no body" : undefined),
  };
}

function readFields(rawHeaders: readonly string[], rules: FieldRules): Reading {
  const reading: Reading = {
    fields: [],
    stripped: [],
    credential: undefined,
    credentialName: "",
    proof: undefined,
    traceparent: undefined,
    connection: undefined,
    upgrade: undefined,
    host: undefined,
    contentLength: undefined,
    transferEncoding: false,
    grpc: false,
    cookie: "",
    ambiguity: undefined,
  };
  for (let at = 0; at + 1 < rawHeaders.length; at += 2) {
    const name = rawHeaders[at] as string;
    if (name.charCodeAt(0) === 0x3a) continue; // a pseudo-header
    const value = rawHeaders[at + 1] as string;
    const kind = rules(name);
    if (kind === fieldKind.plain) reading.fields.push(name, value);
    else if (kind !== fieldKind.dropped) special[kind](reading, value, name);
  }
  return reading;
}

type Special = Exclude<(typeof fieldKind)[keyof typeof fieldKind], 0 | 12>;

const special: Readonly<Record<Special, (reading: Reading, value: string, name: string) => void>> = {
  [fieldKind.credential](reading, value, name) {
    if (reading.credential !== undefined) twice(reading, name);
    else reading.credential = value;
    // Proxies in front join lines; no token has a comma (RFC 6750 §2.1).
    if (value.includes(",") && /\b(?:bearer|dpop)\s/i.test(value)) twice(reading, name);
  },
  [fieldKind.proof](reading, value, name) {
    if (reading.proof !== undefined) twice(reading, name);
    reading.proof = value;
  },
  [fieldKind.traceparent](reading, value) {
    reading.traceparent = reading.traceparent === undefined ? value : ""; // two say nothing
  },
  [fieldKind.connection](reading, value) {
    reading.connection = reading.connection === undefined ? value : `${reading.connection},${value}`;
  },
  [fieldKind.upgrade](reading, value, name) {
    if (reading.upgrade !== undefined) twice(reading, name);
    reading.upgrade = value;
  },
  [fieldKind.host](reading, value, name) {
    if (reading.host !== undefined) twice(reading, name);
    reading.host = value;
  },
  [fieldKind.contentLength](reading, value, name) {
    if (reading.contentLength !== undefined) twice(reading, name);
    if (!/^\d{1,15}$/.test(value)) reading.ambiguity ??= "the length of the body is no number";
    reading.contentLength = value;
    reading.fields.push("content-length", value);
  },
  [fieldKind.contentType](reading, value, name) {
    reading.grpc ||= /^application\/grpc(?:[+;]|$)/i.test(value);
    reading.fields.push(name, value);
  },
  [fieldKind.cookie](reading, value) {
    reading.cookie = reading.cookie === "" ? value : `${reading.cookie}; ${value}`; // RFC 9113 §8.2.3
  },
  [fieldKind.transferEncoding](reading, value, name) {
    if (reading.transferEncoding) twice(reading, name);
    if (value.toLowerCase() !== "chunked") reading.ambiguity ??= "the body comes in a coding that is not chunked";
    reading.transferEncoding = true;
  },
  [fieldKind.stripped](reading, _value, name) {
    const lower = name.toLowerCase();
    if (reading.stripped.includes(lower)) twice(reading, lower);
    reading.stripped.push(lower);
  },
};

function twice(reading: Reading, name: string): void {
  reading.ambiguity ??= `more than one ${name.toLowerCase()} header`;
}

function ambiguousBody(reading: Reading, websocket: boolean, method: string): string | undefined {
  const { contentLength, transferEncoding } = reading;
  if (transferEncoding && contentLength !== undefined) return "both Content-Length and Transfer-Encoding";
  if (!websocket) return undefined;
  if (method !== "GET") return "a WebSocket is opened with GET";
  return transferEncoding || contentLength !== undefined ? "a WebSocket is opened without a body" : undefined;
}
