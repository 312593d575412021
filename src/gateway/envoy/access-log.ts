import type { JsonObject, JsonValue } from "@bufbuild/protobuf";
import {
  cleanPath,
  cleanText,
  type EvidenceGateway,
  given,
  jsonObject,
  type LoggedRequest,
  maxText,
  type ReadLine,
  secondsNumber,
  statusNumber,
} from "../evidence.ts";
import { tokenMetadata } from "./token-metadata.ts";

/** What Envoy tells of one request, by the access log service or in a file. */
export interface EnvoyEntry {
  /** ms since the epoch. */
  readonly at: number | undefined;
  readonly method: unknown;
  readonly host: unknown;
  readonly path: unknown;
  readonly status: unknown;
  /** `%RESPONSE_CODE_DETAILS%`. */
  readonly details: unknown;
  /** URI SAN of the verified client certificate. */
  readonly peer: unknown;
  readonly seconds: unknown;
  readonly traceparent: unknown;
  /** Name of the route that took it. */
  readonly route: unknown;
  /** Dynamic metadata by filter. */
  readonly authz: unknown;
  readonly jwt: unknown;
}

/** Filters whose dynamic metadata says who asked and what was decided. */
export const metadataNamespaces = {
  authz: "envoy.filters.http.ext_authz",
  jwt: "envoy.filters.http.jwt_authn",
} as const;

/** The `json_format` of a file access log that `readEnvoyLine` reads, beside `gateway` with the gateway's name. */
export const envoyLogFormat: Readonly<Record<string, string>> = {
  time: "%START_TIME(%s.%3f)%",
  method: "%REQ(:METHOD)%",
  host: "%REQ(:AUTHORITY)%",
  path: "%PATH(NQ:PATH)%",
  status: "%RESPONSE_CODE%",
  details: "%RESPONSE_CODE_DETAILS%",
  peer: "%DOWNSTREAM_PEER_URI_SAN%",
  milliseconds: "%DURATION%",
  traceparent: "%REQ(TRACEPARENT)%",
  route: "%ROUTE_NAME%",
  authz: `%DYNAMIC_METADATA(${metadataNamespaces.authz})%`,
  // Claim by claim: the whole payload would cost a third of a native decision.
  session: claim("sid"),
  subject: claim("sub"),
  roles: claim("roles"),
  policy: claim("pol"),
  transaction: claim("txn"),
};

function claim(name: string): string {
  return `%DYNAMIC_METADATA(${metadataNamespaces.jwt}:${tokenMetadata.payload}:${name})%`;
}

/** One line of an Envoy's JSON log in the format above. Never throws. */
export function readEnvoyLine(line: string, gateway: EvidenceGateway): ReadLine {
  const said = jsonObject(line);
  if (said === undefined) return "not_json";
  if (said.gateway !== gateway.name) return "other_gateway";
  const { milliseconds, time } = said;
  return readEnvoyEntry(
    {
      at: typeof time === "string" && /^\d{1,11}\.\d{3}$/.test(time) ? Math.round(Number(time) * 1000) : undefined,
      method: said.method,
      host: said.host,
      path: said.path,
      status: said.status,
      details: said.details,
      peer: said.peer,
      seconds: typeof milliseconds === "number" ? milliseconds / 1000 : undefined,
      traceparent: said.traceparent,
      route: said.route,
      authz: said.authz,
      jwt: said.jwt ?? {
        [tokenMetadata.payload]: given({
          sid: said.session ?? undefined,
          sub: said.subject ?? undefined,
          roles: said.roles ?? undefined,
          pol: said.policy ?? undefined,
          txn: said.transaction ?? undefined,
        }),
      },
    },
    gateway,
  );
}

