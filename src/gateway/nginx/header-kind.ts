import { rememberNames } from "../header-memo.ts";
import { forwardedHeaders, identityHeaders, originalHeaders, overrideHeaders } from "./header-names.ts";

/**
 * What a header means to the dialect. Numbers, because each header of each question is looked up; ordered: the trusted ones,
 * then those of the client whose value is read (below `once`), then what only matters by being there.
 */
export const kind = {
  /** Says nothing about identity or about which request it is. */
  plain: 0,
  /** Set by the rendered auth location, once each. */
  gateway: 1,
  secret: 2,
  target: 3,
  method: 4,
  host: 5,
  uri: 6,
  connection: 7,
  upgrade: 8,
  /** The client's, at most once. */
  authorization: 9,
  traceparent: 10,
  proof: 11,
  /** The client's; harmless alone since the location strips or overwrites it, ambiguous when repeated. */
  once: 12,
  /** A look-alike of a protected name: NGINX drops such names unless its configuration was loosened. */
  twin: 13,
  /** `X-Wayleave-…` that the rendered auth location does not know, and so did not strip. */
  foreign: 14,
} as const;
export type Kind = (typeof kind)[keyof typeof kind];

const named: ReadonlyMap<string, Kind> = new Map<string, Kind>([
  ...[...overrideHeaders, ...forwardedHeaders, ...originalHeaders, ...identityHeaders, "Host"].map(
    (name) => [name.toLowerCase(), kind.once] as const,
  ),
  ["x-wayleave-gateway", kind.gateway],
  ["x-wayleave-gateway-secret", kind.secret],
  ["x-wayleave-target", kind.target],
  ["x-original-method", kind.method],
  ["x-original-host", kind.host],
  ["x-original-uri", kind.uri],
  ["x-original-connection", kind.connection],
  ["x-original-upgrade", kind.upgrade],
  ["authorization", kind.authorization],
  ["traceparent", kind.traceparent],
  ["dpop", kind.proof],
]);

/** The kind of a header by its name in any case. */
export const kindOf = rememberNames(classify);

/** Servers that make variables of headers turn every other separator into `_`; so look-alikes are compared without them. */
function classify(name: string): Kind {
  const exact = named.get(name);
  if (exact !== undefined) return exact;
  const plainName = name.replace(/[^a-z0-9]/g, "-");
  if (plainName.startsWith("x-wayleave-")) return plainName === name ? kind.foreign : kind.twin;
  return named.has(plainName) ? kind.twin : kind.plain;
}
