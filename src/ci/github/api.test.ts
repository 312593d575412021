import { describe, expect, test } from "vitest";
import { type FakeAnswer, fakeApi } from "../api.fake.ts";
import { githubApi } from "./api.ts";
import { pullRequestJob, pushJob } from "./claims.fake.ts";
import { github } from "./provider.ts";

const baseUrl = "https://api.github.com";
const issuer = { name: "github", url: "https://token.actions.githubusercontent.com" };
const push = github.identity(pushJob, issuer);
const selfHosted = github.identity({ ...pushJob, runner_environment: "self-hosted" }, issuer);
const change = github.identity(pullRequestJob, issuer);

const runPath = "/repos/acme/shop/actions/runs/9001/attempts/1";
const jobPath = "/repos/acme/shop/actions/jobs/500100";
const run = {
  id: 9001,
  run_attempt: 1,
  status: "in_progress",
  conclusion: null,
  repository: { id: 74201 },
  head_repository: { id: 74201 },
};
const job = {
  run_id: 9001,
  status: "in_progress",
  conclusion: null,
  name: "deploy (eu)",
  check_run_url: `${baseUrl}/repos/acme/shop/check-runs/500100`,
  runner_id: 31,
};

function api(answers: Record<string, FakeAnswer>) {
  const fake = fakeApi(baseUrl, answers);
  return { ...fake, api: githubApi({ baseUrl, token: "ghp-secret", fetch: fake.fetch, timeoutMs: 1000 }) };
}
const good = { [runPath]: run, [jobPath]: job };

test("a running job is running, and has the name that GitHub gives it", async () => {
  const { api: github, asked } = api(good);
  expect(await github.jobStatus(push)).toEqual({
    status: "in_progress",
    running: true,
    over: false,
    name: "deploy (eu)",
  });
  expect(asked[0]?.headers.get("authorization")).toBe("Bearer ghp-secret");
});

test.each([
  { status: "completed", conclusion: "cancelled", running: false, over: true, says: "cancelled" },
  { status: "queued", conclusion: null, running: false, over: false, says: "queued" },
  { status: "waiting", conclusion: null, running: false, over: false, says: "waiting" },
])("$status is over: $over", async ({ says, running, over, ...standing }) => {
  const { api: github } = api({ ...good, [jobPath]: { ...job, ...standing } });
  expect(await github.jobStatus(push)).toMatchObject({ status: says, running, over });
});

test("of a token that names only its run, the run is asked", async () => {
  const { check_run_id: _, ...old } = pushJob;
  const { api: github, asked } = api({ [runPath]: { ...run, status: "completed", conclusion: "success" } });
  expect(await github.jobStatus(gitHubIdentity(old))).toEqual({ status: "success", running: false, over: true });
  expect(asked).toHaveLength(1);
});
const gitHubIdentity = (claims: Readonly<Record<string, unknown>>) => github.identity(claims, issuer);

describe("whether a pull request is a fork's", () => {
  test.each([
    { what: "its own branch", head: { id: 74201 }, fork: "no" },
    { what: "a fork", head: { id: 666 }, fork: "yes" },
    { what: "a fork that is gone", head: null, fork: undefined },
  ])("$what: $fork", async ({ head, fork }) => {
    const { api: github } = api({ ...good, [runPath]: { ...run, head_repository: head } });
    expect((await github.jobStatus(change)).fork).toBe(fork);
  });

  test.each(["pull_request_target", "workflow_run", "issue_comment"])("%s stays unknown", async (event_name) => {
    const { api: github } = api(good);
    const status = await github.jobStatus(gitHubIdentity({ ...pushJob, event_name }));
    expect(status).not.toHaveProperty("fork");
  });
});

describe("ci_api_unreachable:", () => {
  test.each<{ what: string; answers: Record<string, FakeAnswer> }>([
    { what: "no run", answers: { [jobPath]: job } },
    { what: "no job", answers: { [runPath]: run } },
    { what: "another repository's run", answers: { ...good, [runPath]: { ...run, repository: { id: 1 } } } },
    { what: "another attempt", answers: { ...good, [runPath]: { ...run, run_attempt: 2 } } },
    { what: "another run", answers: { ...good, [runPath]: { ...run, id: 9002 } } },
    { what: "a job of another run", answers: { ...good, [jobPath]: { ...job, run_id: 9002 } } },
    {
      what: "a job of another check run",
      answers: { ...good, [jobPath]: { ...job, check_run_url: "x/check-runs/1" } },
    },
    { what: "a job without a status", answers: { ...good, [jobPath]: { ...job, status: null } } },
    { what: "a refused token", answers: { ...good, [runPath]: () => new Response("", { status: 401 }) } },
    { what: "a redirect", answers: { ...good, [runPath]: () => new Response("", { status: 302 }) } },
  ])("$what", async ({ answers }) => {
    await expect(api(answers).api.jobStatus(push)).rejects.toMatchObject({ code: "ci_api_unreachable" });
  });
});

describe("runner.ephemeral", () => {
  const runnerPath = "/repos/acme/shop/actions/runners/31";
  const names = ["runner.ephemeral"];
  test.each([true, false])("is what GitHub says of a self-hosted runner: %s", async (ephemeral) => {
    const { api: github } = api({ ...good, [runnerPath]: { id: 31, ephemeral } });
    expect(await github.facts(selfHosted, names)).toEqual({ "runner.ephemeral": ephemeral });
  });

  test.each<{ what: string; answers: Record<string, FakeAnswer> }>([
    { what: "the runner is gone", answers: good },
    {
      what: "our token may not see runners",
      answers: { ...good, [runnerPath]: () => new Response("", { status: 403 }) },
    },
    { what: "the server is older", answers: { ...good, [runnerPath]: { id: 31 } } },
    { what: "it is another runner", answers: { ...good, [runnerPath]: { id: 32, ephemeral: true } } },
    { what: "the job has no runner", answers: { ...good, [jobPath]: { ...job, runner_id: null } } },
    { what: "the job cannot be read", answers: { [runPath]: run } },
  ])("is unknown where $what", async ({ answers }) => {
    expect(await api(answers).api.facts(selfHosted, names)).toEqual({});
  });

  test("is not asked of a hosted runner, nor where no role asks", async () => {
    const hosted = api(good);
    await hosted.api.facts(push, names);
    await hosted.api.facts(selfHosted, ["change.merged"]);
    expect(hosted.asked).toEqual([]);
  });
});
