import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Answer } from "../decision-point.ts";
import { fakeDecisionPoint } from "../nginx/decision-point.fake.ts";
import {
  always,
  askGrpc,
  askHttp,
  callOf,
  checkMessage,
  checkOf,
  checkRequest,
  type GrpcQuestion,
  hashOf,
  type Lines,
  said,
  secret,
} from "./check.fake.ts";

const rights = [{ token: "good", target: "billing", hosts: ["billing.internal"], methods: ["GET"], prefix: ["v1"] }];
const good = ["authorization", "Bearer good"] as const;

describe("over gRPC", () => {
  test("who is not recognised gets an error, and nothing is asked", async () => {
    const point = fakeDecisionPoint({ rights });
    const { grpc, refused } = checkOf(point);
    const wrong: Record<string, string>[] = [
      { "x-wayleave-gateway-secret": "guess" },
      { "x-wayleave-gateway-secret": "other" },
      { "x-wayleave-gateway-secret": secret.replace(/.$/, "X") },
      { "x-wayleave-gateway-secret": secret.toUpperCase() },
      { "x-wayleave-gateway": "edge-2" },
      { "x-wayleave-gateway-secret": hashOf(secret) },
      { "x-wayleave-gateway-secret": "" },
      { "x-wayleave-gateway-secret": `${secret}, ${secret}` },
      { "x-wayleave-gateway": "edge-9" },
      { "x-wayleave-gateway": "__proto__" },
      { "x-wayleave-gateway": "" },
    ];
    const tryAll = async () => {
      for (const metadata of wrong) {
        await expect(checkMessage(grpc, checkRequest({}), callOf(metadata))).rejects.toMatchObject({
          code: "gateway_unauthenticated",
        });
      }
    };
    await tryAll();
    expect(point.asked).toEqual([]);
    // Nor after the right secret was seen.
    for (const name of ["edge-1", "inner"])
      await checkMessage(grpc, checkRequest({}), callOf({ "x-wayleave-gateway": name }));
    await tryAll();
    expect(refused.filter(({ reason }) => reason === "gateway_unauthenticated")).toHaveLength(2 * wrong.length);
    expect(point.asked).toHaveLength(1);
  });

  const base = () => checkRequest({}).attributes!;
  test.each<{ what: string; request: () => ReturnType<typeof checkRequest>; reason: string }>([
    { what: "nothing at all", request: () => ({}), reason: "invalid_request" },
    {
      what: "no target",
      request: () => ({ attributes: { ...base(), contextExtensions: {} } }),
      reason: "invalid_request",
    },
    { what: "an empty target", request: () => checkRequest({ target: "" }), reason: "invalid_request" },
    { what: "no HTTP request", request: () => ({ attributes: { ...base(), request: {} } }), reason: "invalid_request" },
    {
      what: "joined headers",
      request: () => ({
        attributes: {
          ...base(),
          request: {
            http: { method: "GET", path: "/v1/x", host: "billing.internal", headers: { authorization: "Bearer good" } },
          },
        },
      }),
      reason: "invalid_request",
    },
    { what: "no method", request: () => checkRequest({ method: "" }), reason: "invalid_request" },
    { what: "no path", request: () => checkRequest({ path: "" }), reason: "invalid_request" },
    { what: "a target it does not front", request: () => checkRequest({ target: "ledger" }), reason: "target_unknown" },
    {
      what: "a target named __proto__",
      request: () => checkRequest({ target: "__proto__" }),
      reason: "target_unknown",
    },
  ])("a question with $what is refused before it is asked, and says so", async ({ request, reason }) => {
    const point = fakeDecisionPoint({ rights });
    const { grpc, refused } = checkOf(point);
    const answer = said(await checkMessage(grpc, request()));
    expect(answer).toMatchObject({ status: 403, body: { code: reason }, metadata: { decision: "deny", reason } });
    expect(refused).toMatchObject([{ reason, gateway: "edge-1" }]);
    expect(point.asked).toEqual([]);
  });

  test.each<{ what: string; question: GrpcQuestion }>([
    { what: "no host", question: { host: "" } },
    { what: "only a port", question: { host: ":80" } },
    { what: "user information in the host", question: { host: "billing.internal@evil" } },
    { what: "a Host beside :authority", question: { headers: [good, ["host", "other.internal"]] } },
    { what: "a lower-case method", question: { method: "get" } },
    { what: "CONNECT", question: { method: "CONNECT" } },
    { what: "TRACE", question: { method: "TRACE" } },
    { what: "a method with a space", question: { method: "GET /admin" } },
  ])("$what is ambiguous", async ({ question }) => {
    expect((await askGrpc(fakeDecisionPoint({ rights }), question)).metadata).toMatchObject({
      reason: "ambiguous_request",
    });
  });

  test("the host is compared without its port and in lower case", async () => {
    const point = fakeDecisionPoint({ rights });
    expect((await askGrpc(point, { host: "Billing.INTERNAL:8443" })).status).toBe(200);
    expect((await askGrpc(point, { host: "[::1]:80" })).status).toBe(403);
    expect(point.asked.map(({ operation }) => operation.kind === "http" && operation.host)).toEqual([
      "billing.internal",
      "[::1]",
    ]);
  });

  test("bytes that are no UTF-8 are nobody's token", async () => {
    const point = fakeDecisionPoint({ rights });
    const { status } = await askGrpc(point, { headers: [["authorization", "Bearer \xff\xfe"]] });
    expect(status).toBe(401);
    expect(point.asked[0]?.authorization).toBe("Bearer \xff\xfe");
  });

  test("hundreds of headers are one question", async () => {
    const many = Array.from({ length: 500 }, (_, at) => [`x-h${at}`, "y".repeat(100)] as const);
    expect((await askGrpc(fakeDecisionPoint({ rights }), { headers: [good, ...many] })).status).toBe(200);
  });

  test.each<{ partial: Partial<Answer>; metadata: Record<string, string> }>([
    { partial: {}, metadata: { decision: "allow", reason: "allowed" } },
    {
      partial: { outcome: "deny", reason: "no_role", job: "acme/shop#7712", session: "ses_1", subject: "spiffe://a/ü" },
      metadata: { decision: "deny", reason: "no_role", job: "acme/shop#7712", session: "ses_1", sub: "spiffe://a/ü" },
    },
    { partial: { outcome: "would_deny", reason: "no_role" }, metadata: { decision: "would_deny", reason: "no_role" } },
    { partial: { outcome: "deny", reason: "outage" }, metadata: { decision: "outage", reason: "outage" } },
  ])("the access log is told: $metadata", async ({ partial, metadata }) => {
    expect((await askGrpc(always(partial))).metadata).toEqual({
      ...metadata,
      target: "billing",
      record: "rec_000000000001",
      trace: "11111111111111111111111111111111",
    });
  });

  test("what is written by hand says what the schema says, whatever the texts", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.string({ unit: "binary", maxLength: 300 }),
        fc.string({ unit: "binary", maxLength: 300 }),
        fc.boolean(),
        async (job, subject, allowed) => {
          const wellFormed = job.toWellFormed();
          const partial: Partial<Answer> = allowed ? {} : { outcome: "deny", reason: "no_role" };
          const answer = await askGrpc(
            always({ ...partial, session: "ses_1", job: wellFormed, subject: subject.toWellFormed() }),
          );
          expect(answer.status).toBe(allowed ? 200 : 403);
          expect(answer.metadata).toMatchObject({ job: wellFormed, sub: subject.toWellFormed() });
          for (const value of Object.values(answer.headers)) expect(value).toMatch(/^[\x20-\x7e]*$/);
        },
      ),
    );
  });
});

