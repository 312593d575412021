import { expect, test } from "vitest";
import { type FakePolicy, fakeDecisionPoint, refusedFor } from "../src/gateway/nginx/decision-point.fake.ts";
import { fakePolicy } from "../src/gateway/nginx/policy.fake.ts";
import { hostileRequests } from "./hostile-requests.ts";
import { hostileSuite } from "./nginx-hostile-suite.ts";

const policy: FakePolicy = {
  rights: [{ token: "good", target: "billing", hosts: ["billing.internal"], methods: ["GET"], prefix: ["v1"] }],
};

test("the corpus is large, without doubles, and has plain requests to compare with", () => {
  expect(hostileRequests.length).toBeGreaterThanOrEqual(200);
  expect(new Set(hostileRequests.map(({ name }) => name)).size).toBe(hostileRequests.length);
  expect(hostileRequests.filter(({ expected }) => expected === "served").length).toBeGreaterThan(5);
});

hostileSuite({
  policy: fakePolicy([{ name: "billing" }]),
  decisionPoint: fakeDecisionPoint(policy),
  refuses: (question) => refusedFor(policy, question),
  token: "good",
});
