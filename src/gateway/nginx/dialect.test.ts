import { createHash } from "node:crypto";
import { describe, expect, test } from "vitest";
import type { Answer, DecisionPoint } from "../decision-point.ts";
import { fakeDecisionPoint } from "./decision-point.fake.ts";
import { createNginxDialect } from "./dialect.ts";

const secret = "s3cret-of-edge-1";
const hashOf = (text: string) => createHash("sha256").update(text).digest("hex");
const rights = [{ token: "good", target: "billing", hosts: ["billing.internal"], methods: ["GET"], prefix: ["v1"] }];
const gateways = [
  { name: "edge-1", secretHashes: [hashOf("the one before"), hashOf(secret)], targets: ["billing"] },
  { name: "edge-2", secretHashes: [hashOf("other")], targets: ["ledger"] },
];
const trusted: readonly (readonly [string, string])[] = [
  ["X-Wayleave-Gateway", "edge-1"],
  ["X-Wayleave-Gateway-Secret", secret],
  ["X-Wayleave-Target", "billing"],
  ["X-Original-Method", "GET"],
  ["X-Original-Host", "billing.internal"],
  ["X-Original-URI", "/v1/invoices?a=/../b"],
];

/** A question with some of the trusted headers replaced (`undefined`: left out) and the client's own added. */
function headers(
  replaced: Readonly<Record<string, string | undefined>> = {},
  client: readonly (readonly [string, string])[] = [["Authorization", "Bearer good"]],
): string[] {
  const kept = trusted.flatMap(([name, value]) => {
    const text = name in replaced ? replaced[name] : value;
    return text === undefined ? [] : [name, text];
  });
  const added = Object.entries(replaced).flatMap(([name, value]) =>
    value === undefined || trusted.some(([known]) => known === name) ? [] : [name, value],
  );
  return [...kept, ...added, ...client.flat()];
}

function ask(rawHeaders: string[], point: DecisionPoint = fakeDecisionPoint({ rights }), method = "GET") {
  const response = createNginxDialect({ gateways, decisionPoint: point })({ method, rawHeaders });
  if (response instanceof Promise) throw new TypeError("expected an answer, not a promise");
  return { status: response.status, ...Object.fromEntries(response.headers) } as Record<string, string | number>;
}

const answer: Answer = {
  outcome: "allow",
  reason: "allowed",
  record: "rec_000000000001",
  traceparent: "00-11111111111111111111111111111111-2222222222222222-01",
  cacheSeconds: 0,
  consumesAuthorization: true,
  unauthenticated: false,
};
const always = (partial: Partial<Answer>): DecisionPoint => ({ answer: () => ({ ...answer, ...partial }) });

test("an allowed request is answered at once, with who it is and no body", () => {
  expect(ask(headers())).toEqual({
    status: 200,
    "Content-Length": "0",
    "X-Accel-Expires": "0",
    "X-Wayleave-Decision": "allow",
    "X-Wayleave-Reason": "allowed",
    "X-Wayleave-Record": "rec_000000000001",
    "X-Wayleave-Traceparent": answer.traceparent,
    "X-Wayleave-Authorization": "strip",
    "X-Wayleave-Subject": "spiffe://acme.example/ci/gitlab/1042",
    "X-Wayleave-Session": "ses_8f2k8f2k8f2k8f2k",
    "X-Wayleave-Job": "acme/shop#7712",
    "X-Wayleave-Role": "read-billing",
  });
});

test("the question is the client's request, its path cut at the first question mark", () => {
  const point = fakeDecisionPoint({ rights });
  const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
  ask(
    headers({}, [
      ["authorization", "Bearer good"],
      ["traceparent", traceparent],
      ["DPoP", "a.b.c"],
    ]),
    point,
  );
  expect(point.asked).toEqual([
    {
      gateway: "edge-1",
      target: "billing",
      operation: { kind: "http", method: "GET", host: "billing.internal", path: "/v1/invoices", stream: false },
      authorization: "Bearer good",
      proof: "a.b.c",
      traceparent,
    },
  ]);
});

