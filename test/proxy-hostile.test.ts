import { connect as connectHttp2, type OutgoingHttpHeaders } from "node:http2";
import { afterAll, beforeAll, expect, test } from "vitest";
import { noCounts } from "../src/core/decision.ts";
import { noFacts } from "../src/core/fact.ts";
import { job, session } from "../src/policy/policy.fake.ts";
import type { HostileRequest } from "./hostile-request.ts";
import { hostileRequests } from "./hostile-requests.ts";
import {
  httpTarget,
  type LabService,
  type ProxyLab,
  type Served,
  sendRaw,
  startProxyLab,
  startService,
} from "./proxy-lab.ts";
import { upstreamReadings } from "./upstream-readings.ts";

/** The corpus that every gateway is held against, through the Wayleave proxy. */
let lab: ProxyLab;
let service: LabService;

beforeAll(async () => {
  service = await startService();
  lab = await startProxyLab({
    policy: `
targets: { billing: { http: { hosts: [billing.internal] } } }
roles: { read: { for: shop, allow: { billing: ["GET /v1/**"] } } }`,
    targets: [httpTarget("billing", service.port)],
  });
  lab.open("good");
});
afterAll(async () => {
  await lab.close();
  await service.close();
});

test.each(hostileRequests)("$name", async (request) => {
  const served = await serve(request);
  expect(wrongs(served, request.authorization)).toEqual([]);
  if (request.expected === "served") expect(served).toHaveLength(1);
  if (request.expected === "refused") expect(served).toEqual([]);
  expect(lab.faults).toEqual([]);
});

async function serve(request: HostileRequest): Promise<readonly Served[]> {
  await sendRaw(lab.port, request.bytes);
  return service.served.splice(0);
}

/** What the service did that the decision function would have refused, or was told by the client. */
function wrongs(all: readonly Served[], authorization: string | undefined): string[] {
  return all.flatMap((served) => {
    const told = JSON.stringify(served.rawHeaders);
    const spoofed = told.includes("spoofed") ? [`a client's identity header reached it: ${told}`] : [];
    const leaked = told.includes("Bearer") ? [`a credential reached it: ${told}`] : [];
    const refused = upstreamReadings(served).flatMap(({ how, ...operation }) => {
      const reason = refuses(operation, authorization);
      return reason === undefined ? [] : [`${how}, it served ${JSON.stringify(operation)}: ${reason}`];
    });
    return [...spoofed, ...leaked, ...refused];
  });
}

function refuses(
  operation: Omit<ReturnType<typeof upstreamReadings>[number], "how">,
  authorization: string | undefined,
) {
  if (authorization !== "Bearer good") return "no_credential";
  const now = Date.now();
  const view = session(job(), { openedAt: now, hardEndAt: now + 1000 });
  const asked = { session: view, narrowing: {}, target: "billing", operation, facts: noFacts, now };
  const decision = lab.policy().decide(asked, noCounts);
  return decision.effect === "allow" ? undefined : decision.reason;
}

const http2Requests: readonly { name: string; headers: OutgoingHttpHeaders; served: number }[] = [
  { name: "a plain request", headers: {}, served: 1 },
  { name: "a path with dots", headers: { ":path": "/v1/../admin" }, served: 0 },
  { name: "an encoded path", headers: { ":path": "/v1/%2e%2e/admin" }, served: 0 },
  { name: "a path without a slash", headers: { ":path": "v1/a" }, served: 0 },
  { name: "an absolute path", headers: { ":path": "http://billing.internal/v1/a" }, served: 0 },
  { name: "an asterisk", headers: { ":path": "*" }, served: 0 },
  { name: "a fragment", headers: { ":path": "/v1/a#/../admin" }, served: 0 },
  { name: "another method", headers: { ":method": "DELETE" }, served: 0 },
  { name: "a lower-case method", headers: { ":method": "get" }, served: 0 },
  { name: "CONNECT", headers: { ":method": "CONNECT" }, served: 0 },
  { name: "another authority", headers: { ":authority": "other.internal" }, served: 0 },
  { name: "an authority with user information", headers: { ":authority": "x@billing.internal" }, served: 0 },
  { name: "an authority with a port and more", headers: { ":authority": "billing.internal:80@x" }, served: 0 },
  { name: "an authority with two ports", headers: { ":authority": "billing.internal:80:80" }, served: 0 },
  {
    name: "an authority against the host header",
    headers: { ":authority": "other.internal", host: "billing.internal" },
    served: 0,
  },
  { name: "a host header against the authority", headers: { host: "other.internal" }, served: 0 },
  { name: "no credential", headers: { authorization: "" }, served: 0 },
  { name: "identity headers", headers: { "x-wayleave-subject": "spoofed", "txn-token": "spoofed" }, served: 1 },
  { name: "an identity header in another spelling", headers: { x_wayleave_subject: "spoofed" }, served: 1 },
  { name: "an identity header twice", headers: { "x-wayleave-subject": ["spoofed", "spoofed"] }, served: 0 },
  { name: "a method override", headers: { "x-http-method-override": "DELETE" }, served: 1 },
  { name: "two forwarded hosts", headers: { "x-forwarded-host": ["a", "b"] }, served: 0 },
  { name: "a forwarded host", headers: { "x-forwarded-host": "other.internal" }, served: 1 },
  { name: "a look-alike of a framing header", headers: { transfer_encoding: "chunked" }, served: 1 },
];

test.each(http2Requests)("HTTP/2: $name", async ({ headers, served: count }) => {
  await sendHttp2(lab.port, { authorization: "Bearer good", ...headers });
  const served = service.served.splice(0);
  expect(wrongs(served, "Bearer good")).toEqual([]);
  expect(JSON.stringify(served)).not.toContain("transfer_encoding");
  expect(served).toHaveLength(count);
  expect(lab.faults).toEqual([]);
});

/** One HTTP/2 request over its own connection; a reset stream is a refusal. */
async function sendHttp2(port: number, headers: OutgoingHttpHeaders): Promise<void> {
  const client = connectHttp2(`http://127.0.0.1:${port}`);
  await new Promise<void>((resolve) => {
    client.on("error", () => undefined);
    client.on("close", resolve);
    try {
      const connecting = headers[":method"] === "CONNECT";
      const path = connecting ? {} : { ":path": "/v1/a" };
      const stream = client.request({ ...path, ":authority": "billing.internal", ...headers });
      stream.on("error", () => client.close());
      stream.on("close", () => client.close());
      stream.resume().end();
    } catch {
      client.close(); // what cannot be sent cannot be served
    }
  });
}
