import { expect, test } from "vitest";
import { errorCodes, WayleaveError } from "../src/core/errors.ts";
import type { Answer } from "../src/gateway/decision-point.ts";
import { always, askHttp } from "../src/gateway/envoy/check.fake.ts";
import { failureAnswers, failureErrors, failures } from "../src/gateway/failure-answers.ts";
import { secretHash } from "../src/gateway/gateway-guard.ts";
import { createNginxDialect } from "../src/gateway/nginx/dialect.ts";
import { printNginx } from "../src/gateway/nginx/nginx-config.ts";
import { fakePolicy } from "../src/gateway/nginx/policy.fake.ts";
import { renderServer } from "../src/gateway/nginx/render-server.ts";
import { checkSettings } from "../src/gateway/nginx/settings.ts";

const answerFor = (failure: (typeof failures)[number], reason: Answer["reason"]): Partial<Answer> => ({
  outcome: "deny",
  reason,
  unauthenticated: failure === "unauthenticated",
  ...(failure === "rate_limited" ? { retryAfterSeconds: 7 } : {}),
});

test.each(failures)("NGINX is told of %s as the table says", async (failure) => {
  const { gateway, decision, reason } = failureAnswers.nginx[failure];
  const dialect = createNginxDialect({
    gateways: [{ name: "edge-1", secretHashes: [secretHash("s")], targets: ["billing"] }],
    decisionPoint: always(answerFor(failure, reason)),
  });
  const asked = {
    "X-Wayleave-Gateway": "edge-1",
    "X-Wayleave-Gateway-Secret": "s",
    "X-Wayleave-Target": "billing",
    "X-Original-Method": "GET",
    "X-Original-Host": "billing.internal",
    "X-Original-URI": "/v1",
  };
  const { status, headers } = await dialect({ method: "GET", rawHeaders: Object.entries(asked).flat() });
  expect(status).toBe(gateway);
  expect(headers).toContainEqual(["X-Wayleave-Decision", decision]);
  expect(headers).toContainEqual(["X-Wayleave-Reason", reason]);
});

test.each(failures)("Envoy is told of %s as the table says", async (failure) => {
  const { gateway, decision, reason } = failureAnswers.envoy[failure];
  const { status, headers } = await askHttp(always(answerFor(failure, reason)));
  expect(status).toBe(gateway);
  expect(headers).toMatchObject({ "x-wayleave-decision": decision, "x-wayleave-reason": reason });
});

test("NGINX gives its clients every status of the table, and no other", () => {
  const policy = fakePolicy([{ name: "billing" }]);
  const gateway = { name: "edge-1", brokerUrl: "http://127.0.0.1:1", secretFile: "/s", targets: ["billing"] };
  const text = printNginx(renderServer(checkSettings(gateway, policy)));
  const said = new Set([...text.matchAll(/return (\d{3}) /g)].map(([, status]) => Number(status)));
  expect([...said].toSorted()).toEqual(failures.map((one) => failureAnswers.nginx[one].client).toSorted());
});

test("an outage has a status, an error and an exit of its own, at every gateway", () => {
  for (const answers of Object.values(failureAnswers)) {
    for (const failure of failures) {
      expect(answers[failure].client === 503).toBe(failure === "outage");
      expect(answers[failure].decision === "outage").toBe(failure === "outage");
    }
  }
  for (const failure of failures) {
    expect(new WayleaveError(failureErrors[failure], "").wire.exit === 5).toBe(failure === "outage");
  }
});

test.each(errorCodes)("%s is a refusal or an outage, never both", (code) => {
  const { http, exit, oauth } = new WayleaveError(code, "").wire;
  if (exit === 5) expect({ http, oauth }).toEqual({ http: 503, oauth: "temporarily_unavailable" });
  if (exit === 3) expect(http).toBeLessThan(500);
});
