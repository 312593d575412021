import { createHmac } from "node:crypto";
import { describe, expect, test } from "vitest";
import { readGithubHook } from "./hooks.ts";

const secret = "gh-secret";
const job = {
  action: "completed",
  workflow_job: {
    id: 1,
    run_id: 9001,
    status: "completed",
    conclusion: "success",
    check_run_url: "https://api.github.com/repos/acme/shop/check-runs/500100",
  },
  repository: { id: 74201, full_name: "acme/shop" },
};

function request(body: unknown, headers: Readonly<Record<string, string | string[]>> = {}) {
  const bytes = Buffer.from(typeof body === "string" ? body : JSON.stringify(body));
  const signature = `sha256=${createHmac("sha256", secret).update(bytes).digest("hex")}`;
  return {
    body: bytes,
    headers: {
      "x-github-event": "workflow_job",
      "x-github-delivery": "d-1",
      "x-hub-signature-256": signature,
      ...headers,
    },
  };
}
const read = (body: unknown, headers = {}, secrets = { signing: secret }) =>
  readGithubHook(request(body, headers), secrets, 0);

test("the signature is GitHub's own", () => {
  const body = '{"event":"job.finished"}';
  const headers = { "x-hub-signature-256": "sha256=f355091beb0d9137aea66bdab6fe3cca9da1c5032628d23025f275956cd10fec" };
  expect(read(body, { ...headers, "x-github-event": "ping" }).event).toEqual({ kind: "ignored", event: "ping" });
});

test("a completed job is over, and is named by its check run", () => {
  expect(read(job)).toEqual({
    event: {
      kind: "job",
      projectId: "74201",
      projectPath: "acme/shop",
      jobId: "500100",
      status: "success",
      over: true,
    },
    delivery: "d-1",
  });
});

test.each(["queued", "waiting", "in_progress"])("a job that is %s is not over", (status) => {
  const event = { ...job, workflow_job: { ...job.workflow_job, status, conclusion: null } };
  expect(read(event).event).toMatchObject({ status, over: false });
});

describe("webhook_refused:", () => {
  const other = `sha256=${"0".repeat(64)}`;
  test.each([
    { what: "another signature", headers: { "x-hub-signature-256": other } },
    { what: "no signature", headers: { "x-hub-signature-256": "" } },
    { what: "the older signature alone", headers: { "x-hub-signature-256": "", "x-hub-signature": "sha1=00" } },
    { what: "two signatures", headers: { "x-hub-signature-256": [other, other] } },
    { what: "a signature without its algorithm", headers: { "x-hub-signature-256": "0".repeat(64) } },
  ])("$what", ({ headers }) => {
    expect(() => read(job, headers)).toThrow(expect.objectContaining({ code: "webhook_refused" }));
  });

  test.each([{}, { signing: "" }, { token: "" }])("a signature by no secret, with %j", (secrets) => {
    const body = JSON.stringify(job);
    const unkeyed = `sha256=${createHmac("sha256", "").update(body).digest("hex")}`;
    expect(() => readGithubHook(request(body, { "x-hub-signature-256": unkeyed }), secrets, 0)).toThrow(
      expect.objectContaining({ code: "webhook_refused" }),
    );
  });

  test.each([{}, { signing: "" }, { signing: "another" }])("the secret %j", (secrets) => {
    expect(() => readGithubHook(request(job), secrets, 0)).toThrow(
      expect.objectContaining({ code: "webhook_refused" }),
    );
  });
});

describe("webhook_malformed:", () => {
  const of = (more: object) => ({ ...job, workflow_job: { ...job.workflow_job, ...more } });
  test.each([
    { what: "no JSON", body: "payload=%7B%7D" },
    { what: "a list", body: [] },
    { what: "no job", body: { repository: job.repository } },
    { what: "no repository", body: { workflow_job: job.workflow_job } },
    { what: "a repository's id as text", body: { ...job, repository: { ...job.repository, id: "74201" } } },
    { what: "no check run", body: of({ check_run_url: "https://api.github.com/repos/acme/shop" }) },
    { what: "a check run with a tail", body: of({ check_run_url: "https://x/check-runs/500100/../7" }) },
    { what: "no status", body: of({ status: "" }) },
  ])("$what", ({ body }) => {
    expect(() => read(body)).toThrow(expect.objectContaining({ code: "webhook_malformed" }));
  });
});
