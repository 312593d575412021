import { createHmac } from "node:crypto";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { WayleaveError } from "../../core/errors.ts";
import type { HookRequest, HookSecrets } from "../provider.ts";
import { readBuildkiteHook } from "./hooks.ts";

const bytes = (body: unknown): Uint8Array =>
  new TextEncoder().encode(typeof body === "string" ? body : JSON.stringify(body));
const token = "bk-secret";
const signedAt = 1_767_225_600;
const nowMs = signedAt * 1000;
// The reference's vector.
const mac = "0d34c47aa61faf5d9ae11bf8ed9e2a2d39332e6d63675a1c95abea3960415a71";
const vector: HookRequest = {
  headers: { "x-buildkite-signature": `timestamp=${signedAt},signature=${mac}` },
  body: bytes('{"event":"job.finished"}'),
};

const jobId = "0191a000-0000-4000-8000-000000000004";
const pipelineId = "0191a000-0000-4000-8000-000000000002";
const finished = {
  event: "job.finished",
  job: { id: jobId, type: "script", name: "smoke", state: "passed", exit_status: 0 },
  build: { id: "0191a000-0000-4000-8000-000000000003", number: 481 },
  pipeline: { id: pipelineId, slug: "shop-e2e" },
  sender: { id: "x", name: "y" },
};

const withToken = (body: unknown, value: string | readonly string[] | undefined = token): HookRequest => ({
  headers: { "x-buildkite-token": value },
  body: bytes(body),
});
const read = (body: unknown) => readBuildkiteHook(withToken(body), { token }, nowMs);

function signed(body: unknown, timestamp: string | number = signedAt): HookRequest {
  const digest = createHmac("sha256", token).update(`${timestamp}.`).update(bytes(body)).digest("hex");
  return { headers: { "x-buildkite-signature": `timestamp=${timestamp},signature=${digest}` }, body: bytes(body) };
}

describe("a webhook is authentic", () => {
  test("when it is the reference's vector, which then lacks a job", () => {
    for (const secrets of [{ signing: token }, { token }]) {
      expect(() => readBuildkiteHook(vector, secrets, nowMs)).toThrow(
        expect.objectContaining({ code: "webhook_malformed" }),
      );
    }
  });

  test.each([
    { what: "signed, with a signing secret", request: signed(finished), secrets: { signing: token } },
    { what: "signed by the token", request: signed(finished), secrets: { token } },
    { what: "by its token", request: withToken(finished), secrets: { token } },
  ])("$what", ({ request, secrets }) => {
    expect(readBuildkiteHook(request, secrets, nowMs)).toEqual({
      event: { kind: "job", projectId: pipelineId, jobId, status: "passed", over: true },
      delivery: `job.finished:${jobId}:passed`,
    });
  });
});

