import { rememberNames } from "../header-memo.ts";
import { identityHeaders, overrideHeaders } from "../stripped-headers.ts";

/** What a client's header means to the check. Ordered: those whose first value is read come first (up to `upgrade`). */
export const kind = {
  /** Says nothing about identity or about which request it is. */
  plain: 0,
  authorization: 1,
  traceparent: 2,
  assertion: 3,
  connection: 4,
  upgrade: 5,
  host: 6,
  contentType: 7,
  proof: 8,
  /** Says what a proxy in front saw; ambiguous when repeated. */
  forwarded: 9,
  /** Ours, or changes the request's own method or URL: must not go on, and ambiguous when repeated. */
  stripped: 10,
  /** A look-alike of those: must not go on. */
  twin: 11,
  /** Of the HTTP question alone: set by the gateway's configuration, once each. Over gRPC a client's own, and stripped. */
  gateway: 12,
  secret: 13,
  target: 14,
} as const;
export type Kind = (typeof kind)[keyof typeof kind];

/** What other proxies say of the original request, by which frameworks change their idea of it. */
const originalHeaders = [
  "x-original-method",
  "x-original-host",
  "x-original-uri",
  "x-forwarded-uri",
  "x-forwarded-method",
  "x-forwarded-prefix",
] as const;

/** Names that never reach an upstream but as we set them. */
export const strippedNames: readonly string[] = [...identityHeaders, ...overrideHeaders, ...originalHeaders];

const named: ReadonlyMap<string, Kind> = new Map<string, Kind>([
  ...strippedNames.map((name) => [name, kind.stripped] as const),
  ["authorization", kind.authorization],
  ["traceparent", kind.traceparent],
  ["txn-token", kind.assertion],
  ["connection", kind.connection],
  ["upgrade", kind.upgrade],
  ["host", kind.host],
  ["content-type", kind.contentType],
  ["dpop", kind.proof],
  ["x-forwarded-host", kind.forwarded],
  ["x-forwarded-port", kind.forwarded],
  ["x-forwarded-proto", kind.forwarded],
  ["x-wayleave-gateway", kind.gateway],
  ["x-wayleave-gateway-secret", kind.secret],
  ["x-wayleave-target", kind.target],
]);

/** The kind of a header by its name in any case. */
export const kindOf = rememberNames(classify);

/** Servers that make variables of headers turn every other separator into `_`; so look-alikes are compared without them. */
function classify(name: string): Kind {
  const exact = named.get(name);
  if (exact !== undefined) return exact;
  const plainName = name.replace(/[^a-z0-9]/g, "-");
  if (plainName.startsWith("x-wayleave-")) return kind.twin;
  const meant = named.get(plainName);
  if (meant === undefined || plainName === name) return kind.plain;
  return meant === kind.stripped || meant === kind.assertion || meant === kind.forwarded ? kind.twin : kind.plain;
}
