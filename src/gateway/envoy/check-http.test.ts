import { describe, expect, test } from "vitest";
import { fakeDecisionPoint } from "../nginx/decision-point.fake.ts";
import { always, askHttp, type HttpQuestion, secret } from "./check.fake.ts";

const rights = [{ token: "good", target: "billing", hosts: ["billing.internal"], methods: ["GET"], prefix: ["v1"] }];

describe("over HTTP", () => {
  test.each<{ what: string; question: HttpQuestion; reason: string }>([
    {
      what: "no gateway",
      question: { gateway: { "x-wayleave-gateway": undefined } },
      reason: "gateway_unauthenticated",
    },
    {
      what: "no secret",
      question: { gateway: { "x-wayleave-gateway-secret": undefined } },
      reason: "gateway_unauthenticated",
    },
    {
      what: "a wrong secret",
      question: { gateway: { "x-wayleave-gateway-secret": "x" } },
      reason: "gateway_unauthenticated",
    },
    {
      what: "two secrets",
      question: { headers: [["X-Wayleave-Gateway-Secret", secret]] },
      reason: "gateway_unauthenticated",
    },
    { what: "two names", question: { headers: [["x-wayleave-gateway", "edge-1"]] }, reason: "gateway_unauthenticated" },
    { what: "a target it does not front", question: { url: "/authz/envoy/ledger/v1" }, reason: "target_unknown" },
    { what: "no target", question: { url: "/authz/envoy//v1" }, reason: "target_unknown" },
    { what: "an escaped target", question: { url: "/authz/envoy/bill%69ng/v1" }, reason: "target_unknown" },
    { what: "no path", question: { url: "/authz/envoy/billing" }, reason: "invalid_request" },
    { what: "a path of *", question: { url: "/authz/envoy/billing*" }, reason: "invalid_request" },
    { what: "a query at once", question: { url: "/authz/envoy/billing?/v1" }, reason: "target_unknown" },
    {
      what: "another target in the header",
      question: { gateway: { "x-wayleave-target": "ledger" } },
      reason: "invalid_request",
    },
  ])("a question with $what is refused before it is asked", async ({ question, reason }) => {
    const point = fakeDecisionPoint({ rights });
    const { status, headers, body } = await askHttp(point, question);
    expect({ status, reason: headers["x-wayleave-reason"] }).toEqual({ status: 403, reason });
    expect(body).toMatchObject({ code: reason });
    expect(point.asked).toEqual([]);
  });

  test.each(["//v1", "/v1/../admin", "/./v1"])("the path %s is read as it came", async (path) => {
    const point = fakeDecisionPoint({ rights });
    const { headers } = await askHttp(point, { url: `/authz/envoy/billing${path}` });
    expect(headers["x-wayleave-reason"]).toBe("ambiguous_path");
    expect(point.asked[0]?.operation).toMatchObject({ path });
  });

  test("who was refused is said to the gateway", async () => {
    const { headers } = await askHttp(
      always({ outcome: "deny", reason: "no_role", session: "ses_1", job: "acme/ü#1", subject: "spiffe://a/b" }),
    );
    expect(headers).toMatchObject({ "x-wayleave-session": "ses_1", "x-wayleave-job": "acme/%C3%BC#1" });
  });
});