describe("a gateway behind another", () => {
  const inner = { "x-wayleave-gateway": "inner" };
  const front = "spiffe://acme.example/gateway/edge-1";

  test("asks with the assertion that came, and leaves Authorization alone", async () => {
    const point = fakeDecisionPoint({ rights });
    await askGrpc(point, { metadata: inner, principal: front, headers: [good, ["txn-token", "a.b.c"]] });
    await askGrpc(point, { metadata: inner, principal: front, headers: [good] });
    expect(point.asked).toMatchObject([
      { gateway: "inner", assertion: "a.b.c", authorization: "Bearer good" },
      { gateway: "inner", assertion: "" },
    ]);
  });

  test.each([
    { what: "no certificate", principal: "" },
    { what: "another gateway's", principal: "spiffe://acme.example/gateway/edge-2" },
    { what: "its own", principal: "spiffe://acme.example/gateway/inner" },
    { what: "one that goes on", principal: `${front}/x` },
    { what: "one of another trust domain", principal: "spiffe://acme.example.evil/gateway/edge-1" },
    { what: "one in upper case", principal: front.toUpperCase() },
    { what: "a DNS name", principal: "edge-1" },
    { what: "two names", principal: `${front},${front}` },
  ])("refuses a connection with $what before it asks", async ({ principal }) => {
    const point = fakeDecisionPoint({ rights });
    const { grpc, refused } = checkOf(point);
    const request = checkRequest({ principal, headers: [["txn-token", "a.b.c"]] });
    const answer = said(await checkMessage(grpc, request, callOf(inner)));
    expect(answer).toMatchObject({ status: 403, metadata: { reason: "credential_invalid", decision: "deny" } });
    expect(refused).toMatchObject([{ reason: "credential_invalid", gateway: "inner" }]);
    expect(point.asked).toEqual([]);
  });

  test("two assertions are ambiguous", async () => {
    const headers: Lines = [
      ["txn-token", "a.b.c"],
      ["Txn-Token", "a.b.c"],
    ];
    const { metadata } = await askGrpc(fakeDecisionPoint({ rights }), { metadata: inner, principal: front, headers });
    expect(metadata).toMatchObject({ reason: "ambiguous_request" });
  });

  test("cannot ask over HTTP, which tells no certificate", async () => {
    const point = fakeDecisionPoint({ rights });
    const { status, headers } = await askHttp(point, { gateway: inner });
    expect({ status, reason: headers["x-wayleave-reason"] }).toEqual({ status: 403, reason: "credential_invalid" });
    expect(point.asked).toEqual([]);
  });
});