describe("a question nobody may ask is not put to the decision point", () => {
  const missing = trusted.map(([name]) => ({
    what: `${name} missing`,
    raw: headers({ [name]: undefined }),
    reason: "invalid_request",
  }));
  const twice = trusted.map(([name, value]) => ({
    what: `${name} twice`,
    raw: [...headers(), name.toLowerCase(), value],
    reason: "invalid_request",
  }));
  const empty = trusted.map(([name]) => ({
    what: `${name} empty`,
    raw: headers({ [name]: "" }),
    reason: "invalid_request",
  }));
  test.each([
    ...missing,
    ...twice,
    ...empty,
    { what: "nothing at all", raw: [], reason: "invalid_request" },
    {
      what: "a wrong secret",
      raw: headers({ "X-Wayleave-Gateway-Secret": "guess" }),
      reason: "gateway_unauthenticated",
    },
    {
      what: "another gateway's secret",
      raw: headers({ "X-Wayleave-Gateway-Secret": "other" }),
      reason: "gateway_unauthenticated",
    },
    {
      what: "the hash instead of the secret",
      raw: headers({ "X-Wayleave-Gateway-Secret": hashOf(secret) }),
      reason: "gateway_unauthenticated",
    },
    { what: "an unknown gateway", raw: headers({ "X-Wayleave-Gateway": "edge-9" }), reason: "gateway_unauthenticated" },
    {
      what: "a gateway named __proto__",
      raw: headers({ "X-Wayleave-Gateway": "__proto__" }),
      reason: "gateway_unauthenticated",
    },
    { what: "a target it does not front", raw: headers({ "X-Wayleave-Target": "ledger" }), reason: "target_unknown" },
    {
      what: "X-Original-Connection twice",
      raw: [...headers(), "X-Original-Connection", "close", "X-Original-Connection", "close"],
      reason: "invalid_request",
    },
  ])("$what: 403 $reason", ({ raw, reason }) => {
    const point = fakeDecisionPoint({ rights });
    expect(ask(raw, point)).toEqual({
      status: 403,
      "Content-Length": "0",
      "X-Accel-Expires": "0",
      "X-Wayleave-Decision": "deny",
      "X-Wayleave-Reason": reason,
    });
    expect(point.asked).toEqual([]);
  });

  test("POST is no question", () => {
    expect(ask(headers(), undefined, "POST")).toMatchObject({ status: 403, "X-Wayleave-Reason": "invalid_request" });
  });

  test("and the operator is told, without the secret", () => {
    const told: unknown[] = [];
    const dialect = createNginxDialect({
      gateways,
      decisionPoint: always({}),
      onRefused: (refusal) => told.push(refusal),
    });
    void dialect({ method: "GET", rawHeaders: headers({ "X-Wayleave-Gateway-Secret": "guess" }) });
    expect(told).toEqual([{ reason: "gateway_unauthenticated", detail: "unknown gateway or wrong secret" }]);
  });
});

