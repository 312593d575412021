import { setTimeout as delay } from "node:timers/promises";
import { afterEach, describe, expect, test } from "vitest";
import type { Answer, DecisionPoint } from "../src/gateway/decision-point.ts";
import { fakeDecisionPoint } from "../src/gateway/nginx/decision-point.fake.ts";
import { type CheckLab, type CheckLabOptions, startCheckLab } from "./envoy-check-lab.ts";
import { request, sendBytes } from "./nginx-lab.ts";

const rights = [{ token: "good", target: "billing", hosts: ["billing.internal"], methods: ["GET"], prefix: ["v1"] }];
const bearer = { Authorization: "Bearer good" };

let lab: CheckLab | undefined;
afterEach(async () => {
  await lab?.stop();
  lab = undefined;
});

async function start(options: CheckLabOptions): Promise<CheckLab> {
  lab = await startCheckLab(options);
  return lab;
}

/** Ends the lab and gives its access log. */
async function log(): Promise<Record<string, unknown>[]> {
  const lines = (await lab?.stop()) ?? [];
  lab = undefined;
  return lines;
}

const raw = (lines: readonly string[]) =>
  `${["GET /v1/x HTTP/1.1", "Host: billing.internal", "Connection: close", ...lines].join("\r\n")}\r\n\r\n`;

