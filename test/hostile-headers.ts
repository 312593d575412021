import { bytes, cases, close, good, type HostileRequest, host, plain, withField } from "./hostile-request.ts";

export const credentialCases: readonly HostileRequest[] = cases(
  "credential",
  "refused",
  [
    ...[
      "",
      "Authorization:",
      "Authorization: Bearer",
      "Authorization: Bearer ",
      "Authorization: Bearer bad",
      "Authorization: good",
    ],
    ...[
      "Authorization: Basic Z29vZA==",
      "Authorization: Bearer bad, Bearer good",
      "Authorization: Bearer bad\nAuthorization: Bearer good",
    ],
    ...[
      "Authorization: Bearer good\nAuthorization: Bearer bad",
      "Proxy-Authorization: Bearer good",
      "Authorization_: Bearer good",
    ],
    ...[
      "Cookie: Authorization=Bearer good",
      "X-Authorization: Bearer good",
      "authorization : Bearer good",
      "Authorization\t: Bearer good",
    ],
    ...[
      "X-Wayleave-Subject: spoofed\nX-Wayleave-Decision: allow",
      "X-Wayleave-Gateway-Secret: spoofed\nX-Wayleave-Gateway: spoofed",
    ],
    ...[
      "Authorization: Bearer good x",
      "X-Original-URI: /public\nX-Original-Method: GET",
      "Authorization: Bearer\tgood",
    ],
  ],
  (fields) => bytes("GET /v1/a HTTP/1.1", [host, close, ...fields.split("\n").filter(Boolean)]),
  undefined,
);

const identityNames = [
  ...[
    "X-Wayleave-Subject",
    "X-Wayleave-Session",
    "X-Wayleave-Job",
    "X-Wayleave-Role",
    "X-Wayleave-Decision",
    "X-Wayleave-Record",
  ],
  ...["X-Wayleave-Authorization", "X-Wayleave-Target", "X-Wayleave-Gateway", "X-Wayleave-Gateway-Secret", "Txn-Token"],
];
const spelled = [
  ...new Set(
    identityNames.flatMap((name) => [
      name,
      name.toLowerCase(),
      name.replaceAll("-", "_"),
      name.replace("-", "_"),
      name.replaceAll("-", "."),
      name.replace(/-(?=[^-]*$)/, "."),
    ]),
  ),
];
export const identityCases: readonly HostileRequest[] = [
  ...cases("identity header", "either", spelled, (name) => withField(`${name}: spoofed`)),
  ...cases("identity header twice", "either", identityNames, (name) => withField(`${name}: spoofed\n${name}: spoofed`)),
  ...cases(
    "identity header oddly written",
    "either",
    [
      "X-Wayleave-Subject : spoofed",
      "X-Wayleave-Subject\t: spoofed",
      " X-Wayleave-Subject: spoofed",
      "X-Wayleave-Subject:\u000bspoofed",
      "X~Wayleave~Subject: spoofed",
      "X-A: b\n X-Wayleave-Subject: spoofed",
      "X-A: b\u0000\nX-Wayleave-Subject: spoofed",
      "X-Wayleave-Subject;: spoofed",
      "\u0000X-Wayleave-Subject: spoofed",
    ],
    withField,
  ),
];

export const overrideCases: readonly HostileRequest[] = [
  ...cases(
    "override",
    "either",
    [
      ...[
        "X-HTTP-Method-Override: DELETE",
        "X-HTTP-Method: DELETE",
        "X-Method-Override: DELETE",
        "X_HTTP_Method_Override: DELETE",
      ],
      ...[
        "X.HTTP.Method.Override: DELETE",
        "X-Original-URL: /admin",
        "X-Rewrite-URL: /admin",
        "X_Original_URL: /admin",
        "X.Rewrite.URL: /admin",
      ],
      ...[
        "X-Original-URI: /admin",
        "X-Forwarded-Uri: /admin",
        "X-Forwarded-Prefix: /admin",
        "X-Forwarded-Method: DELETE",
        "X-Forwarded-Host: other.internal",
      ],
      ...[
        "X_Forwarded_Host: other.internal",
        "X.Forwarded.Host: other.internal",
        "Forwarded: host=other.internal",
        "X-Original-Host: other.internal",
      ],
    ],
    withField,
  ),
  ...cases(
    "override twice",
    "refused",
    [
      "X-HTTP-Method-Override",
      "X-Original-URL",
      "X-Rewrite-URL",
      "X-Forwarded-Uri",
      "X-Forwarded-Method",
      "X-Forwarded-Host",
      "X-Forwarded-Proto",
      "X-Forwarded-Port",
      "X-Forwarded-Prefix",
    ],
    (name) => withField(`${name}: a\n${name.toLowerCase()}: b`),
  ),
  ...cases(
    "question forged",
    "either",
    ["X-Original-URI: /v1/a", "X-Original-Method: GET", "X-Wayleave-Target: spoofed"],
    (field) => bytes("GET /admin HTTP/1.1", [...plain, field]),
  ),
];

export const hopCases: readonly HostileRequest[] = [
  ...cases(
    "hop-by-hop",
    "refused",
    [
      ...[
        "Connection: X-Wayleave-Subject",
        "Connection: keep-alive, Authorization",
        "Connection: close, X-Wayleave-Decision",
      ],
      ...[
        "Connection: Host",
        "Connection: close, X-Original-URI",
        "Connection: foo",
        "Connection: close\nConnection: Txn-Token",
      ],
      ...[
        "Connection: Content-Length",
        "Connection: upgrade, http2-settings\nUpgrade: h2c\nHTTP2-Settings: AAMAAABk",
        "Connection: upgrade\nUpgrade: h2c",
      ],
      ...[
        "Connection: upgrade\nUpgrade: websocket, h2c",
        "Connection: upgrade\nUpgrade: TLS/1.0",
        "Upgrade: websocket",
        "Connection: upgrade\nUpgrade: websocket",
      ],
      ...["Connection: close;X-Wayleave-Subject", "Connection: upgrade\nUpgrade: WebSocket\nSec-WebSocket-Key: x"],
    ],
    (fields) => bytes("GET /v1/a HTTP/1.1", [host, good, ...fields.split("\n")]),
  ),
  ...cases(
    "hop-by-hop as usual",
    "either",
    [
      "Connection: close, TE\nTE: trailers",
      "Connection: Close",
      "Keep-Alive: 5\nConnection: keep-alive",
      "Proxy-Connection: X-Wayleave-Subject\nConnection: close",
      "TE: gzip\nConnection: close",
      "Trailer: X-Wayleave-Subject\nConnection: close",
    ],
    (fields) => bytes("GET /v1/a HTTP/1.1", [host, good, ...fields.split("\n")]),
  ),
];
