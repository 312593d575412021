import { pino } from "pino";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { WayleaveError } from "../core/errors.ts";
import type { AuditEvent } from "../core/record.ts";
import type { ExchangeRequest } from "../session/exchange.ts";
import { createApp } from "./app.ts";
import { type TokenRouteDeps, tokenRoutes } from "./token.ts";

const spiffe = "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe";
const runner = "spiffe://acme.example/runner/linux-1";

let app: ReturnType<typeof createApp>;
let asked: ExchangeRequest[];
let noted: AuditEvent[];
let refusal: WayleaveError;

beforeEach(() => {
  asked = [];
  noted = [];
  refusal = new WayleaveError("no_role", "nothing is granted here");
  const deps: TokenRouteDeps = {
    issuerUrl: "https://wayleave.example",
    proof: async () => expect.unreachable("no proof was sent"),
    now: () => 0,
    async exchange(request) {
      asked.push(request);
      throw refusal;
    },
    refresh: async () => expect.unreachable("nothing is refreshed"),
    revoke: async () => undefined,
    ownerOf: () => undefined,
    note: (event) => {
      noted.push(event);
      return "rec_000000000001";
    },
    fingerprint: () => "fp_1",
    async runner(svid) {
      if (svid === "good") return runner;
      throw new WayleaveError("credential_invalid", "The JWT-SVID is not one a known trust domain signed.");
    },
    targets: () => [],
    targetOfResource: () => expect.unreachable("no resource was named"),
  };
  app = createApp({ log: pino({ level: "silent" }), behindProxy: false, routes: [tokenRoutes(deps)] });
});
afterEach(() => app.close());

const exchange = (more: Readonly<Record<string, string>>) =>
  app.inject({
    method: "POST",
    url: "/oauth2/token",
    headers: { "content-type": "application/x-www-form-urlencoded" },
    payload: new URLSearchParams({
      grant_type: "urn:ietf:params:oauth:grant-type:token-exchange",
      subject_token: "e30.e30.sig",
      subject_token_type: "urn:ietf:params:oauth:token-type:id_token",
      ...more,
    }).toString(),
  });

describe("an exchange with a runner's own SVID", () => {
  test("hands on whom it proves, and one without hands on nobody", async () => {
    await exchange({ client_assertion_type: spiffe, client_assertion: "good" });
    await exchange({});
    expect(asked.map((request) => request.runner)).toEqual([runner, undefined]);
  });

  test.each([
    { why: "without a type", more: { client_assertion: "good" }, code: "invalid_request" },
    {
      why: "of another type",
      more: {
        client_assertion_type: "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        client_assertion: "good",
      },
      code: "invalid_request",
    },
    { why: "that is missing", more: { client_assertion_type: spiffe }, code: "invalid_request" },
    {
      why: "that proves nobody",
      more: { client_assertion_type: spiffe, client_assertion: "stolen-and-secret" },
      code: "credential_invalid",
    },
  ])("is refused for one $why, with a record that does not hold it", async ({ more, code }) => {
    const answer = await exchange(more);
    expect(answer.statusCode).toBeGreaterThanOrEqual(400);
    expect(answer.json()).toMatchObject({ code, record: "rec_000000000001" });
    expect(asked).toEqual([]);
    expect(noted).toMatchObject([{ kind: "exchange.refused", data: { code, token: "fp_1" } }]);
    expect(JSON.stringify(noted) + answer.body).not.toContain("stolen-and-secret");
  });
});

test("who comes too often is told when to come again, and it is recorded", async () => {
  const detail = "acme/shop has as many sessions as sessions.caps lets it have in a minute (60); try again in 7 s.";
  refusal = new WayleaveError("issuance_capped", detail, { retryAfterSeconds: 7 });
  const answer = await exchange({});
  expect([answer.statusCode, answer.headers["retry-after"], answer.json().error]).toEqual([
    429,
    "7",
    "temporarily_unavailable",
  ]);
  expect(noted).toMatchObject([{ kind: "exchange.refused", data: { code: "issuance_capped", detail } }]);
});
