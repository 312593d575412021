import { connect as connectHttp2, type OutgoingHttpHeaders } from "node:http2";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { DecisionPoint, Question } from "../src/gateway/decision-point.ts";
import type { Policy } from "../src/policy/policy.ts";
import type { HostileRequest } from "./hostile-request.ts";
import { hostileRequests } from "./hostile-requests.ts";
import { type Lab, type RunningBroker, sendBytes, startLab } from "./nginx-lab.ts";
import { upstreamReadings } from "./upstream-readings.ts";

/** Who decides in the suite, by the policy the corpus is aimed at (`hostile-request.ts`). */
export interface HostileReference {
  /** For rendering: an enforced http target `billing`. */
  readonly policy: Policy;
  readonly decisionPoint: DecisionPoint | RunningBroker;
  /** The decision function on one request: why it refuses, or undefined. Asked about what the upstream says it served. */
  readonly refuses: (question: Question) => string | undefined;
  /** Sent wherever the corpus says `Bearer good`. */
  readonly token: string;
}

/** Locations of every kind, all protected: which one NGINX chose by its own reading of the path must not matter. */
const server = (upstream: string) =>
  ["/", "/v1/deep/", "= /v1/exact", "~* \\.json$", "^~ /admin"]
    .map((at) => `location ${at} { include @lab/wayleave/wayleave-location-billing.conf; proxy_pass ${upstream}; }`)
    .join("\n");

/** `as it comes`, and with every directive that lets odd headers in. */
const configurations = [
  { name: "as it comes", http: "" },
  { name: "loosened", http: "underscores_in_headers on; ignore_invalid_headers off; merge_slashes off;" },
];

/** Registers the corpus against real NGINX, in each configuration. */
export function hostileSuite(reference: HostileReference): void {
  const bearer = `Bearer ${reference.token}`;
  describe.each(configurations)("NGINX $name", ({ http }) => {
    let lab: Lab;
    beforeAll(async () => {
      lab = await startLab({ policy: reference.policy, decisionPoint: reference.decisionPoint, http, server });
    });
    afterAll(async () => {
      await lab.stop();
      lab.nginx.remove();
    });

    test.each(hostileRequests)("$name", async (request) => {
      const { count, wrong } = await outcome(lab, reference, request);
      expect(wrong).toEqual([]);
      if (request.expected === "served") expect(count).toBe(1);
      if (request.expected === "refused") expect(count).toBe(0);
    });

    test.each(http2Requests)("HTTP/2: $name", async ({ headers, served }) => {
      await sendHttp2(lab.nginx.port, { authorization: bearer, ...headers });
      const count = lab.served.length;
      expect(wrongs(lab, reference, bearer)).toEqual([]);
      expect(count).toBe(served);
    });
  });

  test("an upstream that was not protected would fail this suite", async () => {
    const unprotected = (upstream: string) => `location / { proxy_pass ${upstream}; proxy_set_header Host $host; }`;
    const { policy, decisionPoint } = reference;
    const lab = await startLab({ policy, decisionPoint, server: unprotected });
    let failed = 0;
    for (const request of hostileRequests) {
      const { wrong } = await outcome(lab, reference, request);
      if (wrong.length > 0) failed++;
    }
    await lab.stop();
    lab.nginx.remove();
    expect(failed).toBeGreaterThan(100);
  });
}

async function outcome(lab: Lab, reference: HostileReference, request: HostileRequest) {
  const bearer = `Bearer ${reference.token}`;
  await sendBytes(lab.nginx.port, request.bytes.replaceAll("Bearer good", bearer));
  const count = lab.served.length;
  return { count, wrong: wrongs(lab, reference, request.authorization?.replace("Bearer good", bearer)) };
}

/** What the upstream did that the decision function would have refused, or was told by the client. */
function wrongs(lab: Lab, reference: HostileReference, authorization: string | undefined): string[] {
  return lab.served.splice(0).flatMap((served) => {
    const told = JSON.stringify(served.rawHeaders);
    const spoofed = told.includes("spoofed") ? [`a client's identity header reached it: ${told}`] : [];
    const refused = upstreamReadings(served).flatMap(({ how, ...operation }) => {
      const reason = reference.refuses({ gateway: "edge-1", target: "billing", operation, authorization });
      return reason === undefined ? [] : [`${how}, it served ${JSON.stringify(operation)}: ${reason}`];
    });
    return [...spoofed, ...refused];
  });
}

const http2Requests: readonly { name: string; headers: OutgoingHttpHeaders; served: number }[] = [
  { name: "a plain request", headers: {}, served: 1 },
  { name: "a path with dots", headers: { ":path": "/v1/../admin" }, served: 0 },
  { name: "an encoded path", headers: { ":path": "/v1/%2e%2e/admin" }, served: 0 },
  { name: "a path without a slash", headers: { ":path": "v1/a" }, served: 0 },
  { name: "an asterisk", headers: { ":path": "*" }, served: 0 },
  { name: "another method", headers: { ":method": "DELETE" }, served: 0 },
  { name: "a lower-case method", headers: { ":method": "get" }, served: 0 },
  { name: "another authority", headers: { ":authority": "other.internal" }, served: 0 },
  {
    name: "an authority against the host header",
    headers: { ":authority": "other.internal", host: "billing.internal" },
    served: 0,
  },
  { name: "a host header against the authority", headers: { host: "other.internal" }, served: 0 },
  { name: "an authority with user information", headers: { ":authority": "x@billing.internal" }, served: 0 },
  { name: "no credential", headers: { authorization: "" }, served: 0 },
  { name: "identity headers", headers: { "x-wayleave-subject": "spoofed", "txn-token": "spoofed" }, served: 1 },
  { name: "a method override", headers: { "x-http-method-override": "DELETE" }, served: 1 },
  { name: "two forwarded hosts", headers: { "x-forwarded-host": ["a", "b"] }, served: 0 },
];

/** One HTTP/2 request over its own connection; a reset stream is a refusal. */
async function sendHttp2(port: number, headers: OutgoingHttpHeaders): Promise<void> {
  const session = connectHttp2(`http://127.0.0.1:${port}`);
  await new Promise<void>((resolve, reject) => {
    session.on("error", reject);
    session.on("close", resolve);
    const stream = session.request({ ":path": "/v1/a", ":authority": "billing.internal", ...headers });
    stream.on("error", () => session.close());
    stream.on("close", () => session.close());
    stream.resume().end();
  });
}