describe.each(["grpc", "http"] as const)("a real Envoy that asks over %s", (protocol) => {
  test("lets through what is allowed, and tells the upstream who it is", async () => {
    const { port, served } = await start({
      protocol,
      decisionPoint: fakeDecisionPoint({ rights, asserted: ["billing"] }),
    });
    const spoofed = {
      "X-Wayleave-Session": "ses_spoofed",
      X_Wayleave_Job: "spoofed",
      "X.Wayleave.Role": "spoofed",
      "X-HTTP-Method-Override": "DELETE",
      "Txn-Token": "spoofed",
    };
    const answer = await request(port, "GET /v1/invoices?q=1", { ...bearer, ...spoofed });
    expect({ status: answer.status, body: answer.body }).toMatchObject({ status: 200 });
    expect(served).toHaveLength(1);
    expect(served[0]).toMatchObject({ method: "GET", url: "/v1/invoices?q=1" });
    const names = served[0]?.rawHeaders.filter((_, at) => at % 2 === 0).map((name) => name.toLowerCase()) ?? [];
    const headers = Object.fromEntries(names.map((name, at) => [name, served[0]?.rawHeaders[at * 2 + 1]]));
    expect(new Set(names).size).toBe(names.length);
    expect(headers).toMatchObject({
      "x-wayleave-session": "ses_8f2k8f2k8f2k8f2k",
      "x-wayleave-subject": "spiffe://acme.example/ci/gitlab/1042",
      "x-wayleave-job": "acme/shop#7712",
      "x-wayleave-role": "read-billing",
      "x-wayleave-decision": "allow",
      "txn-token": "eyJ0.eyJ0.c2ln",
      traceparent: "00-11111111111111111111111111111111-2222222222222222-01",
    });
    expect(JSON.stringify(served)).not.toContain("spoofed");
    for (const gone of ["authorization", "x-http-method-override", "x-wayleave-gateway-secret"])
      expect(names).not.toContain(gone);
    expect(await log()).toMatchObject([{ status: 200, details: "via_upstream" }]);
  });

  test("refuses what is not, and tells the client why", async () => {
    const { port, served } = await start({ protocol, decisionPoint: fakeDecisionPoint({ rights }) });
    const denied = await request(port, "DELETE /v1/invoices", bearer);
    expect(denied.status).toBe(403);
    expect(denied.headers).toMatchObject({
      "x-wayleave-decision": "deny",
      "x-wayleave-reason": "no_role",
      "x-wayleave-record": "rec_000000000001",
      "content-type": "application/problem+json",
    });
    expect(JSON.parse(denied.body)).toMatchObject({ code: "no_role", status: 403, record: "rec_000000000001" });
    const nobody = await request(port, "GET /v1/invoices");
    expect(nobody.status).toBe(401);
    expect(nobody.headers["www-authenticate"]).toBe('Bearer realm="wayleave"');
    expect(served).toEqual([]);
  });

  test("names the job in its own access log, allowed or denied", async () => {
    const { port } = await start({ protocol, decisionPoint: fakeDecisionPoint({ rights }) });
    await request(port, "GET /v1/invoices", bearer);
    await request(port, "DELETE /v1/invoices", bearer);
    const [allowed, denied] = await log();
    const named = (decision: string, reason: string) =>
      protocol === "grpc"
        ? { decision, reason, job: "acme/shop#7712", session: "ses_8f2k8f2k8f2k8f2k", target: "billing" }
        : {
            "x-wayleave-decision": decision,
            "x-wayleave-reason": reason,
            "x-wayleave-session": "ses_8f2k8f2k8f2k8f2k",
          };
    expect(allowed).toMatchObject({ status: 200, authz: named("allow", "allowed") });
    expect(denied).toMatchObject({ status: 403, authz: named("deny", "no_role") });
  });

  test("carries 429 with Retry-After, and an outage with 503", async () => {
    const answers: Partial<Answer>[] = [
      { reason: "limit_exceeded", retryAfterSeconds: 2 },
      { reason: "outage", record: "" },
    ];
    const fake = fakeDecisionPoint({ rights: [] });
    const decisionPoint: DecisionPoint = {
      answer: (question) => ({ ...(fake.answer(question) as Answer), unauthenticated: false, ...answers.shift() }),
    };
    const { port } = await start({ protocol, decisionPoint });
    const limited = await request(port, "GET /v1/invoices", bearer);
    expect({ status: limited.status, after: limited.headers["retry-after"] }).toEqual({ status: 429, after: "2" });
    const outage = await request(port, "GET /v1/invoices", bearer);
    // Over HTTP, Envoy takes any 5xx for a failure to answer and says its own `status_on_error`.
    const decision = protocol === "grpc" ? "outage" : undefined;
    expect({ status: outage.status, decision: outage.headers["x-wayleave-decision"] }).toEqual({
      status: 503,
      decision,
    });
  });

  const twice = ["Authorization: Bearer good", "X-Wayleave-Role: a", "X-Wayleave-Role: b"];
  test.each<{ what: string; lines: readonly string[]; reason: string }>([
    {
      what: "two Authorization headers",
      lines: ["Authorization: Bearer good", "Authorization: Bearer other"],
      reason: "ambiguous_request",
    },
    // Over HTTP Envoy joins what it would otherwise tell apart; it is removed or overwritten all the same.
    ...(protocol === "grpc" ? [{ what: "two identity headers", lines: twice, reason: "ambiguous_request" }] : []),
    {
      what: "a WebSocket",
      lines: ["Authorization: Bearer good", "Connection: upgrade", "Upgrade: websocket"],
      reason: "stream_refused",
    },
  ])("refuses $what", async ({ lines, reason }) => {
    const { port, served } = await start({ protocol, decisionPoint: fakeDecisionPoint({ rights }) });
    const answer = await sendBytes(port, raw(lines));
    expect(answer).toMatch(/^HTTP\/1\.1 403 /);
    expect(answer).toContain(`x-wayleave-reason: ${reason}\r\n`);
    expect(served).toEqual([]);
  });

  test("refuses gRPC in gRPC's own words", async () => {
    const { port, served } = await start({ protocol, decisionPoint: fakeDecisionPoint({ rights }) });
    const { headers, body } = await request(port, "GET /v1/x", { ...bearer, "Content-Type": "application/grpc" });
    expect(headers).toMatchObject({ "grpc-status": "7", "x-wayleave-reason": "stream_refused" });
    expect(headers["grpc-message"]).toMatch(/^denied {2}GET billing \/v1\/x; streams are off/);
    expect(body).toBe("");
    expect(served).toEqual([]);
  });

  test("refuses as much as Envoy itself takes, and lives", async () => {
    const { port, served, faults } = await start({ protocol, decisionPoint: fakeDecisionPoint({ rights }) });
    const long = await request(port, `GET /v1/${"x".repeat(50_000)}`, bearer);
    expect(long.headers["x-wayleave-reason"] ?? long.status).toBe(protocol === "grpc" ? "ambiguous_path" : 431);
    const many = Object.fromEntries(Array.from({ length: 60 }, (_, at) => [`X-H${at}`, "y".repeat(700)]));
    expect((await request(port, "GET /v1/x", { ...bearer, ...many })).status).toBe(protocol === "grpc" ? 200 : 431);
    expect((await request(port, "GET /v1/x", bearer)).status).toBe(200);
    expect(served.length).toBe(protocol === "grpc" ? 2 : 1);
    expect(faults).toEqual([]);
  });

  test("refuses everything, as an outage, when the broker is dead", async () => {
    const { port, served, killBroker } = await start({ protocol, decisionPoint: fakeDecisionPoint({ rights }) });
    expect((await request(port, "GET /v1/invoices", bearer)).status).toBe(200);
    await killBroker();
    expect((await request(port, "GET /v1/invoices", bearer)).status).toBe(503);
    expect(served).toHaveLength(1);
    expect((await log()).map(({ status, details }) => [status, details])).toEqual([
      [200, "via_upstream"],
      [503, "ext_authz_error"],
    ]);
  });

  test("refuses, as an outage, what is not answered within 200 ms, and goes on after", async () => {
    const fake = fakeDecisionPoint({ rights });
    let slow = true;
    const decisionPoint: DecisionPoint = {
      answer: (question) => (slow ? delay(2_000).then(() => fake.answer(question)) : fake.answer(question)),
    };
    const { port, served, faults } = await start({ protocol, decisionPoint });
    const start_ = performance.now();
    expect((await request(port, "GET /v1/invoices", bearer)).status).toBe(503);
    expect(performance.now() - start_).toBeLessThan(1_900);
    expect(served).toEqual([]);
    slow = false;
    expect((await request(port, "GET /v1/invoices", bearer)).status).toBe(200);
    expect(faults).toEqual([]);
  });

  test("refuses everything when it cannot prove itself", async () => {
    const { port, served, refused } = await start({
      protocol,
      decisionPoint: fakeDecisionPoint({ rights }),
      secret: "guess",
    });
    expect((await request(port, "GET /v1/invoices", bearer)).status).toBe(protocol === "grpc" ? 503 : 403);
    expect(served).toEqual([]);
    expect(refused).toMatchObject([{ reason: "gateway_unauthenticated" }]);
  });
});

describe("a real Envoy that is configured wrongly", () => {
  test("by joined headers is refused, and told what to set", async () => {
    const decisionPoint = fakeDecisionPoint({ rights });
    const { port, served } = await start({ protocol: "grpc", decisionPoint, filter: { encode_raw_headers: false } });
    const answer = await request(port, "GET /v1/invoices", bearer);
    expect(answer.status).toBe(403);
    expect(answer.body).toContain("encode_raw_headers");
    expect({ served, asked: decisionPoint.asked }).toEqual({ served: [], asked: [] });
  });
});