describe("a webhook is refused when", () => {
  const header = (value: string | readonly string[]): HookRequest => ({
    ...vector,
    headers: { "x-buildkite-signature": value },
  });
  test.each<{ what: string; request: HookRequest; secrets: HookSecrets; at?: number }>([
    {
      what: "its body changed",
      request: { ...vector, body: bytes('{"event":"job.finished" }') },
      secrets: { signing: token },
    },
    {
      what: "its time changed",
      request: header(`timestamp=${signedAt + 1},signature=${mac}`),
      secrets: { signing: token },
    },
    {
      what: "its signature is in capitals",
      request: header(`timestamp=${signedAt},signature=${mac.toUpperCase()}`),
      secrets: { signing: token },
    },
    {
      what: "its signature is cut short",
      request: header(`timestamp=${signedAt},signature=${mac.slice(0, 62)}`),
      secrets: { signing: token },
    },
    {
      what: "its signature is empty",
      request: header(`timestamp=${signedAt},signature=`),
      secrets: { signing: token },
    },
    {
      what: "its header is in another order",
      request: header(`signature=${mac},timestamp=${signedAt}`),
      secrets: { signing: token },
    },
    { what: "its header is empty", request: header(""), secrets: { signing: token } },
    { what: "its header came twice", request: header(["a", "b"]), secrets: { signing: token } },
    { what: "it is 301 s old", request: vector, secrets: { signing: token }, at: nowMs + 301_000 },
    { what: "it is 301 s early", request: vector, secrets: { signing: token }, at: nowMs - 301_000 },
    { what: "another secret signed it", request: vector, secrets: { signing: "other" } },
    {
      what: "a wrong signature comes beside the right token",
      request: {
        ...withToken(finished),
        headers: {
          "x-buildkite-token": token,
          "x-buildkite-signature": `timestamp=${signedAt},signature=${"0".repeat(64)}`,
        },
      },
      secrets: { token },
    },
    { what: "a signature is wanted and the token comes", request: withToken(finished), secrets: { signing: token } },
    {
      what: "a signature is wanted and the token comes, both configured",
      request: withToken(finished),
      secrets: { signing: token, token },
    },
    { what: "the token is another", request: withToken(finished, "bk-secre"), secrets: { token } },
    { what: "the token is missing", request: { headers: {}, body: bytes(finished) }, secrets: { token } },
    { what: "the token came twice", request: withToken(finished, [token, token]), secrets: { token } },
    { what: "the configured token is empty", request: withToken(finished, ""), secrets: { token: "" } },
    { what: "nothing is configured", request: withToken(finished), secrets: {} },
    {
      what: "nothing is configured and it is signed with nothing",
      request: {
        headers: {
          "x-buildkite-signature": `timestamp=${signedAt},signature=${createHmac("sha256", "").update(`${signedAt}.{}`).digest("hex")}`,
        },
        body: bytes("{}"),
      },
      secrets: {},
    },
  ])("$what", ({ request, secrets, at }) => {
    expect(() => readBuildkiteHook(request, secrets, at ?? nowMs)).toThrow(
      expect.objectContaining({ code: "webhook_refused" }),
    );
  });
});

test.each([
  ...["passed", "failed", "canceled", "timed_out", "skipped", "broken", "expired"].map((state) => ({
    event: "job.finished",
    state,
    over: true,
  })),
  { event: "job.finished", state: "finished", over: true },
  { event: "job.started", state: "running", over: false },
  { event: "job.started", state: "canceled", over: true }, // the body is as of sending, not of the event
  { event: "job.scheduled", state: "scheduled", over: false },
  { event: "job.promised_exit_status", state: "running", over: false },
  { event: "job.activated", state: "canceling", over: false },
  { event: "job.activated", state: "something_new", over: false },
])("$event with $state: over is $over", ({ event, state, over }) => {
  expect(read({ ...finished, event, job: { ...finished.job, state } }).event).toMatchObject({ status: state, over });
});

test.each(["ping", "build.finished", "agent.lost", "cluster_token.registration_blocked"])("%s is ignored", (event) => {
  expect(read({ event })).toEqual({ event: { kind: "ignored", event } });
});

describe("webhook_malformed:", () => {
  test.each([
    { what: "no JSON", body: "payload", says: "not JSON" },
    { what: "a list", body: [finished], says: "no JSON object" },
    { what: "no event", body: { ...finished, event: undefined }, says: "names no event" },
    { what: "an event that is a number", body: { ...finished, event: 1 }, says: "names no event" },
    { what: "a job without id", body: { ...finished, job: { state: "passed" } }, says: "no usable job.id" },
    {
      what: "a job whose id is no UUID",
      body: { ...finished, job: { id: "7712", state: "passed" } },
      says: "no usable job.id",
    },
    { what: "a job without state", body: { ...finished, job: { id: jobId } }, says: "no usable job.state" },
    { what: "no pipeline", body: { ...finished, pipeline: undefined }, says: "no usable pipeline" },
  ])("$what", ({ body, says }) => {
    expect(() => read(body)).toThrow(
      expect.objectContaining({ code: "webhook_malformed", message: expect.stringContaining(says) }),
    );
  });
});

test("an authentic body of arbitrary JSON is an event or webhook_malformed", () => {
  const body = fc.oneof(fc.jsonValue(), fc.record({ event: fc.constant("job.finished"), job: fc.jsonValue() }));
  fc.assert(
    fc.property(body, (value) => {
      try {
        expect(["job", "ignored"]).toContain(read(value).event.kind);
      } catch (error) {
        expect(error).toBeInstanceOf(WayleaveError);
        expect(error).toMatchObject({ code: "webhook_malformed" });
      }
    }),
  );
});
