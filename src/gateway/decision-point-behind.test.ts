import { describe, expect, test } from "vitest";
import { allow, fakePolicy, point, question } from "./decision-point.fake.ts";
import type { Question, TokenVerdict } from "./decision-point.ts";

describe("behind another gateway", () => {
  const behind: Question = { ...question, assertion: "signed" };
  const named: TokenVerdict = {
    state: "valid",
    token: {
      jti: "rec_0",
      sessionId: "ses_a",
      narrowing: { targets: ["billing"], roles: ["read"] },
      expiresAt: 31_000,
      names: ({ target, operation }) => target === "billing" && operation.kind === "http" && operation.path === "/v1/x",
    },
  };

  test("the assertion is who calls, goes on unchanged, and Authorization is left alone", async () => {
    const { made } = point({ verdict: named, token: () => expect.unreachable("the access token was looked at") });
    expect(await made.answer(behind)).toMatchObject({
      outcome: "allow",
      session: "ses_a",
      assertion: "signed",
      consumesAuthorization: false,
      cacheSeconds: 0,
    });
  });

  test("policy is asked with the assertion's narrowing, and told that the request was counted", async () => {
    const asked: object[] = [];
    const { made } = point({ verdict: named });
    const watched = point({
      verdict: named,
      policy: () => ({
        ...fakePolicy,
        decide: (request) => {
          asked.push(request);
          return allow;
        },
      }),
    });
    await made.answer(behind);
    await watched.made.answer(behind);
    expect(asked).toMatchObject([
      { narrowing: { targets: ["billing"], roles: ["read"] }, counted: true, gateway: "edge-1" },
    ]);
  });

  test("a target that requires an assertion gets the one at hand, and a proof was seen in front", async () => {
    const { made } = point({
      verdict: named,
      target: { assertion: "required", proof: "required" },
      mintAssertion: () => expect.unreachable("a second assertion was made"),
    });
    expect(await made.answer(behind)).toMatchObject({ outcome: "allow", assertion: "signed" });
  });

  test.each([
    { why: "no assertion", more: { assertion: "" }, verdict: named, reason: "no_credential" },
    { why: "an unusable one", more: {}, verdict: { state: "ours" } as const, reason: "credential_invalid" },
    {
      why: "one for another path",
      more: { operation: { ...behind.operation, path: "/v1/y" } as Question["operation"] },
      verdict: named,
      reason: "credential_invalid",
    },
    {
      why: "one of a session that is not here",
      more: {},
      verdict: { ...named, token: { ...named.token, sessionId: "ses_b" } } as const,
      reason: "session_unknown",
    },
  ])("$why is refused, also beside a good access token", async ({ more, verdict, reason }) => {
    const { made } = point({ verdict });
    const answer = await made.answer({ ...behind, ...more });
    expect(answer).toMatchObject({ outcome: "deny", reason });
    expect(answer).not.toHaveProperty("assertion");
  });
});
