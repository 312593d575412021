import { describe, expect, test } from "vitest";
import type { Decision } from "../core/decision.ts";
import { WayleaveError } from "../core/errors.ts";
import { createEmitter, type EmitDeps, type OutgoingMessage } from "./emit.ts";
import { identityHeader, jobIdentity, sessionId, startTime } from "./event-world.fake.ts";

const view = {
  id: sessionId,
  identity: jobIdentity(),
  state: "active" as const,
  openedAt: startTime,
  hardEndAt: startTime + 3_600_000,
};
const allow: Decision = {
  effect: "allow",
  reason: "allowed",
  mode: "enforce",
  rule: "release",
  policyVersion: "41c0aa",
  facts: [],
  unconditional: true,
};
const deny: Decision = {
  effect: "deny",
  reason: "no_role",
  mode: "enforce",
  policyVersion: "41c0aa",
  facts: [],
  unconditional: true,
};

function world(more: Partial<EmitDeps> = {}) {
  const steps: unknown[] = [];
  const sent: OutgoingMessage[] = [];
  let randoms = 0;
  const emitter = createEmitter({
    now: () => startTime,
    random: (bytes) => new Uint8Array(bytes).fill(++randoms),
    append: async (events) => {
      steps.push(...events);
      return events.map((_, at) => ({ id: `rec_${at}` }));
    },
    decide: (_session, _target, { subject }) => (subject.startsWith("build.status.1042.") ? allow : deny),
    count: (decision) => void steps.push(["count", decision.rule]),
    targets: () => ["events"],
    account: () => "CI",
    subject: () => "spiffe://acme.example/ci/gitlab/1042",
    identityHeader: () => identityHeader,
    policyVersion: () => "41c0aa",
    send: async (message) => {
      steps.push("sent");
      sent.push(message);
    },
    ...more,
  });
  return { emitter, steps, sent };
}

test("a job's event is a CloudEvent with the job's identity, recorded before it is sent", async () => {
  const { emitter, steps, sent } = world();
  const emitted = await emitter.emit(view, { type: "image.pushed", data: { tag: "1.4.2" } });
  expect(emitted).toMatchObject({ target: "events", subject: "build.status.1042.image.pushed", record: "rec_0" });
  expect(steps).toMatchObject([
    ["count", "release"],
    {
      kind: "emit.published",
      session: sessionId,
      data: { account: "CI", message: emitted.id, type: "image.pushed", rule: "release" },
    },
    "sent",
  ]);
  expect(JSON.parse(new TextDecoder().decode(sent[0]?.payload))).toEqual({
    specversion: "1.0",
    id: emitted.id,
    source: "spiffe://acme.example/ci/gitlab/1042",
    type: "image.pushed",
    time: "2026-11-24T09:30:00.000Z",
    subject: "pipelines/5100/jobs/7712",
    datacontenttype: "application/json",
    data: { tag: "1.4.2" },
  });
  expect(sent[0]?.headers).toEqual({
    "Content-Type": "application/cloudevents+json",
    "Nats-Msg-Id": emitted.id,
    "Wayleave-Job": identityHeader,
    "Wayleave-Message": emitted.id,
  });
  expect(JSON.stringify(steps)).not.toContain("1.4.2");
});

test("the same key is the same event; another, or another session's, is not", async () => {
  const { emitter } = world();
  const emit = (key?: string, session = view) =>
    emitter.emit(session, { type: "a", ...(key === undefined ? {} : { key }) }).then(({ id }) => id);
  const one = await emit("12345678");
  expect(await emit("12345678")).toBe(one);
  expect(
    new Set([
      one,
      await emit("12345679"),
      await emit("12345678", { ...view, id: "ses_aaaaaaaaaaaaaaaa" }),
      await emit(),
      await emit(),
    ]).size,
  ).toBe(5);
});

