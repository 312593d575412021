import { createHash } from "node:crypto";
import Fastify from "fastify";
import { describe, expect, test } from "vitest";
import { bytesOf, edge, fakeIntake, nginxLine } from "../gateway/evidence.fake.ts";
import { createGatewayGuard } from "../gateway/gateway-guard.ts";
import { readNginxLine } from "../gateway/nginx/access-log.ts";
import { gatewayLogRoutes, maxPieceBytes } from "./gateway-log.ts";

const secret = "a-secret-of-this-test-only";
const headers = { "x-wayleave-gateway": "edge-1", "x-wayleave-gateway-secret": secret };

async function app() {
  const { intake, requests, room } = fakeIntake();
  const guard = createGatewayGuard([{ ...edge, secretHashes: [createHash("sha256").update(secret).digest("hex")] }]);
  const refused: string[] = [];
  const fastify = Fastify();
  await fastify.register(
    gatewayLogRoutes({
      gateway: (name, given) => {
        const gateway = guard(name, given);
        return gateway === undefined ? undefined : (piece) => intake.takeFile(gateway, piece, readNginxLine);
      },
      onUnauthenticated: (detail) => refused.push(detail),
    }),
  );
  const post = async (url: string, payload: Buffer, more: Readonly<Record<string, string | string[]>> = {}) => {
    const answer = await fastify.inject({ method: "POST", url, payload, headers: { ...headers, ...more } as never });
    return { status: answer.statusCode, body: answer.json<Record<string, unknown>>() };
  };
  return { post, requests, refused, room };
}

describe("POST /v1/gateway/log", () => {
  test("takes lines and says up to where", async () => {
    const { post, requests } = await app();
    const bytes = bytesOf([nginxLine()]);
    const answer = await post("/v1/gateway/log?file=1-2.ab&offset=100", bytes);
    expect(answer).toEqual({ status: 200, body: { taken: 1, repeated: 0, refused: 0, upto: 100 + bytes.length } });
    expect(requests()).toHaveLength(1);
  });

  test.each([
    { why: "another secret", more: { "x-wayleave-gateway-secret": "guess" } },
    { why: "no secret", more: { "x-wayleave-gateway-secret": "" } },
    { why: "another gateway", more: { "x-wayleave-gateway": "edge-2" } },
    { why: "a name of the prototype", more: { "x-wayleave-gateway": "constructor" } },
  ])("takes nothing of somebody with $why", async ({ more }) => {
    const { post, requests, refused } = await app();
    const answer = await post("/v1/gateway/log?file=f&offset=0", bytesOf([nginxLine()]), more);
    expect(answer).toMatchObject({ status: 403, body: { code: "gateway_unauthenticated" } });
    expect(JSON.stringify(answer)).not.toContain(secret);
    expect(requests()).toEqual([]);
    expect(refused).toHaveLength(1);
  });

  test.each([
    "",
    "?file=f",
    "?offset=0",
    "?file=../x/y&offset=0",
    "?file=f&offset=-1",
    "?file=f&offset=1.5",
    "?file=f&offset=0&x=1",
    "?file=f&file=g&offset=0",
  ])("refuses a place that is none: %s", async (query) => {
    const { post, requests } = await app();
    const answer = await post(`/v1/gateway/log${query}`, bytesOf([nginxLine()]));
    expect(answer).toMatchObject({ status: 400, body: { code: "invalid_request" } });
    expect(requests()).toEqual([]);
  });

  test("refuses more than a piece", async () => {
    const { post } = await app();
    const answer = await post("/v1/gateway/log?file=f&offset=0", Buffer.alloc(maxPieceBytes + 1, 0x0a));
    expect(answer).toMatchObject({ status: 413, body: { code: "payload_too_large" } });
  });

  test("says that it cannot record", async () => {
    const { post, room } = await app();
    room(0);
    const answer = await post("/v1/gateway/log?file=f&offset=0", bytesOf([nginxLine()]));
    expect(answer).toMatchObject({ status: 503, body: { code: "journal_unavailable" } });
  });

  test("takes an empty body as nothing", async () => {
    const { post } = await app();
    expect(await post("/v1/gateway/log?file=f&offset=7", Buffer.alloc(0))).toMatchObject({
      body: { taken: 0, upto: 7 },
    });
  });
});
