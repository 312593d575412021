import { createHmac } from "node:crypto";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { WayleaveError } from "../../core/errors.ts";
import type { HookRequest, HookSecrets } from "../provider.ts";
import { readGitlabHook } from "./hooks.ts";

const bytes = (body: unknown): Uint8Array =>
  new TextEncoder().encode(typeof body === "string" ? body : JSON.stringify(body));

// The reference's vector.
const signing = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const signedAt = 1_767_225_600;
const vector: HookRequest = {
  headers: {
    "webhook-id": "11111111-2222-3333-4444-555555555555",
    "webhook-timestamp": String(signedAt),
    "webhook-signature": "v1,w5/mIaLnXCrzCLgQUu9QZSNr2KW7GOCL03+AErtSsNY=",
  },
  body: bytes('{"object_kind":"build","build_id":42}'),
};
const signature = String(vector.headers["webhook-signature"]);
const nowMs = signedAt * 1000;

const jobHook = {
  object_kind: "build",
  build_id: 7712,
  build_name: "release",
  build_status: "success",
  pipeline_id: 5101,
  project_id: 1042,
  project_name: "Acme / Shop",
  commit: { id: 5101, sha: "a".repeat(40) },
  project: { id: 1042, path_with_namespace: "acme/shop" },
};
const mergeRequestHook = {
  object_kind: "merge_request",
  project: { id: 1042, path_with_namespace: "acme/shop" },
  object_attributes: {
    iid: 77,
    action: "merge",
    source_project_id: 6666,
    target_project_id: 1042,
    last_commit: { id: "b".repeat(40) },
  },
};

const withToken = (body: unknown, headers: HookRequest["headers"] = {}): HookRequest => ({
  headers: { "x-gitlab-token": "shared", ...headers },
  body: bytes(body),
});
const read = (body: unknown, headers?: HookRequest["headers"]) =>
  readGitlabHook(withToken(body, headers), { token: "shared" }, nowMs);

/** A hook signed over exactly these bytes. */
function signed(body: unknown, id = "delivery-1", timestamp: string | number = signedAt): HookRequest {
  const key = Buffer.from(signing.slice("whsec_".length), "base64");
  const mac = createHmac("sha256", key).update(`${id}.${timestamp}.`).update(bytes(body)).digest("base64");
  const headers = { "webhook-id": id, "webhook-timestamp": String(timestamp), "webhook-signature": `v1,${mac}` };
  return { headers, body: bytes(body) };
}

describe("a signed webhook", () => {
  test("of the reference's vector is authentic, and then lacks a status", () => {
    expect(() => readGitlabHook(vector, { signing }, nowMs)).toThrow(
      expect.objectContaining({ code: "webhook_malformed" }),
    );
  });

  test("is read, and its delivery is the signed id", () => {
    const request = signed(jobHook);
    const headers = { ...request.headers, "idempotency-key": "another" };
    expect(readGitlabHook({ ...request, headers }, { signing }, nowMs)).toMatchObject({
      event: { kind: "job", jobId: "7712" },
      delivery: "delivery-1",
    });
  });

  test.each([
    { what: "one of several entries is right", change: { "webhook-signature": `v1,AAAA v1a,x ${signature}` } },
    { what: "a token beside it is another", change: { "x-gitlab-token": "wrong" } },
  ])("is authentic when $what", ({ change }) => {
    const request = { ...vector, headers: { ...vector.headers, ...change } };
    expect(() => readGitlabHook(request, { signing, token: "shared" }, nowMs)).toThrow("no usable build_status");
  });

  test.each([300_000, -300_000])("is authentic %i ms from its time", (ms) => {
    expect(() => readGitlabHook(vector, { signing }, nowMs + ms)).toThrow("no usable build_status");
  });
});

