import { bytes, cases, close, get, good, type HostileRequest, plain } from "./hostile-request.ts";

const line = (text: string) => bytes(text, plain);
export const lineCases: readonly HostileRequest[] = [
  ...cases(
    "method",
    "refused",
    [
      ...["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "TRACE", "CONNECT", "PROPFIND", "MKCOL", "PURGE"],
      ...["get", "Get", "GET_", "_GET", "G-T", "GET,POST", "GET\u00a0", "GETT", "G\u0000ET", "", "PRI"],
    ],
    (method) => line(`${method} /v1/a HTTP/1.1`),
  ),
  ...cases(
    "absolute form of its own host",
    "either",
    ["http://billing.internal/v1/a", "HTTP://BILLING.INTERNAL/v1/a"],
    get,
  ),
  ...cases(
    "absolute form",
    "refused",
    [
      ...["http://billing.internal/admin", "http://other.internal/v1/a", "http://billing.internal/v1/../admin"],
      ...["http://billing.internal?/v1/a", "http://billing.internal#/v1/a", "http://billing.internal", "http:///v1/a"],
      ...["http://x@billing.internal/v1/a", "http://billing.internal\\@other/v1/a", "ftp://billing.internal/admin"],
      ...["http://billing.internal//v1/a", "http://billing.internal/v1/%2e%2e/admin", "//billing.internal/v1/a"],
    ],
    get,
  ),
  ...cases(
    "request line",
    "refused",
    [
      ...["GET /v1/a", "GET /v1/a HTTP/0.9", "GET /v1/a HTTP/2.0", "GET /v1/a HTTP/1.1.1", "GET /v1/a FTP/1.1"],
      ...[
        "GET /v1/a HTTP/1.1 HTTP/1.1",
        "GET\t/v1/a\tHTTP/1.1",
        "GET /v1/a HTTP/1.1\u0000",
        "/v1/a",
        "GET /admin\nGET /v1/a HTTP/1.1",
      ],
    ],
    line,
  ),
  ...cases(
    "request line that servers forgive",
    "either",
    [
      "GET  /v1/a HTTP/1.1",
      "GET /v1/a HTTP/1.0",
      " GET /v1/a HTTP/1.1",
      "\r\nGET /v1/a HTTP/1.1",
      "GET /v1/a  HTTP/1.1",
    ],
    line,
  ),
];

export const hostCases: readonly HostileRequest[] = [
  ...cases(
    "host that is the same",
    "either",
    ["BILLING.internal", "billing.internal:80", "billing.internal.", "billing.internal "],
    (name) => bytes("GET /v1/a HTTP/1.1", [`Host: ${name}`, good, close]),
  ),
  ...cases(
    "host",
    "refused",
    [
      ...[
        "other.internal",
        "billing.internal.evil",
        "evil-billing.internal",
        "billing_internal",
        "billing.internal,other",
        "127.0.0.1",
      ],
      ...[
        "billing.internal/admin",
        "billing.internal@other",
        "other@billing.internal",
        "billing.internal#",
        "billing.internal?x",
        "billing..internal",
      ],
      ...[
        "[::1]",
        "[billing.internal]",
        "billing%2einternal",
        "billing.internal:80@other",
        "billing.internal\\",
        "*",
        "ledger.internal",
      ],
    ],
    (name) => bytes("GET /v1/a HTTP/1.1", [`Host: ${name}`, good, close]),
  ),
  ...cases(
    "hosts that differ",
    "refused",
    [
      "Host: other.internal\nHost: billing.internal",
      "Host: billing.internal\nHost: other.internal",
      "Host: billing.internal\nhost: billing.internal",
      "X-No-Host: 1",
    ],
    (fields) => bytes("GET /v1/a HTTP/1.1", [...fields.split("\n"), good, close]),
  ),
  ...cases("absolute form against the Host header", "refused", ["http://other.internal/v1/a"], get),
];
