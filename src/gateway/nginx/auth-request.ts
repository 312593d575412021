import { ambiguousHop, ambiguousMethod } from "../request-ambiguity.ts";
import type { Refusal } from "./auth-response.ts";
import { type Kind, kind, kindOf } from "./header-kind.ts";

/** The client's request as the authenticated part of the question tells it; the gateway itself is not yet authenticated. */
export interface Asked {
  readonly gateway: string;
  readonly secret: string;
  readonly target: string;
  readonly method: string;
  /** Lower case, no port. */
  readonly host: string;
  /** Raw, up to the first `?`. */
  readonly path: string;
  readonly stream: boolean;
  readonly authorization: string | undefined;
  /** The client's `DPoP`. */
  readonly proof: string | undefined;
  readonly traceparent: string | undefined;
  readonly ambiguity: string | undefined;
  /** An identity header reached us under a spelling that NGINX cannot remove. */
  readonly unstrippable: boolean;
}

/**
 * Reads one question in one pass. A trusted header that is missing or repeated refuses the question itself: nothing is
 * ever taken from elsewhere instead. What is ambiguous in the client's request is said in `ambiguity`.
 */
export function readHeaders(
  method: string | undefined,
  rawHeaders: readonly string[],
): Asked | { readonly refusal: Refusal } {
  if (method !== "GET") return refused("NGINX asks with GET");
  const reading: Reading = { values: [], ambiguity: undefined, unstrippable: false, problem: undefined };
  for (let at = 0; at + 1 < rawHeaders.length; at += 2) {
    const found = kindOf(rawHeaders[at] as string);
    if (found === kind.plain) continue;
    if (found < kind.once && reading.values[found] === undefined) reading.values[found] = rawHeaders[at + 1];
    else notice(reading, found, rawHeaders, at);
  }
  return reading.problem === undefined ? asked(reading) : refused(reading.problem);
}

interface Reading {
  /** By kind; the first value of each. */
  readonly values: (string | undefined)[];
  ambiguity: string | undefined;
  unstrippable: boolean;
  problem: string | undefined;
}

/** What is not the first line of a header that is read. */
function notice(reading: Reading, found: Kind, rawHeaders: readonly string[], at: number): void {
  if (found < kind.authorization) {
    reading.problem = "a header of the auth location arrived twice";
  } else if (found === kind.authorization) {
    reading.ambiguity ??= "more than one Authorization header";
  } else if (found === kind.proof) {
    reading.ambiguity ??= "more than one DPoP header";
  } else if (found === kind.traceparent) {
    reading.values[found] = ""; // two say nothing
  } else if (found === kind.once) {
    reading.ambiguity ??= repeated(rawHeaders, at);
  } else {
    reading.ambiguity ??= "a look-alike of an identity header, which NGINX was configured to let in";
    reading.unstrippable = true;
  }
}

function asked({ values, ambiguity, unstrippable }: Reading): Asked | { readonly refusal: Refusal } {
  const gateway = values[kind.gateway];
  const secret = values[kind.secret];
  const target = values[kind.target];
  const method = values[kind.method];
  const host = values[kind.host];
  const uri = values[kind.uri];
  if (!gateway || !secret || !target || !method || !host || !uri) {
    return refused("a header of the auth location is missing; render the includes again");
  }
  const upgrade = values[kind.upgrade];
  const connection = values[kind.connection];
  const query = uri.indexOf("?");
  const traceparent = values[kind.traceparent];
  return {
    gateway,
    secret,
    target,
    method,
    host: host.toLowerCase(),
    path: query === -1 ? uri : uri.slice(0, query),
    stream: upgrade !== undefined && upgrade.toLowerCase() === "websocket",
    authorization: values[kind.authorization],
    proof: values[kind.proof],
    traceparent: traceparent !== undefined && traceparentPattern.test(traceparent) ? traceparent : undefined,
    ambiguity: ambiguity ?? ambiguousMethod(method) ?? ambiguousHop(connection, upgrade),
    unstrippable,
  };
}

/** W3C Trace Context §3.2, version 00. */
const traceparentPattern = /^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/;

/** What is said of a header that may come once, when this is not its first line. */
function repeated(rawHeaders: readonly string[], at: number): string | undefined {
  const name = (rawHeaders[at] as string).toLowerCase();
  for (let before = 0; before < at; before += 2) {
    if ((rawHeaders[before] as string).toLowerCase() === name) return `more than one ${name} header`;
  }
  return undefined;
}

function refused(detail: string): { readonly refusal: Refusal } {
  return { refusal: { reason: "invalid_request", detail } };
}