describe("a webhook is refused when", () => {
  const change = (headers: HookRequest["headers"]): HookRequest => ({
    ...vector,
    headers: { ...vector.headers, ...headers },
  });
  test.each<{ what: string; request: HookRequest; secrets: HookSecrets; at?: number }>([
    {
      what: "its body has one more space",
      request: { ...vector, body: bytes('{"object_kind":"build", "build_id":42}') },
      secrets: { signing },
    },
    { what: "its id is another", request: change({ "webhook-id": "22222222" }), secrets: { signing } },
    {
      what: "its time is another",
      request: change({ "webhook-timestamp": String(signedAt + 1) }),
      secrets: { signing },
    },
    {
      what: "its signature is another version",
      request: change({ "webhook-signature": signature.replace("v1,", "v2,") }),
      secrets: { signing },
    },
    {
      what: "its signature lacks the version",
      request: change({ "webhook-signature": signature.slice(3) }),
      secrets: { signing },
    },
    {
      what: "its signature is cut short",
      request: change({ "webhook-signature": signature.slice(0, -1) }),
      secrets: { signing },
    },
    { what: "its signature is empty", request: change({ "webhook-signature": "v1," }), secrets: { signing } },
    { what: "its signature is missing", request: change({ "webhook-signature": undefined }), secrets: { signing } },
    { what: "its id is missing", request: change({ "webhook-id": undefined }), secrets: { signing } },
    { what: "its time is missing", request: change({ "webhook-timestamp": undefined }), secrets: { signing } },
    {
      what: "its signature came twice",
      request: change({ "webhook-signature": [signature, signature] }),
      secrets: { signing },
    },
    { what: "its time is no number", request: signed(jobHook, "x", "soon"), secrets: { signing } },
    { what: "its time is in ms", request: signed(jobHook, "x", nowMs), secrets: { signing } },
    { what: "its time has a fraction", request: signed(jobHook, "x", `${signedAt}.5`), secrets: { signing } },
    { what: "it is 301 s old", request: vector, secrets: { signing }, at: nowMs + 301_000 },
    { what: "it is 301 s early", request: vector, secrets: { signing }, at: nowMs - 301_000 },
    {
      what: "another key signed it",
      request: vector,
      secrets: { signing: `whsec_${Buffer.alloc(32, 7).toString("base64")}` },
    },
    { what: "the configured key lacks whsec_", request: vector, secrets: { signing: signing.slice(6) } },
    { what: "the configured key is empty", request: vector, secrets: { signing: "" } },
    { what: "the configured key is short", request: vector, secrets: { signing: "whsec_AAAA" } },
    {
      what: "a signature is wanted and only the token comes",
      request: withToken(jobHook),
      secrets: { signing, token: "shared" },
    },
    { what: "only a signature comes and a token is wanted", request: vector, secrets: { token: "shared" } },
    {
      what: "the token is another",
      request: withToken(jobHook, { "x-gitlab-token": "Shared" }),
      secrets: { token: "shared" },
    },
    {
      what: "the token is a prefix",
      request: withToken(jobHook, { "x-gitlab-token": "share" }),
      secrets: { token: "shared" },
    },
    {
      what: "the token is longer",
      request: withToken(jobHook, { "x-gitlab-token": "shared2" }),
      secrets: { token: "shared" },
    },
    { what: "the token is empty", request: withToken(jobHook, { "x-gitlab-token": "" }), secrets: { token: "shared" } },
    {
      what: "the token is missing",
      request: withToken(jobHook, { "x-gitlab-token": undefined }),
      secrets: { token: "shared" },
    },
    {
      what: "the token came twice",
      request: withToken(jobHook, { "x-gitlab-token": ["shared", "shared"] }),
      secrets: { token: "shared" },
    },
    {
      what: "the configured token is empty",
      request: withToken(jobHook, { "x-gitlab-token": "" }),
      secrets: { token: "" },
    },
    { what: "nothing is configured", request: withToken(jobHook), secrets: {} },
  ])("$what", ({ request, secrets, at }) => {
    expect(() => readGitlabHook(request, secrets, at ?? nowMs)).toThrow(
      expect.objectContaining({ code: "webhook_refused" }),
    );
  });
});

describe("a Job Hook", () => {
  test("says which job of which project, ids as text, the pipeline's id in commit.id ignored", () => {
    expect(read(jobHook, { "idempotency-key": "d-1" })).toEqual({
      event: { kind: "job", projectId: "1042", projectPath: "acme/shop", jobId: "7712", status: "success", over: true },
      delivery: "d-1",
    });
  });

  test.each([
    ...["success", "failed", "canceled", "skipped"].map((status) => ({ status, over: true })),
    ...["created", "waiting_for_resource", "preparing", "waiting_for_callback", "pending", "running"].map((status) => ({
      status,
      over: false,
    })),
    ...["canceling", "manual", "scheduled", "something_new"].map((status) => ({ status, over: false })),
  ])("with $status: over is $over", ({ status, over }) => {
    expect(read({ ...jobHook, build_status: status }).event).toMatchObject({ status, over });
  });
});

