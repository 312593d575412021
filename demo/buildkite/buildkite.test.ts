import { createLocalJWKSet, decodeJwt, type JSONWebKeySet, jwtVerify } from "jose";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { type Listener, listen, type Request } from "../gitlab/listener.ts";
import { type Buildkite, startBuildkite } from "./buildkite.ts";
import type { Build, Job, Pipeline } from "./types.ts";
import { webhookSignature } from "./webhook-signature.ts";

const now = Date.UTC(2026, 10, 24, 9, 30);
const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

let buildkite: Buildkite;
let pipeline: Pipeline;
let build: Build;
let job: Job;
let receiver: Listener;
const received: Request[] = [];

beforeAll(async () => {
  buildkite = await startBuildkite({ now: () => now });
  pipeline = buildkite.createPipeline({ slug: "shop-e2e", cluster: "main" });
  receiver = await listen({}, (request) => {
    received.push(request);
    return { status: 200, body: "" };
  });
});
afterAll(async () => {
  await Promise.all([buildkite.close(), receiver.close()]);
});
beforeEach(() => {
  build = buildkite.startBuild(pipeline, { steps: ["smoke", { name: "no key" }] });
  job = build.jobs[0]!;
  buildkite.startJob(job);
});

describe("the OIDC token", () => {
  test("has the default claims with their types, and no id that was not asked for", async () => {
    const claims = decodeJwt(await buildkite.oidcToken(job, { audience: "https://wayleave.example" }));
    expect(claims).toEqual({
      iss: buildkite.issuer,
      sub: `organization:acme:pipeline:shop-e2e:ref:refs/heads/main:commit:${build.commit}:step:smoke`,
      aud: "https://wayleave.example",
      iat: now / 1000,
      nbf: now / 1000,
      exp: now / 1000 + 300,
      jti: expect.stringMatching(uuid),
      organization_slug: "acme",
      pipeline_slug: "shop-e2e",
      build_number: build.number,
      build_branch: "main",
      build_tag: null,
      build_commit: build.commit,
      step_key: "smoke",
      job_id: job.id,
      agent_id: job.agent.id,
      build_source: "webhook",
      runner_environment: "self-hosted",
    });
    expect(typeof claims.build_number).toBe("number");
  });

  test("of a step without a key has null and an empty end of sub", async () => {
    const other = build.jobs[1]!;
    buildkite.startJob(other);
    const claims = decodeJwt(await buildkite.oidcToken(other));
    expect(claims.step_key).toBeNull();
    expect(claims.sub).toMatch(/:step:$/);
    expect(claims.aud).toBe("https://buildkite.com/acme");
  });

  test("has what was asked for, except what an unclustered pipeline has not", async () => {
    const claims = ["organization_id", "pipeline_id", "build_id", "cluster_name", "queue_id", "agent_tag:queue"];
    const token = decodeJwt(await buildkite.oidcToken(job, { claims, subject_claim: "pipeline_id", lifetime: 7200 }));
    expect(token).toMatchObject({
      organization_id: buildkite.organization.id,
      pipeline_id: pipeline.id,
      build_id: build.id,
      cluster_name: "main",
      "agent_tag:queue": "default",
      sub: pipeline.id,
      exp: now / 1000 + 7200,
    });
    expect(token).not.toHaveProperty("queue_id");
  });

  test("is signed by the published key, with a 64-hex kid and no typ, until the key is rotated", async () => {
    const keys = async () =>
      createLocalJWKSet((await (await fetch(`${buildkite.issuer}/.well-known/jwks`)).json()) as JSONWebKeySet);
    const token = await buildkite.oidcToken(job);
    const { protectedHeader } = await jwtVerify(token, await keys(), { currentDate: new Date(now) });
    expect(protectedHeader).toEqual({ alg: "RS256", kid: expect.stringMatching(/^[0-9a-f]{64}$/) });
    await buildkite.rotateKey();
    await expect(jwtVerify(token, await keys(), { currentDate: new Date(now) })).rejects.toThrow();
  });
});

describe("the agent endpoint", () => {
  const ask = (body: string, authorization = `Token ${job.accessToken}`, id = job.id) =>
    fetch(`${buildkite.localUrl}/v3/jobs/${id}/oidc/tokens`, { method: "POST", body, headers: { authorization } });

  test("gives a running job as many tokens as it asks for", async () => {
    const tokens = await Promise.all([ask('{"audience":"a"}'), ask("{}")]);
    const claims = await Promise.all(
      tokens.map(async (answer) => decodeJwt(((await answer.json()) as { token: string }).token)),
    );
    expect(claims[0]).toMatchObject({ aud: "a", job_id: job.id });
    expect(claims[0]?.jti).not.toBe(claims[1]?.jti);
  });

  test.each([
    { name: "a lifetime above 7200", body: { lifetime: 7201 }, status: 422 },
    { name: "a claim nobody knows", body: { claims: ["creator"] }, status: 422 },
    { name: "a subject that is no id", body: { subject_claim: "build_branch" }, status: 422 },
  ])("refuses $name with $status", async ({ body, status }) => {
    const answer = await ask(JSON.stringify(body));
    expect(answer.status).toBe(status);
    expect(await answer.json()).toEqual({ message: expect.any(String) });
  });

  test("refuses a body that is no JSON object", async () => {
    expect((await ask("{")).status).toBe(400);
    expect((await ask("3")).status).toBe(400);
  });

  test("refuses a wrong token, another job's token, an unknown job and a finished job", async () => {
    const other = build.jobs[1]!;
    buildkite.startJob(other);
    expect((await ask("{}", "Token wrong")).status).toBe(401);
    expect((await ask("{}", `Bearer ${job.accessToken}`)).status).toBe(401);
    expect((await ask("{}", `Token ${other.accessToken}`)).status).toBe(401);
    expect((await ask("{}", undefined, "0190e6c7-0000-7000-8000-000000000000")).status).toBe(401);
    buildkite.finishJob(job);
    expect((await ask("{}")).status).toBe(401);
    await expect(buildkite.oidcToken(job)).rejects.toThrow("does not run");
  });
});

