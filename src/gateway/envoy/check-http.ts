import { headerText } from "../answer-fields.ts";
import type { GatewayGuard } from "../gateway-guard.ts";
import { type Refusal, refusalVerdict, type Verdict } from "./check-answer.ts";
import { type CheckDeps, decide, type EnvoyGateway, refuse } from "./check-gateway.ts";
import { kind, kindOf } from "./check-header-kind.ts";
import { clientRequest, type HeaderReading, readHeader, startReading } from "./check-request.ts";

/** A question as it arrives: Node's `rawHeaders` (name, value, name, …); `url` begins with the path of the endpoint. */
export interface HttpCheck {
  readonly method: string;
  readonly url: string;
  readonly rawHeaders: readonly string[];
}

export interface HttpCheckReply {
  readonly status: number;
  readonly headers: readonly (readonly [string, string])[];
  /** Only of a denial. */
  readonly body?: string;
}

/** Where the broker serves it; the target and the request's own path follow. */
const endpoint = "/authz/envoy/";

/**
 * Answers the HTTP variant of ext_authz: the request's own method, `path_prefix` `/authz/envoy/<target>` before its own path,
 * its headers as `allowed_headers` lets them through (all of them, as rendered), and the gateway's proof in `headers_to_add`.
 * What `allowed_headers` holds back can be neither refused nor removed here. Synchronous whenever the decision point is;
 * never throws and never rejects.
 */
export function createHttpCheck(
  deps: CheckDeps,
  guard: GatewayGuard<EnvoyGateway>,
): (question: HttpCheck) => HttpCheckReply | Promise<HttpCheckReply> {
  return (question) => {
    try {
      const verdict = ask(deps, guard, question);
      return verdict instanceof Promise ? verdict.then(reply) : reply(verdict);
    } catch {
      return reply(refusalVerdict({ reason: "outage", detail: "the check failed" }));
    }
  };
}

function ask(
  deps: CheckDeps,
  guard: GatewayGuard<EnvoyGateway>,
  { method, url, rawHeaders }: HttpCheck,
): Verdict | Promise<Verdict> {
  const trusted: Trusted = { values: [], repeated: false };
  const reading = readHeaders(rawHeaders, trusted);
  const [name, secret, named] = trusted.values;
  const gateway = guard(name, secret);
  if (gateway === undefined || trusted.repeated) {
    const detail = trusted.repeated ? "a header of the gateway's arrived twice" : "unknown gateway or wrong secret";
    return refuse(deps, { reason: "gateway_unauthenticated", detail });
  }
  const invalid = (detail: string): Refusal => ({ reason: "invalid_request", detail, gateway: gateway.name });
  const slash = url.indexOf("/", endpoint.length);
  if (!url.startsWith(endpoint) || slash === -1) {
    return refuse(deps, invalid("the path has no target before the request's own; render the configuration again"));
  }
  const target = url.slice(endpoint.length, slash);
  if (named !== undefined && named !== target) return refuse(deps, invalid("path and header name different targets"));
  const line = { method, authority: reading.values[kind.host] ?? "", path: url.slice(slash) };
  return decide(deps, { gateway, target, principal: undefined, request: clientRequest(line, reading) });
}

/** What the gateway says of itself: name, secret, target. */
interface Trusted {
  readonly values: (string | undefined)[];
  repeated: boolean;
}

function readHeaders(rawHeaders: readonly string[], trusted: Trusted): HeaderReading {
  const reading = startReading();
  for (let at = 0; at + 1 < rawHeaders.length; at += 2) {
    const name = rawHeaders[at] as string;
    const value = rawHeaders[at + 1] as string;
    const found = kindOf(name);
    if (found === kind.plain) continue;
    if (found < kind.gateway) readHeader(reading, found, name, value);
    else if (trusted.values[found - kind.gateway] === undefined) trusted.values[found - kind.gateway] = value;
    else trusted.repeated = true;
  }
  return reading;
}

function reply(verdict: Verdict): HttpCheckReply {
  if (!verdict.through) {
    const headers = [...verdict.headers, ["content-length", String(Buffer.byteLength(verdict.body))] as const];
    return { status: verdict.status, headers: [...headers, ...identity(verdict)], body: verdict.body };
  }
  return {
    status: 200,
    headers: [
      ...verdict.headers,
      ["content-length", "0"],
      ["x-wayleave-reason", verdict.metadata.reason ?? ""],
      ["x-envoy-auth-headers-to-remove", verdict.remove.join(",")],
    ],
  };
}

/** Who was refused, for `dynamic_metadata_from_headers`; the client sees only what `allowed_client_headers` lists. */
function identity({ metadata }: Verdict): (readonly [string, string])[] {
  return ["session", "job", "role"].flatMap((name) => {
    const value = metadata[name];
    return value === undefined ? [] : [[`x-wayleave-${name}`, headerText(value)] as const];
  });
}
