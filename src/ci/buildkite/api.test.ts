import { describe, expect, test } from "vitest";
import { factTable } from "../../core/fact.ts";
import { fakeApi } from "../api.fake.ts";
import { buildkiteApi } from "./api.ts";
import { stepJob } from "./claims.fake.ts";
import { buildkite } from "./provider.ts";

const baseUrl = "https://api.buildkite.com/v2";
const job = buildkite.identity(stepJob, { name: "bk", url: "https://agent.buildkite.com" });
const path = "/organizations/acme/pipelines/shop-e2e/builds/481?include_retried_jobs=true";
const build = {
  number: 481,
  pipeline: { id: stepJob.pipeline_id, slug: "shop-e2e", repository: "git@github.com:acme/shop.git" },
  pull_request: null as unknown,
  jobs: [
    { id: "0191a000-0000-4000-8000-00000000000f", type: "waiter" },
    { id: job.job.id, type: "script", name: "smoke", state: "running" },
  ],
};
const withState = (state: string) => ({ ...build, jobs: [{ id: job.job.id, state }] });

function setUp(answer: unknown) {
  const { fetch, asked } = fakeApi(baseUrl, { [path]: answer });
  return { api: buildkiteApi({ baseUrl, token: "bkua_x", fetch, timeoutMs: 1_000 }), asked };
}

test("one look-up of the build settles the job's status and its fork status", async () => {
  const { api, asked } = setUp(build);
  expect(await api.jobStatus(job)).toEqual({
    status: "running",
    running: true,
    over: false,
    name: "smoke",
    fork: "no",
  });
  expect(asked.map(({ headers }) => headers.get("authorization"))).toEqual(["Bearer bkua_x"]);
});

test.each([
  ...["passed", "failed", "canceled", "timed_out", "skipped", "broken", "expired", "waiting_failed", "finished"].map(
    (state) => ({ state, over: true }),
  ),
  ...["scheduled", "assigned", "accepted", "canceling", "timing_out", "blocked", "something_new"].map((state) => ({
    state,
    over: false,
  })),
])("$state is not running, and over is $over", async ({ state, over }) => {
  expect(await setUp(withState(state)).api.jobStatus(job)).toMatchObject({ status: state, running: false, over });
});

describe("the build is a fork's:", () => {
  const own = build.pipeline.repository;
  test.each([
    { what: "no pull request", pull_request: null, repository: own, fork: "no" },
    {
      what: "a pull request of the same repository",
      pull_request: { repository: "https://github.com/acme/shop" },
      repository: own,
      fork: "no",
    },
    {
      what: "a pull request of another owner",
      pull_request: { repository: "git://github.com/mallory/shop.git" },
      repository: own,
      fork: "yes",
    },
    {
      what: "a pull request of a longer name",
      pull_request: { repository: "https://github.com/acme/shop-evil" },
      repository: own,
      fork: "yes",
    },
    {
      what: "a pull request on another host",
      pull_request: { repository: "https://github.com.evil.example/acme/shop" },
      repository: own,
      fork: "yes",
    },
    { what: "a pull request from nowhere readable", pull_request: { repository: "?" }, repository: "?", fork: "yes" },
    {
      what: "a pull request that names no repository",
      pull_request: { id: "7", repository: null },
      repository: own,
      fork: undefined,
    },
    {
      what: "a pipeline that names no repository",
      pull_request: { repository: own },
      repository: null,
      fork: undefined,
    },
    { what: "an answer without pull_request", pull_request: undefined, repository: own, fork: undefined },
  ])("$what: $fork", async ({ pull_request, repository, fork }) => {
    const answer = { ...build, pull_request, pipeline: { ...build.pipeline, repository } };
    expect((await setUp(answer).api.jobStatus(job)).fork).toBe(fork);
  });
});

describe("there is no answer when", () => {
  test.each([
    { what: "there is no such build", answer: undefined, says: "shows no build 481 (404)" },
    {
      what: "the slug is another pipeline's now",
      answer: { ...build, pipeline: { ...build.pipeline, id: "0191a000-0000-4000-8000-0000000000ff" } },
      says: "without this job",
    },
    { what: "it is another build", answer: { ...build, number: 482 }, says: "without this job" },
    { what: "the build has no such job", answer: { ...build, jobs: [] }, says: "without this job" },
    {
      what: "the job has no state",
      answer: { ...build, jobs: [{ id: job.job.id, state: null }] },
      says: "without this job",
    },
    { what: "there are no jobs", answer: { ...build, jobs: undefined }, says: 'no build (at "jobs")' },
    { what: "pull_request is text", answer: { ...build, pull_request: "7" }, says: 'no build (at "pull_request")' },
    { what: "the token is refused", answer: () => new Response("{}", { status: 403 }), says: "read_builds" },
    { what: "the limit is reached", answer: () => new Response("{}", { status: 429 }), says: "(429)" },
  ])("$what", async ({ answer, says }) => {
    await expect(setUp(answer).api.jobStatus(job)).rejects.toMatchObject({
      code: "ci_api_unreachable",
      message: expect.stringContaining(says),
    });
  });
});

test("Buildkite knows no facts, and is not asked for any", async () => {
  const { api, asked } = setUp(build);
  expect(await api.facts(job, Object.keys(factTable))).toEqual({});
  expect(asked).toEqual([]);
});