test("a Merge Request Hook says which request of the target project changed", () => {
  expect(read(mergeRequestHook)).toEqual({
    event: { kind: "change", projectId: "1042", iid: "77", sha: "b".repeat(40) },
  });
});

test.each([
  {
    event: "pipeline",
    body: { object_kind: "pipeline", object_attributes: { variables: [{ key: "P", value: "s3cret" }] } },
  },
  { event: "deployment", body: { object_kind: "deployment" } },
  { event: "user_add_to_group", body: { event_name: "user_add_to_group", group_id: 4 } },
])("$event is authentic and ignored", ({ event, body }) => {
  expect(read(body)).toEqual({ event: { kind: "ignored", event } });
});

describe("webhook_malformed:", () => {
  test.each([
    { what: "no JSON", body: "object_kind=build", says: "not JSON" },
    { what: "JSON cut short", body: '{"object_kind":', says: "not JSON" },
    { what: "nothing", body: "", says: "not JSON" },
    { what: "a list", body: [jobHook], says: "no JSON object" },
    { what: "null", body: null, says: "no JSON object" },
    { what: "a custom payload", body: { text: "build 7 done" }, says: "Remove the custom webhook template" },
    { what: "an object_kind that is a number", body: { object_kind: 7 }, says: "Remove the custom webhook template" },
    { what: "a job without id", body: { ...jobHook, build_id: undefined }, says: "no usable build_id" },
    { what: "a job whose id is text", body: { ...jobHook, build_id: "7712" }, says: "no usable build_id" },
    { what: "a job whose id has a fraction", body: { ...jobHook, build_id: 7712.5 }, says: "no usable build_id" },
    { what: "a job whose id is past counting", body: { ...jobHook, build_id: 2 ** 53 }, says: "no usable build_id" },
    { what: "a job without project", body: { ...jobHook, project_id: null }, says: "no usable project_id" },
    { what: "a job without status", body: { ...jobHook, build_status: "" }, says: "no usable build_status" },
    {
      what: "a merge request without number",
      body: { object_kind: "merge_request", object_attributes: { target_project_id: 1 } },
      says: "no usable object_attributes.iid",
    },
    {
      what: "a merge request without attributes",
      body: { object_kind: "merge_request" },
      says: "no usable object_attributes",
    },
  ])("$what", ({ body, says }) => {
    expect(() => read(body)).toThrow(
      expect.objectContaining({ code: "webhook_malformed", message: expect.stringContaining(says) }),
    );
  });

  test("bytes that are not UTF-8", () => {
    const request = { ...withToken(""), body: Buffer.from([0x7b, 0xff, 0x7d]) };
    expect(() => readGitlabHook(request, { token: "shared" }, nowMs)).toThrow(
      expect.objectContaining({ code: "webhook_malformed" }),
    );
  });
});

test("an authentic body of arbitrary JSON is an event or webhook_malformed", () => {
  const body = fc.oneof(
    fc.jsonValue(),
    fc.record({
      object_kind: fc.constantFrom("build", "merge_request", "x"),
      build_id: fc.jsonValue(),
      project_id: fc.jsonValue(),
    }),
  );
  fc.assert(
    fc.property(body, (value) => {
      try {
        expect(["job", "change", "ignored"]).toContain(read(value).event.kind);
      } catch (error) {
        expect(error).toBeInstanceOf(WayleaveError);
        expect(error).toMatchObject({ code: "webhook_malformed" });
      }
    }),
  );
});

test("without the secret nothing is ever read", () => {
  const header = fc.option(fc.oneof(fc.string(), fc.array(fc.string())), { nil: undefined });
  const names = ["x-gitlab-token", "webhook-id", "webhook-timestamp", "webhook-signature"];
  fc.assert(
    fc.property(
      fc.dictionary(fc.constantFrom(...names), header),
      fc.constantFrom({ token: "a secret" }, { signing }),
      (headers, secrets) => {
        expect(() => readGitlabHook({ headers, body: bytes(jobHook) }, secrets, nowMs)).toThrow(
          expect.objectContaining({ code: "webhook_refused" }),
        );
      },
    ),
  );
});