describe("REST", () => {
  const get = (path: string, token?: string) =>
    fetch(
      `${buildkite.localUrl}/v2/organizations/${path}`,
      token ? { headers: { authorization: `Bearer ${token}` } } : {},
    );
  const here = () => `acme/pipelines/shop-e2e/builds/${build.number}`;

  test("shows a build with its jobs, and null where there is no pull request", async () => {
    const body = await (await get(here(), buildkite.createApiToken())).json();
    expect(body).toMatchObject({
      id: build.id,
      number: build.number,
      state: "running",
      pull_request: null,
      pipeline: { slug: "shop-e2e", repository: pipeline.repository },
      jobs: [
        { id: job.id, state: "running", step_key: "smoke", finished_at: null },
        { state: "scheduled", step_key: null },
      ],
    });
  });

  test("shows a fork's pull request with the repository it comes from", async () => {
    const pullRequest = { id: "12", base: "main", repository: "https://git.evil.example/shop.git" };
    build = buildkite.startBuild(pipeline, { steps: ["smoke"], branch: "main", pullRequest });
    expect(await (await get(here(), buildkite.createApiToken())).json()).toMatchObject({ pull_request: pullRequest });
  });

  test("refuses without a token, without the scope, and for what is not there", async () => {
    const token = buildkite.createApiToken();
    expect((await get(here())).status).toBe(401);
    expect((await get(here(), "wrong")).status).toBe(401);
    expect((await get(here(), buildkite.createApiToken(["read_agents"]))).status).toBe(403);
    expect((await get(here().replace("acme", "evil"), token)).status).toBe(404);
    expect((await get("acme/pipelines/shop-e2e/builds/9999", token)).status).toBe(404);
  });
});

describe("a job", () => {
  test("fails its build, and a retry is a new job that lets it pass", () => {
    const [, second] = build.jobs;
    buildkite.finishJob(job, 2);
    buildkite.startJob(second!);
    buildkite.finishJob(second!);
    expect([job.state, job.exitStatus, build.state]).toEqual(["failed", 2, "failed"]);
    const again = buildkite.retryJob(job);
    expect(again.id).not.toBe(job.id);
    expect([again.retriesCount, job.retriedIn, build.state]).toEqual([1, again.id, "running"]);
    buildkite.startJob(again);
    buildkite.finishJob(again);
    expect(build.state).toBe("passed");
  });

  test("is canceling before it is canceled, and cannot do what its state forbids", () => {
    buildkite.cancelJob(job);
    expect(job.state).toBe("canceling");
    expect(() => buildkite.finishJob(job)).toThrow("canceling");
    buildkite.finishCancel(job);
    expect(() => buildkite.startJob(job)).toThrow("canceled");
    expect(() => buildkite.finishCancel(job)).toThrow("canceled");
  });
});

describe("webhooks", () => {
  test("the signature of the published vector", () => {
    const signature = "0d34c47aa61faf5d9ae11bf8ed9e2a2d39332e6d63675a1c95abea3960415a71";
    expect(webhookSignature("bk-secret", 1767225600, '{"event":"job.finished"}')).toBe(
      `timestamp=1767225600,signature=${signature}`,
    );
  });

  test.each(["signature", "token"] as const)("%s: one secret header, and builds without jobs", async (auth) => {
    const other = await startBuildkite({ now: () => now });
    other.addWebhook({ url: receiver.origin, token: "bk-secret", auth });
    received.length = 0;
    const one = other.startBuild(other.createPipeline({ slug: "x" }), { steps: ["only"] }).jobs[0]!;
    other.startJob(one);
    other.finishJob(one, 1);
    await other.flush();
    await other.close();
    expect(received.map((request) => request.headers["x-buildkite-event"])).toEqual([
      "job.started",
      "job.finished",
      "build.finished",
    ]);
    const { headers, body } = received[1]!;
    expect(headers["x-buildkite-token"]).toBe(auth === "token" ? "bk-secret" : undefined);
    expect(headers["x-buildkite-signature"]).toBe(
      auth === "signature" ? webhookSignature("bk-secret", now / 1000, body) : undefined,
    );
    const parsed = JSON.parse(body);
    expect(parsed).toMatchObject({
      event: "job.finished",
      job: { id: one.id, state: "failed", exit_status: 1, retries_count: 0 },
      pipeline: { slug: "x" },
      sender: { name: "Alice" },
    });
    expect(parsed.build).not.toHaveProperty("jobs");
    expect(JSON.parse(received[2]!.body)).not.toHaveProperty("job");
  });
});
