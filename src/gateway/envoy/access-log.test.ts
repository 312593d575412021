import { create, type MessageInitShape } from "@bufbuild/protobuf";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { GrpcCall, GrpcMethod } from "../../grpc/method.ts";
import type { HTTPAccessLogEntrySchema } from "../../proto/envoy/data/accesslog/v3/accesslog_pb.ts";
import { StreamAccessLogsMessageSchema } from "../../proto/envoy/service/accesslog/v3/als_pb.ts";
import { session, trace } from "../evidence.fake.ts";
import type { ReadLine } from "../evidence.ts";
import { readEnvoyLine } from "./access-log.ts";
import { accessLogMethods } from "./access-log-service.ts";

const gateway = { name: "billing-sidecar", hop: "envoy", targets: ["billing", "ledger"] } as const;
const payload = {
  sub: "spiffe://acme.example/ci/gitlab/1042",
  sid: session,
  roles: ["release"],
  pol: "41c0aa",
  txn: "rec_000000000001",
};
const line = {
  gateway: "billing-sidecar",
  time: "1795512612.114",
  method: "POST",
  host: "billing.internal",
  path: "/v1/releases",
  status: 201,
  details: "via_upstream",
  peer: "spiffe://acme.example/gateway/edge-1",
  milliseconds: 4,
  traceparent: `00-${trace}-00f067aa0ba902b7-01`,
  route: "billing/native",
  authz: null,
  jwt: { wayleave: payload, wayleave_header: { kid: "k", alg: "ES256" } },
};
const read = (more: Readonly<Record<string, unknown>> = {}) =>
  readEnvoyLine(JSON.stringify({ ...line, ...more }), gateway);

describe("a line of an Envoy's file", () => {
  test("that decided natively tells what the verified token said", () => {
    expect(read()).toEqual({
      at: 1795512612114,
      method: "POST",
      host: "billing.internal",
      path: "/v1/releases",
      status: 201,
      session,
      subject: "spiffe://acme.example/ci/gitlab/1042",
      role: "release",
      policy: "41c0aa",
      decisionRecord: "rec_000000000001",
      enforced: "native",
      decision: "allow",
      target: "billing",
      trace,
      peer: "spiffe://acme.example/gateway/edge-1",
      upstreamStatus: 201,
      seconds: 0.004,
    });
  });

  test("tells the same with the claims one by one, as it is rendered", () => {
    const claims = {
      session,
      subject: payload.sub,
      roles: payload.roles,
      policy: payload.pol,
      transaction: payload.txn,
    };
    expect(read({ jwt: undefined, ...claims })).toEqual(read());
    expect(read({ jwt: undefined, ...claims, session: null })).not.toHaveProperty("subject");
  });

  test("that asked tells what the broker said", () => {
    const authz = {
      decision: "deny",
      reason: "no_role",
      record: "rec_000000000009",
      session,
      target: "ledger",
      sub: "s",
    };
    const found = read({ jwt: null, authz, status: 403, details: "ext_authz_denied" });
    expect(found).toMatchObject({
      enforced: "call_out",
      decision: "deny",
      reason: "no_role",
      decisionRecord: "rec_000000000009",
      target: "ledger",
      subject: "s",
    });
    expect(found).not.toHaveProperty("upstreamStatus");
  });

  test.each([
    { details: "rbac_access_denied_matched_policy[none]", decision: "deny", reason: "no_role", enforced: "native" },
    {
      details: "rbac_access_denied_matched_policy[session_ended]",
      decision: "deny",
      reason: "session_ended",
      enforced: "native",
    },
    {
      details: "rbac_access_denied_matched_policy[refusals_stale]",
      decision: "deny",
      reason: "outage",
      enforced: "native",
    },
    {
      details: "rbac_access_denied_matched_policy[constructor]",
      decision: "deny",
      reason: "no_role",
      enforced: "native",
    },
    {
      details: "jwt_authn_access_denied{Jwt_is_expired}",
      decision: "deny",
      reason: "credential_invalid",
      enforced: "native",
    },
    { details: "ext_authz_error", decision: "outage", reason: "outage", enforced: "call_out" },
  ])("tells which filter refused: $details", ({ details, ...told }) => {
    expect(read({ details, status: 403 })).toMatchObject(told);
  });

  test("without a token says nothing of who it was", () => {
    const found = read({ jwt: null, details: "direct_response" });
    for (const name of ["session", "subject", "role", "enforced", "decision", "decisionRecord"]) {
      expect(found).not.toHaveProperty(name);
    }
  });

  test("with a token of several roles does not guess which one it was", () => {
    expect(read({ jwt: { wayleave: { ...payload, roles: ["a", "b"] } } })).not.toHaveProperty("role");
  });

  test("of another provider's token is nobody of ours", () => {
    expect(read({ jwt: { other: { sub: "x", email: "a@b" } } })).not.toHaveProperty("subject");
  });

  test("of an inner hop takes the assertion, not a token beside it", () => {
    const { txn: _txn, ...token } = payload;
    const both = { a: { ...token, sub: "other" }, b: payload };
    expect(read({ jwt: both })).toMatchObject({ decisionRecord: "rec_000000000001", subject: payload.sub });
  });

  test.each([
    { why: "no JSON", text: "{", problem: "not_json" },
    { why: "another gateway", text: JSON.stringify({ ...line, gateway: "edge-1" }), problem: "other_gateway" },
    { why: "no time", text: JSON.stringify({ ...line, time: undefined }), problem: "incomplete" },
    { why: "a time as number", text: JSON.stringify({ ...line, time: 1795512612.114 }), problem: "incomplete" },
    { why: "a status as list", text: JSON.stringify({ ...line, status: [201] }), problem: "incomplete" },
    { why: "no method", text: JSON.stringify({ ...line, method: null }), problem: "incomplete" },
    { why: "no path", text: JSON.stringify({ ...line, path: null }), problem: "incomplete" },
  ])("is refused: $why", ({ text, problem }) => {
    expect(readEnvoyLine(text, gateway)).toBe(problem);
  });

  test("never throws, and never lets a query or control characters through", () => {
    const value = fc.oneof(fc.jsonValue(), fc.string({ unit: "binary" }), fc.constant("/x?token=secret\u001b[2J"));
    fc.assert(
      fc.property(fc.dictionary(fc.constantFrom(...Object.keys(line)), value), (more) => {
        const found = readEnvoyLine(JSON.stringify({ ...line, ...more, gateway: line.gateway }), gateway);
        if (typeof found === "string") return;
        expect(found.path).not.toContain("?");
        expect(Object.values(found).join("")).not.toMatch(/[\p{Cc}\p{Cf}]/u);
      }),
      { numRuns: 500 },
    );
  });
});