describe("refused, and nothing is sent:", () => {
  test.each([
    { what: "a subject policy does not allow", request: { type: "a", subject: "deploy.now" }, code: "access_denied" },
    { what: "a wildcard", request: { type: "a", subject: "build.status.1042.*" }, code: "invalid_request" },
    { what: "everything below", request: { type: "a", subject: "build.>" }, code: "invalid_request" },
    {
      what: "the server's own subjects",
      request: { type: "a", subject: "$JS.API.STREAM.LIST" },
      code: "invalid_request",
    },
    { what: "somebody's inbox", request: { type: "a", subject: "_INBOX.x" }, code: "invalid_request" },
    {
      what: "a subject with a space",
      request: { type: "a", subject: "build.status.1042.a b" },
      code: "invalid_request",
    },
    {
      what: "a subject with a line break",
      request: { type: "a", subject: "build.status.1042.a\r\nPUB x" },
      code: "invalid_request",
    },
    { what: "an empty word", request: { type: "a", subject: "build..x" }, code: "invalid_request" },
    { what: "a type that would be another subject", request: { type: "a.>" }, code: "invalid_request" },
    { what: "a type with a space", request: { type: "a b" }, code: "invalid_request" },
    { what: "no type", request: { type: "" }, code: "invalid_request" },
    { what: "a target the job has not", request: { type: "a", target: "other" }, code: "invalid_request" },
    { what: "too much data", request: { type: "a", data: "x".repeat(256 * 1024) }, code: "payload_too_large" },
  ])("$what", async ({ request, code }) => {
    const { emitter, sent } = world();
    await expect(emitter.emit(view, request)).rejects.toMatchObject({ code });
    expect(sent).toEqual([]);
  });

  test("a target of several that is not named", async () => {
    const { emitter } = world({ targets: () => ["events", "audit"] });
    await expect(emitter.emit(view, { type: "a" })).rejects.toThrow("events, audit");
    expect(await emitter.emit(view, { type: "a", target: "audit" })).toMatchObject({ target: "audit" });
  });

  test("what cannot be recorded", async () => {
    const append = () => Promise.reject(new WayleaveError("journal_unavailable", "The disk is full."));
    const { emitter, sent } = world({ append });
    await expect(emitter.emit(view, { type: "a" })).rejects.toMatchObject({ code: "journal_unavailable" });
    expect(sent).toEqual([]);
  });

  test("a denial is a decision's record, with its reason", async () => {
    const { emitter, steps } = world();
    await expect(emitter.emit(view, { type: "a", subject: "deploy.now" })).rejects.toThrow("rec_0");
    expect(steps).toMatchObject([
      {
        kind: "decision",
        session: sessionId,
        data: { gateway: "broker", operation: "pub deploy.now", outcome: "deny", reason: "no_role" },
      },
    ]);
  });
});

test("an observed target lets it through and records what it would have denied", async () => {
  const { emitter, steps, sent } = world({ decide: () => ({ ...deny, mode: "observe" }) });
  await emitter.emit(view, { type: "a" });
  expect(steps).toMatchObject([
    { kind: "decision", data: { outcome: "would_deny" } },
    { kind: "emit.published" },
    "sent",
  ]);
  expect(sent).toHaveLength(1);
});

describe("what a webhook said", () => {
  const status = { projectId: "1042", pipelineId: "5100", status: "success" };

  test("is an event without a job's identity, the same for the same delivery", async () => {
    const { emitter, sent, steps } = world();
    const first = await emitter.status("gitlab", "events", status, "delivery-1");
    expect(first.subject).toBe("build.status.1042.5100.success");
    expect(await emitter.status("gitlab", "events", status, "delivery-1")).toMatchObject({ id: first.id });
    expect(sent[0]?.headers["Wayleave-Job"]).toBeUndefined();
    expect(steps[0]).toMatchObject({ kind: "emit.published", data: { webhook: "gitlab", type: "pipeline.success" } });
    const job = { id: "7712", name: "release" };
    await emitter.status("gitlab", "events", { ...status, job }, "delivery-2");
    expect(JSON.parse(new TextDecoder().decode(sent[2]?.payload))).toMatchObject({
      type: "job.success",
      source: "/ci/gitlab/1042",
      data: { job_id: "7712", pipeline_id: "5100" },
    });
  });

  test.each([{ status: "a.b>" }, { projectId: "*" }, { pipelineId: "" }])("with %o makes no subject", async (wrong) => {
    const { emitter, sent } = world();
    await expect(emitter.status("gitlab", "events", { ...status, ...wrong }, "d")).rejects.toMatchObject({
      code: "webhook_malformed",
    });
    expect(sent).toEqual([]);
  });
});
