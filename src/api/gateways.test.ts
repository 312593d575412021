import { pino } from "pino";
import { afterEach, expect, test } from "vitest";
import { discoveryWorld, proof, resourceName } from "../gateway/envoy/discovery.fake.ts";
import { createApp } from "./app.ts";
import { gatewayDiscoveryRoutes, gatewayListRoutes } from "./gateways.ts";

const closing: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  await Promise.all(closing.splice(0).map((close) => close()));
});

function surface() {
  const world = discoveryWorld();
  const routes = [
    gatewayDiscoveryRoutes(world),
    gatewayListRoutes({ gateways: () => ({ policy: "p2", gateways: [] }) }),
  ];
  const app = createApp({ log: pino({ level: "silent" }), behindProxy: false, routes });
  closing.push(() => app.close());
  const poll = (payload: object, headers: Readonly<Record<string, string | string[]>> = proof("inner")) =>
    app.inject({ method: "POST", url: "/v3/discovery:extension_configs", payload, headers });
  return { world, app, poll };
}

const body = { node: { id: "envoy-1" }, resource_names: [resourceName] };

test("a poll gets the refusals, which nobody may cache, and 304 while it has them", async () => {
  const { poll } = surface();
  const first = await poll(body);
  expect([first.statusCode, first.headers["cache-control"]]).toEqual([200, "no-store"]);
  expect(first.json()).toMatchObject({ version_info: "run.1", resources: [{ name: resourceName }] });
  const second = await poll({ ...body, version_info: "run.1" });
  expect([second.statusCode, second.body]).toEqual([304, ""]);
});

test("an Envoy that introduces itself at length is heard", async () => {
  const { poll } = surface();
  const extensions = Array.from({ length: 4_000 }, (_, at) => ({ name: `envoy.filters.http.extension_${at}` }));
  expect((await poll({ ...body, node: { id: "envoy-1", extensions } })).statusCode).toBe(200);
});

test.each([
  { why: "no proof", headers: {}, payload: body, status: 403, code: "gateway_unauthenticated" },
  {
    why: "a proof sent twice",
    headers: { ...proof("inner"), "x-wayleave-gateway": ["inner", "inner"] },
    payload: body,
    status: 403,
    code: "gateway_unauthenticated",
  },
  { why: "another type", headers: proof("inner"), payload: { type_url: "x" }, status: 400, code: "invalid_request" },
  { why: "a list", headers: proof("inner"), payload: [body], status: 400, code: "invalid_request" },
  {
    why: "more than any Envoy says",
    headers: proof("inner"),
    payload: { junk: "x".repeat(1024 * 1024) },
    status: 413,
    code: "payload_too_large",
  },
])("a poll with $why is $status", async ({ headers, payload, status, code }) => {
  const response = await surface().poll(payload, headers);
  expect([response.statusCode, response.json().code]).toEqual([status, code]);
});

test("the path is that one only", async () => {
  const { app } = surface();
  const other = await app.inject({
    method: "POST",
    url: "/v3/discovery:clusters",
    payload: body,
    headers: proof("inner"),
  });
  expect(other.statusCode).toBe(404);
});

test("what gateways enforce is one answer", async () => {
  const { app } = surface();
  expect((await app.inject("/v1/gateways")).json()).toEqual({ policy: "p2", gateways: [] });
});
