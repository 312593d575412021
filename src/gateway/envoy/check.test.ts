import { describe, expect, test } from "vitest";
import type { Answer, DecisionPoint } from "../decision-point.ts";
import { fakeDecisionPoint } from "../nginx/decision-point.fake.ts";
import { headerSpellings, identityHeaders, overrideHeaders } from "../stripped-headers.ts";
import { always, answerOf, askGrpc, askHttp, hashOf, type Lines, secret } from "./check.fake.ts";
import { createEnvoyCheck } from "./check.ts";

const rights = [{ token: "good", target: "billing", hosts: ["billing.internal"], methods: ["GET"], prefix: ["v1"] }];
const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const good = ["authorization", "Bearer good"] as const;

/** Both ways to ask, with the client's headers. */
const ways: readonly {
  readonly way: string;
  ask(point: DecisionPoint, headers?: Lines): ReturnType<typeof askGrpc>;
}[] = [
  { way: "gRPC", ask: (point, headers) => askGrpc(point, headers === undefined ? {} : { headers }) },
  { way: "HTTP", ask: (point, headers) => askHttp(point, headers === undefined ? {} : { headers }) },
];

describe.each(ways)("over $way", ({ ask, way }) => {
  test("an allowed request goes on with who it is, over whatever it said of itself", async () => {
    const { status, headers, remove, body } = await ask(fakeDecisionPoint({ rights }));
    expect({ status, body }).toEqual({ status: 200, body: undefined });
    expect(headers).toMatchObject({
      "x-wayleave-decision": "allow",
      "x-wayleave-record": "rec_000000000001",
      "x-wayleave-session": "ses_8f2k8f2k8f2k8f2k",
      "x-wayleave-subject": "spiffe://acme.example/ci/gitlab/1042",
      "x-wayleave-job": "acme/shop#7712",
      "x-wayleave-role": "read-billing",
      traceparent: "00-11111111111111111111111111111111-2222222222222222-01",
    });
    expect(remove).toContain("authorization");
    expect(remove).toContain("txn-token");
  });

  test("the question is the client's request, its path cut at the first question mark", async () => {
    const point = fakeDecisionPoint({ rights });
    await ask(point, [good, ["traceparent", traceparent], ["accept", "*/*"]]);
    expect(point.asked).toEqual([
      {
        gateway: "edge-1",
        target: "billing",
        operation: { kind: "http", method: "GET", host: "billing.internal", path: "/v1/invoices", stream: false },
        authorization: "Bearer good",
        traceparent,
      },
    ]);
  });

  test("a proof is part of the question, and goes no further than the token it proves", async () => {
    const point = fakeDecisionPoint({ rights });
    const { remove } = await ask(point, [good, ["DPoP", "a.b.c"]]);
    expect(point.asked).toMatchObject([{ authorization: "Bearer good", proof: "a.b.c" }]);
    expect(remove).toEqual(expect.arrayContaining(["authorization", "dpop"]));
    const { remove: kept } = await ask(always({ consumesAuthorization: false }), [["dpop", "a.b.c"]]);
    expect(kept).not.toContain("dpop");
  });

  test.each([...identityHeaders, ...overrideHeaders])("%s of a client does not go on", async (name) => {
    const { status, headers, remove } = await ask(fakeDecisionPoint({ rights }), [good, [name, "spoofed"]]);
    if (way === "HTTP" && /gateway|target/.test(name)) {
      expect(status).toBe(403);
      return;
    }
    expect(status).toBe(200);
    if (name in headers) expect(headers[name]).not.toContain("spoofed");
    else expect(remove).toContain(name);
    expect(remove.filter((removed) => removed in headers && removed !== "x-wayleave-reason")).toEqual([]);
  });

  test("no spelling of ours that a server may take for it goes on", async () => {
    const spellings = [...identityHeaders, ...overrideHeaders].flatMap(headerSpellings);
    const twins = spellings.filter((name) => !/^[a-z-]+$/.test(name));
    expect(twins.length).toBeGreaterThan(100);
    const { status, remove } = await ask(fakeDecisionPoint({ rights }), [
      good,
      ...twins.map((name) => [name.toUpperCase(), "spoofed"] as const),
    ]);
    expect(status).toBe(200);
    for (const name of twins) expect(remove).toContain(name);
  });

  test("an observed or shared request goes on, with no identity that was not given", async () => {
    const spoofed: Lines = [
      ["x-wayleave-session", "ses_spoofed"],
      ["x-wayleave-subject", "spiffe://spoofed"],
      ["x_wayleave_job", "spoofed"],
      ["txn-token", "a.b.c"],
    ];
    const observed = fakeDecisionPoint({ rights: [], observed: ["billing"] });
    const shared = fakeDecisionPoint({ rights: [], shared: ["billing"] });
    for (const [point, decision] of [
      [observed, "would_deny"],
      [shared, "pass"],
    ] as const) {
      const { status, headers, remove } = await ask(point, spoofed);
      expect(status).toBe(200);
      expect(headers["x-wayleave-decision"]).toBe(decision);
      expect(JSON.stringify(headers)).not.toContain("spoofed");
      for (const [name] of spoofed) expect(remove).toContain(name);
      expect(remove).not.toContain("authorization");
    }
  });

  test.each<{ partial: Partial<Answer>; status: number; headers: Record<string, string> }>([
    {
      partial: { reason: "no_credential", unauthenticated: true },
      status: 401,
      headers: { "www-authenticate": 'Bearer realm="wayleave"' },
    },
    {
      partial: { reason: "session_ended", unauthenticated: true },
      status: 401,
      headers: {
        "www-authenticate": 'Bearer realm="wayleave", error="invalid_token", error_description="the session is over"',
      },
    },
    { partial: { reason: "no_role" }, status: 403, headers: {} },
    { partial: { reason: "limit_exceeded", retryAfterSeconds: 1.2 }, status: 429, headers: { "retry-after": "2" } },
    { partial: { reason: "outage", record: "" }, status: 503, headers: {} },
  ])("a denial for $partial.reason is $status", async ({ partial, status, headers }) => {
    const answer = await ask(always({ outcome: "deny", ...partial }));
    expect(answer.status).toBe(status);
    expect(answer.headers).toMatchObject({
      ...headers,
      "content-type": "application/problem+json",
      "cache-control": "no-store",
      "x-wayleave-decision": partial.reason === "outage" ? "outage" : "deny",
      "x-wayleave-reason": partial.reason,
    });
    if (status !== 401) expect(answer.headers).not.toHaveProperty("www-authenticate");
    expect(answer.body).toMatchObject({ status, code: partial.reason });
    for (const part of ["title", "detail", "next"]) expect(answer.body).toHaveProperty(part, expect.any(String));
  });

  test("a denial explains itself: what was asked, the role that came nearest, what failed, what next, the record", async () => {
    const closest = {
      role: "release",
      file: "policy.yaml",
      line: 7,
      met: 1,
      of: 2,
      failed: "change.merged",
      found: "false",
    };
    const decision = {
      effect: "deny",
      reason: "condition_failed",
      mode: "enforce",
      policyVersion: "sha256:abc",
      facts: [{ name: "change.merged", value: false, ageMs: 4_000 }],
      unconditional: false,
      closest,
    } as const;
    const { body } = await ask(always({ outcome: "deny", reason: "condition_failed", decision }));
    expect(body).toEqual({
      type: "about:blank",
      title: "denied  GET billing /v1/invoices",
      status: 403,
      code: "condition_failed",
      detail: "change.merged is false (asked the CI 4 s ago)",
      closest: "role release (policy.yaml:7), 1 of 2 conditions not met",
      next: "merge the merge request; this job may then go on with what it holds",
      record: "rec_000000000001",
      explain: "wayleave explain rec_000000000001",
    });
  });

  test.each(["", "a b", "a.b.c\r\nx: y", "a.b.ü", `${"a".repeat(5_000)}.b.c`])(
    "an assertion that no header can carry is an outage: %s",
    async (assertion) => {
      const { status, headers } = await ask(always({ assertion }));
      if (assertion !== "")
        expect({ status, decision: headers["x-wayleave-decision"] }).toEqual({ status: 503, decision: "outage" });
      expect(headers["txn-token"]).toBeUndefined();
    },
  );

  test("a denial of a gRPC call is one line, since Envoy makes it the call's message", async () => {
    const { status, headers, body } = await ask(always({ outcome: "deny", reason: "no_role" }), [
      ["content-type", "application/grpc"],
    ]);
    expect({ status, reason: headers["x-wayleave-reason"] }).toEqual({ status: 403, reason: "no_role" });
    expect(body).toBe(
      "denied  GET billing /v1/invoices; no role of this job allows the operation; add the operation to a role that is for this job: wayleave policy can shows the effect; wayleave explain rec_000000000001",
    );
  });

  test("other people's credentials may have commas", async () => {
    const digest = 'Digest username="a", realm="b"';
    const { status, remove } = await ask(fakeDecisionPoint({ rights: [], observed: ["billing"] }), [
      ["authorization", digest],
    ]);
    expect(status).toBe(200);
    expect(remove).not.toContain("authorization");
  });

  test("an assertion goes on in Txn-Token", async () => {
    const { headers, remove } = await ask(always({ assertion: "eyJ0.eyJ0.c2ln" }));
    expect(headers["txn-token"]).toBe("eyJ0.eyJ0.c2ln");
    expect(remove).not.toContain("txn-token");
  });

  test("a job's name cannot break out of its header", async () => {
    const { headers } = await ask(
      always({ session: "ses_1", job: "a\r\nx-wayleave-role: root/ü#1", subject: "spiffe://x/y" }),
    );
    expect(headers["x-wayleave-job"]).toBe("a%0D%0Ax-wayleave-role: root/%C3%BC#1");
    const long = await ask(always({ session: "ses_1", job: "x".repeat(10_000), subject: "" }));
    expect(long.headers["x-wayleave-job"]).toHaveLength(200);
  });

  test.each<{ what: string; point: DecisionPoint }>([
    {
      what: "throws",
      point: {
        answer: () => {
          throw new Error("hunter2");
        },
      },
    },
    { what: "rejects", point: { answer: () => Promise.reject(new Error("hunter2")) } },
    { what: "gives nonsense", point: { answer: () => undefined as unknown as Answer } },
    { what: "promises nonsense", point: { answer: () => Promise.resolve(undefined as unknown as Answer) } },
  ])("a decision point that $what is an outage", async ({ point }) => {
    const answer = await ask(point);
    expect(answer).toMatchObject({
      status: 503,
      headers: { "x-wayleave-decision": "outage", "x-wayleave-reason": "outage" },
    });
    expect(JSON.stringify(answer)).not.toContain("hunter2");
  });

  test("a decision that takes time is waited for", async () => {
    const { status } = await ask({ answer: () => Promise.resolve(answerOf({ outcome: "deny", reason: "no_role" })) });
    expect(status).toBe(403);
  });

  test.each<{ what: string; headers: Lines }>([
    { what: "two Authorization headers", headers: [good, ["Authorization", "Bearer other"]] },
    { what: "the same Authorization twice", headers: [good, good] },
    { what: "two that Envoy joined", headers: [["authorization", "Bearer good,Bearer other"]] },
    { what: "two schemes that Envoy joined", headers: [["authorization", "Digest a=b,bearer other"]] },
    { what: "two Hosts", headers: [good, ["host", "billing.internal"], ["Host", "billing.internal"]] },
    {
      what: "two Upgrades",
      headers: [good, ["connection", "upgrade"], ["upgrade", "websocket"], ["upgrade", "websocket"]],
    },
    { what: "an identity header twice", headers: [good, ["x-wayleave-session", "a"], ["X-Wayleave-Session", "a"]] },
    {
      what: "an override header twice",
      headers: [good, ["x-http-method-override", "A"], ["x-http-method-override", "B"]],
    },
    { what: "two proofs", headers: [good, ["dpop", "a.b.c"], ["DPoP", "a.b.c"]] },
    { what: "a second credential that Envoy joined", headers: [["authorization", "DPoP good, DPoP other"]] },
    { what: "X-Forwarded-Host twice", headers: [good, ["x-forwarded-host", "a"], ["x-forwarded-host", "b"]] },
    { what: "Connection naming a header", headers: [good, ["connection", "x-wayleave-session"]] },
    { what: "Connection naming Authorization", headers: [good, ["connection", "close, Authorization"]] },
    { what: "Upgrade to h2c", headers: [good, ["connection", "upgrade"], ["upgrade", "h2c"]] },
    { what: "Upgrade without Connection", headers: [good, ["upgrade", "websocket"]] },
  ])("$what is ambiguous", async ({ headers }) => {
    const point = fakeDecisionPoint({ rights });
    const { status, headers: answered } = await ask(point, headers);
    expect({ status, reason: answered["x-wayleave-reason"] }).toEqual({ status: 403, reason: "ambiguous_request" });
    expect(point.asked[0]?.ambiguity).toEqual(expect.any(String));
  });

  test.each<{ what: string; headers: Lines }>([
    { what: "a WebSocket", headers: [good, ["connection", "Upgrade"], ["upgrade", "WebSocket"]] },
    { what: "gRPC", headers: [good, ["content-type", "application/grpc"]] },
    { what: "gRPC with a codec", headers: [good, ["content-type", "Application/grpc+proto; charset=x"]] },
    { what: "gRPC-Web", headers: [good, ["content-type", "application/grpc-web-text"]] },
    { what: "content types that Envoy joined", headers: [good, ["content-type", "text/plain, application/grpc"]] },
    {
      what: "one content type of two",
      headers: [good, ["content-type", "text/plain"], ["content-type", " application/grpc"]],
    },
  ])("$what is a stream", async ({ headers }) => {
    const point = fakeDecisionPoint({ rights });
    const { headers: answered } = await ask(point, headers);
    expect(answered["x-wayleave-reason"]).toBe("stream_refused");
    expect(point.asked).toMatchObject([{ operation: { stream: true } }]);
  });

  test.each(["application/json", "application/x-grpc", "text/plain; x=application/grpc"])(
    "%s is none",
    async (type) => {
      const { status } = await ask(fakeDecisionPoint({ rights }), [good, ["content-type", type]]);
      expect(status).toBe(200);
    },
  );

  test("two traceparents say nothing", async () => {
    const point = fakeDecisionPoint({ rights });
    await ask(point, [good, ["traceparent", traceparent], ["traceparent", traceparent]]);
    expect(point.asked[0]).not.toHaveProperty("traceparent");
  });
});

test.each(["", "hash", secret, `${hashOf(secret)}0`])(
  "a secret hash that is none is refused at once: %s",
  (secretHash) => {
    const gateways = [{ name: "edge-1", secretHashes: [secretHash], targets: [], peers: [] }];
    expect(() => createEnvoyCheck({ decisionPoint: always({}), gateways })).toThrow(TypeError);
  },
);
