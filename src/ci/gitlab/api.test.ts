import { describe, expect, test } from "vitest";
import { fakeApi } from "../api.fake.ts";
import { gitlabApi } from "./api.ts";
import { branchJob, forkJob, without } from "./claims.fake.ts";
import { gitlab } from "./provider.ts";

const baseUrl = "https://gitlab.example/api/v4";
const identityOf = (claims: Readonly<Record<string, unknown>>) =>
  gitlab.identity(claims, { name: "gitlab", url: "https://gitlab.example" });
const job = identityOf(branchJob);
const jobPath = "/projects/1042/jobs/7712";
const running = { id: 7712, name: "release", status: "running", pipeline: { id: 5101, project_id: 1042 } };

function setUp(answers: Record<string, unknown>) {
  const { fetch, asked } = fakeApi(baseUrl, answers);
  return { api: gitlabApi({ baseUrl, token: "glpat-x", fetch, timeoutMs: 1_000 }), asked };
}

test("a job's status is asked with the token as PRIVATE-TOKEN", async () => {
  const { api, asked } = setUp({ [jobPath]: running });
  expect(await api.jobStatus(job)).toEqual({ status: "running", running: true, over: false, name: "release" });
  expect(asked.map(({ path, headers }) => [path, headers.get("private-token")])).toEqual([[jobPath, "glpat-x"]]);
});

test("a fork's job is asked about in the project that runs it", async () => {
  const { api } = setUp({ [jobPath]: running });
  expect(await api.jobStatus(identityOf(forkJob))).toMatchObject({ running: true });
});

test.each([
  ...["success", "failed", "canceled", "skipped"].map((status) => ({ status, running: false, over: true })),
  ...["canceling", "pending", "created", "manual", "scheduled", "preparing", "something_new"].map((status) => ({
    status,
    running: false,
    over: false,
  })),
])("$status: running $running, over $over", async ({ status, ...expected }) => {
  const { api } = setUp({ [jobPath]: { ...running, status } });
  expect(await api.jobStatus(job)).toMatchObject({ status, ...expected });
});

describe("a job's status is no answer when", () => {
  test.each([
    { what: "there is no such job", answer: undefined, says: "shows no job 7712 (404)" },
    { what: "it is another job", answer: { ...running, id: 7713 }, says: "another pipeline" },
    { what: "it is of another pipeline", answer: { ...running, pipeline: { id: 5102 } }, says: "another pipeline" },
    { what: "it has no status", answer: { ...running, status: undefined }, says: 'no job (at "status")' },
    { what: "its status is a number", answer: { ...running, status: 1 }, says: 'no job (at "status")' },
    { what: "its id is text", answer: { ...running, id: "7712" }, says: 'no job (at "id")' },
    { what: "it has no pipeline", answer: { ...running, pipeline: null }, says: 'no job (at "pipeline")' },
    { what: "it is a list", answer: [running], says: "no job" },
    {
      what: "the token is refused",
      answer: () => new Response("{}", { status: 401 }),
      says: "refused our token (401)",
    },
    { what: "GitLab is down", answer: () => new Response("", { status: 503 }), says: "answered 503" },
  ])("$what", async ({ answer, says }) => {
    const { api } = setUp({ [jobPath]: answer });
    await expect(api.jobStatus(job)).rejects.toMatchObject({
      code: "ci_api_unreachable",
      message: expect.stringContaining(says),
    });
  });
});

describe("environment facts", () => {
  const names = ["environment.name", "environment.tier", "environment.protected"];
  const protectedPath = "/projects/1042/protected_environments/review%2Ffeature-x";
  const claimed = (environment_protected: unknown) => identityOf({ ...branchJob, environment_protected });

  test("without an environment there are none, and nothing is asked", async () => {
    const { api, asked } = setUp({});
    const bare = identityOf(without(branchJob, "environment", "environment_protected", "deployment_tier"));
    expect(await api.facts(bare, names)).toEqual({});
    expect(asked).toEqual([]);
  });

  test("only what is asked for is answered", async () => {
    const { api, asked } = setUp({});
    expect(await api.facts(job, ["environment.name"])).toEqual({ "environment.name": "review/feature-x" });
    expect(asked).toEqual([]);
  });

  const refused = () => new Response("{}", { status: 403 });
  const hidden = () => Response.json({ message: "404 Project Not Found" }, { status: 404 });
  test.each([
    { what: "claimed and found", claim: "true", answer: { name: "review/feature-x" }, fact: true },
    { what: "not claimed, whatever the API says", claim: "false", answer: { name: "review/feature-x" }, fact: false },
    { what: "not claimed, and the API is away", claim: "false", answer: refused, fact: false },
    { what: "unclaimed by an old version, and found", claim: undefined, answer: { name: "x" }, fact: true },
    { what: "unclaimed by an old version, and not found", claim: undefined, answer: undefined, fact: false },
    { what: "claimed and not found", claim: "true", answer: undefined, fact: undefined },
    { what: "claimed, and our token may not look", claim: "true", answer: refused, fact: undefined },
    { what: "unclaimed, and our token does not see the project", claim: undefined, answer: hidden, fact: undefined },
    { what: "unclaimed, and our token may not look", claim: undefined, answer: refused, fact: undefined },
  ])("protected is $fact when $what", async ({ claim, answer, fact }) => {
    const { api } = setUp({ [protectedPath]: answer });
    expect(await api.facts(claimed(claim), names)).toEqual({
      "environment.name": "review/feature-x",
      "environment.tier": "development",
      ...(fact === undefined ? {} : { "environment.protected": fact }),
    });
  });
});

test.each([
  { what: "the project of that path", answer: { id: 1042, path_with_namespace: "acme/shop" }, id: "1042" },
  { what: "a project that was renamed", answer: { id: 1042, path_with_namespace: "acme/store" }, id: undefined },
  { what: "a path in another case", answer: { id: 1042, path_with_namespace: "Acme/shop" }, id: undefined },
  { what: "nothing", answer: undefined, id: undefined },
])("a path is the id of $what", async ({ answer, id }) => {
  const { api } = setUp(answer === undefined ? {} : { "/projects/acme%2Fshop": answer });
  expect(await api.projectId?.("acme/shop")).toBe(id);
});

test.each([{ id: "1042", path_with_namespace: "acme/shop" }, { id: 0, path_with_namespace: "acme/shop" }, [], {}])(
  "an answer that is no project is an outage: %j",
  async (answer) => {
    const { api } = setUp({ "/projects/acme%2Fshop": answer });
    await expect(api.projectId?.("acme/shop")).rejects.toMatchObject({ code: "ci_api_unreachable" });
  },
);