describe("the access log service", () => {
  type Entry = MessageInitShape<typeof HTTPAccessLogEntrySchema>;
  const entry: Entry = {
    commonProperties: {
      startTime: { seconds: 1795512612n, nanos: 114_000_000 },
      duration: { seconds: 0n, nanos: 4_000_000 },
      routeName: "billing/native",
      metadata: { filterMetadata: { "envoy.filters.http.jwt_authn": line.jwt } },
      tlsProperties: {
        peerCertificateProperties: {
          subjectAltName: [
            { san: { case: "dns", value: "edge-1" } },
            { san: { case: "uri", value: "spiffe://acme.example/gateway/edge-1" } },
          ],
        },
      },
    },
    request: {
      requestMethod: 3,
      authority: "billing.internal",
      path: "/v1/releases?token=secret",
      requestHeaders: { traceparent: line.traceparent },
    },
    response: { responseCode: 201, responseCodeDetails: "via_upstream" },
  };

  async function receive(messages: readonly (readonly Entry[])[], metadata: Readonly<Record<string, string>> = known) {
    const taken: ReadLine[] = [];
    const refused: string[] = [];
    const [method] = Object.values(
      accessLogMethods({
        gateway: (name, secret) => (name === gateway.name && secret === "secret" ? gateway : undefined),
        take: async (_gateway, entries) => void taken.push(...entries),
        onUnauthenticated: (detail) => refused.push(detail),
      }),
    ) as [GrpcMethod & { kind: "stream" }];
    async function* requests() {
      for (const logEntry of messages) {
        yield create(StreamAccessLogsMessageSchema, {
          logEntries: { case: "httpLogs", value: { logEntry: [...logEntry] } },
        });
      }
    }
    const call = { metadata: new Map(Object.entries(metadata)), peer: "", signal: new AbortController().signal };
    let failure: unknown;
    try {
      for await (const _response of method.handle(requests(), call as GrpcCall));
    } catch (error) {
      failure = error;
    }
    return { taken, refused, failure };
  }
  const known = { "x-wayleave-gateway": gateway.name, "x-wayleave-gateway-secret": "secret" };

  test("reads an entry as the file is read", async () => {
    const { taken, failure } = await receive([[entry]]);
    expect(failure).toBeUndefined();
    expect(taken).toEqual([read()]);
  });

  test("leaves out what is logged before a request is over", async () => {
    const early = { ...entry, commonProperties: { ...entry.commonProperties, accessLogType: 4 } } as Entry;
    const late = { ...entry, commonProperties: { ...entry.commonProperties, accessLogType: 6 } } as Entry;
    const between = { ...entry, commonProperties: { ...entry.commonProperties, intermediateLogEntry: true } } as Entry;
    expect((await receive([[early, between], [late]])).taken).toHaveLength(1);
  });

  test.each([
    { why: "nobody", metadata: {} },
    { why: "another secret", metadata: { ...known, "x-wayleave-gateway-secret": "guess" } },
    { why: "another name", metadata: { ...known, "x-wayleave-gateway": "edge-1" } },
    { why: "two names", metadata: { ...known, "x-wayleave-gateway": "billing-sidecar, edge-1" } },
  ])("takes nothing of $why", async ({ metadata }) => {
    const { taken, refused, failure } = await receive([[entry]], metadata);
    expect(taken).toEqual([]);
    expect(refused).toHaveLength(1);
    expect(failure).toMatchObject({ code: "gateway_unauthenticated" });
  });

  test.each([
    {},
    { request: {} },
    { commonProperties: {}, response: {} },
    { request: { requestMethod: 99 } },
  ] satisfies Entry[])("survives an entry with holes: %j", async (broken) => {
    expect((await receive([[broken]])).taken).toEqual(["incomplete"]);
  });
});