describe("a request that can be read in two ways is refused as ambiguous", () => {
  const bearer = ["Authorization", "Bearer good"] as const;
  const once = [
    ...["DPoP", "X-Forwarded-Uri", "X-Forwarded-Method", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Prefix"],
    ...[
      "X-Forwarded-Port",
      "X-HTTP-Method-Override",
      "X-Method-Override",
      "X-Original-URL",
      "X-Rewrite-URL",
      "Txn-Token",
    ],
  ].map((name) => ({ what: `${name} twice`, raw: headers({}, [bearer, [name, "a"], [name.toLowerCase(), "a"]]) }));
  const twins = [
    ...[
      "X_Wayleave_Subject",
      "X.Wayleave.Subject",
      "X-Wayleave.Subject",
      "x~wayleave~session",
      "Txn_Token",
      "Txn.Token",
    ],
    ...[
      "X_Original_URI",
      "X.Original.Method",
      "X_HTTP_Method_Override",
      "X_Forwarded_Host",
      "X-Wayleave-Admin",
      "X-Wayleave_Future",
    ],
  ].map((name) => ({ what: `${name}, a look-alike`, raw: headers({}, [bearer, [name, "a"]]) }));
  test.each([
    ...once,
    ...twins,
    { what: "two Authorization", raw: headers({}, [bearer, bearer]) },
    ...["X-Wayleave-Subject", "keep-alive, Authorization", "close, x-original-uri", "", "http2-settings"].map(
      (value) => ({
        what: `Connection: ${value || "(empty)"}`,
        raw: headers({ "X-Original-Connection": value }),
      }),
    ),
    { what: "Upgrade: h2c", raw: headers({ "X-Original-Connection": "upgrade", "X-Original-Upgrade": "h2c" }) },
    {
      what: "two upgrades",
      raw: headers({ "X-Original-Connection": "upgrade", "X-Original-Upgrade": "websocket, h2c" }),
    },
    { what: "Upgrade alone", raw: headers({ "X-Original-Upgrade": "websocket" }) },
    ...["get", "Get", "GET/", "G-", "CONNECT", "TRACE", "GET\u00a0"].map((value) => ({
      what: `method ${value}`,
      raw: headers({ "X-Original-Method": value }),
    })),
  ])("$what", ({ raw }) => {
    expect(ask(raw)).toMatchObject({
      status: 403,
      "X-Wayleave-Decision": "deny",
      "X-Wayleave-Reason": "ambiguous_request",
    });
  });
});

test.each(["http://billing.internal/v1", "*", "v1/invoices", "/v1/../admin", "/v1;a/b", "/v1#x?y", "\\v1"])(
  "request target %s is refused by its path",
  (uri) => {
    expect(ask(headers({ "X-Original-URI": uri }))).toMatchObject({
      status: 403,
      "X-Wayleave-Reason": "ambiguous_path",
    });
  },
);

test.each([
  {
    what: "one identity header of the client, which the location strips",
    raw: headers({}, [
      ["Authorization", "Bearer good"],
      ["X-Wayleave-Subject", "me"],
    ]),
  },
  { what: "Connection: Keep-Alive, TE", raw: headers({ "X-Original-Connection": "Keep-Alive, TE" }) },
  { what: "a proxy that always says upgrade", raw: headers({ "X-Original-Connection": "upgrade" }) },
  { what: "an upper-case host", raw: headers({ "X-Original-Host": "Billing.Internal" }) },
])("$what is allowed", ({ raw }) => {
  expect(ask(raw)).toMatchObject({ status: 200, "X-Wayleave-Decision": "allow" });
});

test("Upgrade: WebSocket makes the operation a stream", () => {
  const point = fakeDecisionPoint({ rights });
  ask(headers({ "X-Original-Connection": "Upgrade", "X-Original-Upgrade": "WebSocket" }), point);
  expect(point.asked[0]?.operation).toMatchObject({ stream: true });
});

test("two traceparents say nothing, and an invalid one neither", () => {
  const valid = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
  const point = fakeDecisionPoint({ rights });
  ask(
    headers({}, [
      ["traceparent", valid],
      ["Traceparent", valid],
    ]),
    point,
  );
  ask(headers({}, [["traceparent", `${valid}\t`]]), point);
  expect(point.asked.map((question) => "traceparent" in question)).toEqual([false, false]);
});

test.each<{ what: string; point: DecisionPoint; status: number; expected: Readonly<Record<string, string>> }>([
  {
    what: "no token: 401 without an error code",
    point: always({ outcome: "deny", reason: "no_credential", unauthenticated: true }),
    status: 401,
    expected: { "WWW-Authenticate": 'Bearer realm="wayleave"' },
  },
  {
    what: "an expired token: 401 invalid_token",
    point: always({ outcome: "deny", reason: "credential_expired", unauthenticated: true }),
    status: 401,
    expected: {
      "WWW-Authenticate": `Bearer realm="wayleave", error="invalid_token", error_description="the access token's time is over; renew it"`,
    },
  },
  {
    what: "a used-up limit: 403 with Retry-After",
    point: always({ outcome: "deny", reason: "limit_exceeded", retryAfterSeconds: 12.2 }),
    status: 403,
    expected: { "X-Wayleave-Decision": "deny", "Retry-After": "13" },
  },
  {
    what: "an outage: 503 that says so, even where there was no token",
    point: always({ outcome: "deny", reason: "outage", unauthenticated: true }),
    status: 503,
    expected: { "X-Wayleave-Decision": "outage", "X-Wayleave-Reason": "outage" },
  },
  {
    what: "a decision point that throws: outage",
    point: {
      answer: () => {
        throw new Error("broken");
      },
    },
    status: 503,
    expected: { "X-Wayleave-Decision": "outage", "X-Wayleave-Reason": "outage" },
  },
  {
    what: "an assertion too large for NGINX: outage",
    point: always({ assertion: "a".repeat(4000) }),
    status: 503,
    expected: { "X-Wayleave-Decision": "outage", "X-Wayleave-Reason": "outage" },
  },
  {
    what: "an allow that may be kept: asked for anew each time, and stale only until a second before its time",
    point: always({ keepUntil: 1_795_290_641_900, cacheSeconds: 2 }),
    status: 200,
    expected: { "X-Accel-Expires": "@1", "Cache-Control": "stale-if-error=1795290639" },
  },
  {
    what: "a refusal where something may be kept: it takes that one's place, and is never stale",
    point: always({ outcome: "deny", reason: "session_ended", unauthenticated: true, keepUntil: 0 }),
    status: 401,
    expected: { "X-Accel-Expires": "@1", "Cache-Control": "stale-if-error=0" },
  },
  {
    what: "an allow that nothing is kept of: neither cached nor stale",
    point: always({ keepUntil: 0, cacheSeconds: 2 }),
    status: 200,
    expected: { "X-Accel-Expires": "@1", "Cache-Control": "stale-if-error=0" },
  },
  {
    what: "an observed denial: 200 would_deny, never cached",
    point: always({ outcome: "would_deny", reason: "no_role", cacheSeconds: 2 }),
    status: 200,
    expected: { "X-Wayleave-Decision": "would_deny", "X-Accel-Expires": "0" },
  },
  {
    what: "a shared route: 200 pass, and the caller's own Authorization goes on",
    point: always({ outcome: "pass", reason: "unidentified", consumesAuthorization: false }),
    status: 200,
    expected: { "X-Wayleave-Decision": "pass", "X-Wayleave-Authorization": "forward" },
  },
  {
    what: "an allow that may be repeated",
    point: always({ cacheSeconds: 2 }),
    status: 200,
    expected: { "X-Accel-Expires": "2" },
  },
  {
    what: "an allow with an assertion, which may not",
    point: always({ cacheSeconds: 2, assertion: "a.b.c" }),
    status: 200,
    expected: { "X-Accel-Expires": "0", "Txn-Token": "a.b.c" },
  },
])("$what", ({ point, status, expected }) => {
  expect(ask(headers(), point)).toMatchObject({ status, ...expected });
});

test("a look-alike that NGINX cannot strip is refused even where the target is only observed", () => {
  const raw = headers({}, [["X.Wayleave.Subject", "root"]]);
  expect(ask(raw, fakeDecisionPoint({ rights, observed: ["billing"] }))).toMatchObject({
    status: 403,
    "X-Wayleave-Decision": "deny",
    "X-Wayleave-Reason": "ambiguous_request",
  });
});

test("a promised answer is awaited, and a rejected one is an outage", async () => {
  const later = (promise: Promise<Answer>) =>
    createNginxDialect({ gateways, decisionPoint: { answer: () => promise } })({
      method: "GET",
      rawHeaders: headers(),
    });
  expect((await later(Promise.resolve(answer))).status).toBe(200);
  const failed = await later(Promise.reject(new Error("broken")));
  expect(failed.headers).toContainEqual(["X-Wayleave-Decision", "outage"]);
});

test("names from CI systems cannot break a header or make it long", () => {
  const found = ask(headers(), always({ job: `acme/ü\r\nX-Evil: 1${"x".repeat(4000)}`, rule: "\u{1f600}\ud800" }));
  expect(String(found["X-Wayleave-Job"])).toMatch(/^[\x20-\x7e]{1,200}$/);
  expect(found["X-Wayleave-Role"]).toBe("%F0%9F%98%80%EF%BF%BD");
  const response = JSON.stringify(
    ask(headers(), always({ job: "j".repeat(9000), subject: "s".repeat(9000), assertion: "a".repeat(1200) })),
  );
  expect(response.length).toBeLessThan(2048 + 200);
});

test("a hash that is no SHA-256 is a mistake of the caller", () => {
  const bad = [{ name: "edge-1", secretHashes: ["abc"], targets: [] }];
  expect(() => createNginxDialect({ gateways: bad, decisionPoint: always({}) })).toThrow(TypeError);
});
