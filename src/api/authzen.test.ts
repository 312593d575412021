import Fastify from "fastify";
import { expect, test } from "vitest";
import { deny, point } from "../gateway/decision-point.fake.ts";
import { createGatewayGuard, secretHash } from "../gateway/gateway-guard.ts";
import { evaluationRoutes } from "./authzen.ts";

const gateways = [{ name: "front", secretHashes: [secretHash("s3cret")], targets: ["billing"] }];
const proof = { "x-wayleave-gateway": "front", "x-wayleave-gateway-secret": "s3cret" };
const question = {
  subject: { type: "access_token", id: "good" },
  action: { name: "GET" },
  resource: { type: "target", id: "billing", properties: { host: "billing.internal", path: "/v1/x" } },
};

async function ask(
  body: unknown,
  headers: Readonly<Record<string, string>> = proof,
  options: Parameters<typeof point>[0] = {},
) {
  const { made, noted } = point(options);
  const refused: string[] = [];
  const app = Fastify();
  const guard = createGatewayGuard(gateways);
  await app.register(evaluationRoutes({ decisionPoint: made, guard, onRefused: ({ reason }) => refused.push(reason) }));
  const answer = await app.inject({ method: "POST", url: "/access/v1/evaluation", headers, payload: body as object });
  await app.close();
  return { status: answer.statusCode, body: answer.json(), headers: answer.headers, noted, refused };
}

test("an allow says who and why, and is recorded as any other", async () => {
  const { status, body, headers, noted } = await ask(question, { ...proof, "x-request-id": "r-1" });
  expect([status, body.decision, headers["x-request-id"], headers["cache-control"]]).toEqual([
    200,
    true,
    "r-1",
    "no-store",
  ]);
  expect(body.context).toMatchObject({
    outcome: "allow",
    reason: "allowed",
    record: "rec_1",
    rule: "read",
    session: "ses_a",
  });
  expect(noted).toMatchObject([
    { kind: "decision", data: { gateway: "front", target: "billing", operation: "GET /v1/x" } },
  ]);
});

test("a denial is 200 and false, with reasons", async () => {
  const { status, body } = await ask(question, proof, { decision: deny });
  expect([status, body.decision]).toEqual([200, false]);
  expect(body.context).toMatchObject({ outcome: "deny", reason: "no_role", reason_user: { next: expect.any(String) } });
});

test("what is only observed is let through, and says so", async () => {
  const { body } = await ask(question, proof, { decision: deny, target: { mode: "observe" } });
  expect(body).toMatchObject({ decision: true, context: { outcome: "would_deny", reason: "no_role" } });
});

test.each([
  ["nobody's token", { state: "foreign" } as const, "credential_invalid"],
  ["a token that is ours and bad", { state: "ours" } as const, "credential_invalid"],
])("%s is no subject", async (_name, verdict, reason) => {
  const { body } = await ask(question, proof, { verdict });
  expect(body).toMatchObject({ decision: false, context: { reason } });
});

test("what cannot be decided is denied, as an outage", async () => {
  const { body } = await ask(question, proof, { noteFails: true });
  expect(body).toMatchObject({ decision: false, context: { reason: "outage", record: "" } });
});

test("about another gateway's target nothing is decided", async () => {
  const { body, noted, refused } = await ask({ ...question, resource: { ...question.resource, id: "ledger" } });
  expect([body.decision, body.context.reason, noted, refused]).toEqual([
    false,
    "target_unknown",
    [],
    ["target_unknown"],
  ]);
});

test.each([
  ["no proof", {}],
  ["another secret", { ...proof, "x-wayleave-gateway-secret": "other" }],
  ["an unknown name", { ...proof, "x-wayleave-gateway": "edge-9" }],
  ["no secret", { "x-wayleave-gateway": "front" }],
])("%s: 401, and nothing is decided", async (_name, headers) => {
  const { status, noted, refused } = await ask(question, headers);
  expect([status, noted, refused]).toEqual([401, [], ["gateway_unauthenticated"]]);
});

test.each([
  ["nothing", {}],
  ["another type of subject", { ...question, subject: { type: "user", id: "good" } }],
  ["no subject", { ...question, subject: { type: "access_token", id: "" } }],
  ["another type of resource", { ...question, resource: { ...question.resource, type: "document" } }],
  ["no action", { ...question, action: {} }],
  ["a host without a path", { ...question, resource: { ...question.resource, properties: { host: "x" } } }],
  ["a stream that is no boolean", { ...question, action: { name: "GET", properties: { stream: "yes" } } }],
])("%s: 400, and nothing is decided", async (_name, body) => {
  const { status, noted, refused } = await ask(body);
  expect([status, noted, refused]).toEqual([400, [], ["invalid_request"]]);
});

test.each(["get", "CONNECT", "GET,POST"])("a method that can be read in two ways is refused: %s", async (name) => {
  const { body } = await ask({ ...question, action: { name } });
  expect(body).toMatchObject({ decision: false, context: { reason: "ambiguous_request" } });
});