/** One entry as evidence. The verified token's payload or the decision's metadata say who asked; nothing else is believed. */
export function readEnvoyEntry(entry: EnvoyEntry, gateway: EvidenceGateway): ReadLine {
  const method = cleanText(entry.method, maxText.method);
  const path = cleanPath(entry.path);
  const status = statusNumber(entry.status);
  if (entry.at === undefined || method === undefined || path === undefined || status === undefined) return "incomplete";
  const authz = objectOf(entry.authz);
  const payload = payloadOf(entry.jwt);
  const details = cleanText(entry.details);
  const asked = cleanText(authz?.decision) !== undefined;
  return {
    at: entry.at,
    method,
    host: cleanText(entry.host, maxText.host) ?? "",
    path,
    status,
    ...given({
      ...whoSays(payload),
      ...(asked && authz !== undefined ? calledOut(authz) : decidedAlone(payload, details)),
      target: cleanText(authz?.target) ?? targetOf(entry.route, gateway),
      trace: traceOf(entry.traceparent) ?? cleanText(authz?.trace),
      peer: cleanText(entry.peer, maxText.path)?.split(",")[0],
      upstreamStatus: details === "via_upstream" && status > 0 ? status : undefined,
      seconds: secondsNumber(entry.seconds),
    }),
  };
}

/** What the broker told, as the filter keeps it. It knows more than the token: its word goes first. */
function calledOut(authz: JsonObject): Partial<LoggedRequest> {
  return given({
    enforced: "call_out" as const,
    decision: cleanText(authz.decision),
    reason: cleanText(authz.reason),
    decisionRecord: cleanText(authz.record),
    session: cleanText(authz.session),
    subject: cleanText(authz.sub),
    role: cleanText(authz.role),
    policy: cleanText(authz.policy),
  });
}

/** A verified access token or assertion. An assertion's transaction is the decision of the gateway in front. */
function whoSays(payload: JsonObject | undefined): Partial<LoggedRequest> {
  if (payload === undefined) return {};
  const roles = Array.isArray(payload.roles) ? payload.roles : [];
  return given({
    session: cleanText(payload.sid),
    subject: cleanText(payload.sub),
    // With several roles the token does not say which one allowed it.
    role: roles.length === 1 ? cleanText(roles[0]) : undefined,
    policy: cleanText(payload.pol),
    decisionRecord: cleanText(payload.txn),
  });
}

/** How Envoy says that one of its own filters refused (`response_code_details`). */
const refusals: readonly (readonly [
  prefix: string,
  enforced: "native" | "call_out",
  decision: string,
  reason: string,
])[] = [
  ["rbac_access_denied", "native", "deny", "no_role"],
  ["jwt_authn_access_denied", "native", "deny", "credential_invalid"],
  ["ext_authz_denied", "call_out", "deny", "denied"],
  ["ext_authz_error", "call_out", "outage", "outage"],
];

/** Names of the rendered refusals, as reasons. */
const refusalReasons: Readonly<Record<string, string>> = {
  session_ended: "session_ended",
  token_revoked: "credential_revoked",
  key_not_live: "credential_invalid",
  refusals_stale: "outage",
  several_tokens: "ambiguous_request",
};

function decidedAlone(payload: JsonObject | undefined, details: string | undefined): Partial<LoggedRequest> {
  const refusal = refusals.find(([prefix]) => details?.startsWith(prefix));
  if (refusal === undefined) return payload === undefined ? {} : { enforced: "native", decision: "allow" };
  const [, enforced, decision, reason] = refusal;
  const name = /^rbac_access_denied_matched_policy\[([^\]]+)\]/.exec(details ?? "")?.[1] ?? "";
  return {
    enforced,
    decision,
    reason: Object.hasOwn(refusalReasons, name) ? (refusalReasons[name] ?? reason) : reason,
  };
}

/** The filter keeps each provider's payload under a name of its own; one with a session is ours. */
function payloadOf(jwt: unknown): JsonObject | undefined {
  const all = Object.values(objectOf(jwt) ?? {}).map(objectOf);
  const ours = all.filter((payload) => typeof payload?.sid === "string");
  return ours.find((payload) => payload?.txn !== undefined) ?? ours[0];
}

function objectOf(value: unknown): JsonObject | undefined {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return undefined;
  return value as Record<string, JsonValue>;
}

/** Routes are named after their target. */
function targetOf(route: unknown, { targets }: EvidenceGateway): string | undefined {
  const name = cleanText(route);
  const found = targets.find((target) => name === target || name?.startsWith(`${target}/`));
  return found ?? (targets.length === 1 ? targets[0] : undefined);
}

function traceOf(traceparent: unknown): string | undefined {
  return /^00-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}$/.exec(typeof traceparent === "string" ? traceparent : "")?.[1];
}
