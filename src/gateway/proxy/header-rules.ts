import { rememberNames } from "../header-memo.ts";
import { identityHeaders, overrideHeaders } from "../stripped-headers.ts";

/** What a header of a request means to the proxy. */
export const fieldKind = {
  /** Goes on as it came. */
  plain: 0,
  credential: 1,
  traceparent: 2,
  connection: 3,
  upgrade: 4,
  host: 5,
  contentLength: 6,
  contentType: 7,
  cookie: 8,
  transferEncoding: 9,
  proof: 10,
  /** Ours to say, or by which a request would change its own method, URL or origin: goes no further, ambiguous when repeated. */
  stripped: 11,
  /** Of this connection, or a look-alike of something above: goes no further. */
  dropped: 12,
} as const;
export type FieldKind = (typeof fieldKind)[keyof typeof fieldKind];

/** What only a proxy may say of the request that it saw. */
const originHeaders = [
  "forwarded",
  "x-forwarded-by",
  "x-forwarded-for",
  "x-forwarded-host",
  "x-forwarded-method",
  "x-forwarded-port",
  "x-forwarded-prefix",
  "x-forwarded-proto",
  "x-forwarded-scheme",
  "x-forwarded-server",
  "x-forwarded-ssl",
  "x-forwarded-uri",
  "x-original-host",
  "x-original-method",
  "x-original-uri",
  "x-real-ip",
];

/** RFC 9110 §7.6.1, and what only looks like it; `expect` was answered before. */
export const hopHeaders: readonly string[] = [
  "expect",
  "http2-settings",
  "keep-alive",
  "proxy-authenticate",
  "proxy-authorization",
  "proxy-connection",
  "te",
  "trailer",
];

/** The kind of a header by its name in any case. */
export type FieldRules = (name: string) => FieldKind;

/** The rules of one target: which header its credential comes in, and which its service's own key goes in. */
export function createFieldRules(credentialHeader: string, upstreamAuthHeader: string | undefined): FieldRules {
  const known = new Map<string, FieldKind>([
    ...[...identityHeaders, ...overrideHeaders, ...originHeaders].map((name) => [name, fieldKind.stripped] as const),
    ...hopHeaders.map((name) => [name, fieldKind.dropped] as const),
    ["traceparent", fieldKind.traceparent],
    ["connection", fieldKind.connection],
    ["upgrade", fieldKind.upgrade],
    ["host", fieldKind.host],
    ["content-length", fieldKind.contentLength],
    ["content-type", fieldKind.contentType],
    ["cookie", fieldKind.cookie],
    ["transfer-encoding", fieldKind.transferEncoding],
  ]);
  known.set("dpop", fieldKind.proof);
  if (upstreamAuthHeader !== undefined) known.set(upstreamAuthHeader, fieldKind.stripped);
  known.set(credentialHeader, fieldKind.credential);
  // A service that makes variables of headers would take these for the real ones.
  const meant = new Set([...known.keys(), "authorization"]);
  return rememberNames((name): FieldKind => {
    const exact = known.get(name);
    if (exact !== undefined) return exact;
    const plainName = name.replace(/[^a-z0-9]/g, "-");
    if (plainName.startsWith("x-wayleave-")) return fieldKind.dropped;
    return plainName !== name && meant.has(plainName) ? fieldKind.dropped : fieldKind.plain;
  });
}
