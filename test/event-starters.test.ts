import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { type Buildkite, startBuildkite } from "../demo/buildkite/buildkite.ts";
import type { Pipeline } from "../demo/buildkite/types.ts";
import { type Gitlab, startGitlab } from "../demo/gitlab/gitlab.ts";
import type { Project, User } from "../demo/gitlab/types.ts";
import { buildkiteStarter } from "../src/ci/buildkite/start-build.ts";
import { gitlabStarter } from "../src/ci/gitlab/start-pipeline.ts";
import type { PipelineStart } from "../src/core/pipeline-start.ts";

let now = Date.parse("2026-11-24T09:30:00Z");
const shared = { fetch, timeoutMs: 5000, now: () => now };
let serial = 0;

function startOf(project: string, ref = "main"): PipelineStart {
  serial += 1;
  const cause = `evt_${String(serial).padStart(16, "0")}`;
  return { project, ref, cause, variables: { TAG: "1.4.2", WAYLEAVE_CAUSE: cause } };
}

describe("GitLab", () => {
  let gitlab: Gitlab;
  let deploy: Project;
  let owner: User;
  let token: string;

  beforeAll(async () => {
    gitlab = await startGitlab({ now: () => now });
    owner = gitlab.createUser({ username: "deployer" });
    deploy = gitlab.createProject({ path: "acme/deploy", members: { deployer: "developer" } });
    token = gitlab.createTriggerToken(deploy, { owner });
  });
  afterAll(() => gitlab.close());
  beforeEach(() => {
    gitlab.setApiFault(undefined);
    now += 120_000;
  });

  const starter = (readToken = gitlab.createAccessToken({ user: owner }), trigger = token) =>
    gitlabStarter({
      ...shared,
      baseUrl: `${gitlab.localUrl}/api/v4`,
      triggerTokens: { "acme/deploy": trigger },
      readToken,
    });

  test("starts a pipeline with its variables, whose jobs' tokens carry the ids of the answer", async () => {
    const start = startOf("acme/deploy");
    const outcome = await starter().start(start);
    expect(outcome).toMatchObject({ kind: "started", pipeline: { projectId: String(deploy.id) } });
    expect(await starter().find({ ...start, since: now })).toMatchObject({ kind: "found" });
  });

  test("finds a pipeline whose answer was lost, and no other", async () => {
    gitlab.setApiFault({ status: "answer_lost" });
    const start = startOf("acme/deploy");
    expect(await starter().start(start)).toMatchObject({ kind: "unknown" });
    gitlab.setApiFault(undefined);
    expect(await starter().find({ ...start, since: now })).toMatchObject({ kind: "found" });
    expect(await starter().find({ ...startOf("acme/deploy"), since: now })).toEqual({ kind: "none" });
    expect(await starter().find({ ...start, since: now + 3_600_000 })).toEqual({ kind: "none" });
  });

  test("variables are for the token's owner and for Maintainers", async () => {
    const start = startOf("acme/deploy");
    await starter().start(start);
    const other = gitlab.createUser({ username: `other-${serial}` });
    expect(await starter(gitlab.createAccessToken({ user: other })).find({ ...start, since: now })).toMatchObject({
      kind: "unknown",
      final: true,
    });
    expect(await starter(gitlab.createAccessToken()).find({ ...start, since: now })).toMatchObject({ kind: "found" });
  });

  test.each<{ what: string; start: () => ReturnType<ReturnType<typeof starter>["start"]>; outcome: object }>([
    {
      what: "a ref that is not there",
      start: () => starter().start(startOf("acme/deploy", "nope")),
      outcome: { kind: "refused", detail: expect.stringContaining("Reference not found") },
    },
    {
      what: "a wrong trigger token",
      start: () => starter("", "glptt-wrong").start(startOf("acme/deploy")),
      outcome: { kind: "refused" },
    },
    {
      what: "a variable name it does not take",
      start: () => starter().start({ ...startOf("acme/deploy"), variables: { "A-B": "1" } }),
      outcome: { kind: "refused" },
    },
  ])("$what is refused for good", async ({ start, outcome }) => {
    expect(await start()).toMatchObject(outcome);
  });

  test("too many pipelines of one commit in a minute, and too many requests, are for later", async () => {
    for (let count = 0; count < 25; count++) await starter().start(startOf("acme/deploy"));
    expect(await starter().start(startOf("acme/deploy"))).toMatchObject({ kind: "later", afterMs: 60_000 });
    gitlab.setApiFault({ status: 429, retryAfterSeconds: 7 });
    expect(await starter().start(startOf("acme/deploy"))).toMatchObject({ kind: "later", afterMs: 7000 });
  });

  test("looks through more than a page", async () => {
    const starts: PipelineStart[] = [];
    for (let count = 0; count < 110; count++) {
      starts.push(startOf("acme/deploy"));
      now += 3000;
      await starter().start(starts.at(-1) ?? startOf("acme/deploy"));
    }
    const since = now - 330_000;
    expect(await starter().find({ ...(starts.at(-1) ?? startOf("")), since })).toMatchObject({ kind: "found" });
  });

  test("an instance that is away says nothing about what it did", async () => {
    gitlab.setReachable(false, "dropped");
    expect(await starter().start(startOf("acme/deploy"))).toMatchObject({ kind: "unknown" });
    gitlab.setReachable(false);
    expect(await starter().find({ ...startOf("acme/deploy"), since: now })).toMatchObject({ kind: "unknown" });
    gitlab.setReachable(true);
  });
});

describe("Buildkite", () => {
  let buildkite: Buildkite;
  let token: string;
  let pipeline: Pipeline;

  beforeAll(async () => {
    buildkite = await startBuildkite({ now: () => now });
    pipeline = buildkite.createPipeline({ slug: "deploy", branches: ["main"] });
    token = buildkite.createApiToken(["read_builds", "write_builds"]);
  });
  afterAll(() => buildkite.close());
  beforeEach(() => buildkite.setApiFault(undefined));

  const starter = (credential = token) =>
    buildkiteStarter({ ...shared, baseUrl: `${buildkite.localUrl}/v2`, token: credential });

  test("starts a build with its environment, known by the pipeline's UUID and the build's number", async () => {
    const start = startOf("acme/deploy");
    const outcome = await starter().start(start);
    expect(outcome).toEqual({ kind: "started", pipeline: { projectId: pipeline.id, pipelineId: "1" } });
  });

  test("finds a build whose answer was lost, by its meta-data, and believes no step that copies it", async () => {
    buildkite.setApiFault({ status: "answer_lost" });
    const start = startOf("acme/deploy");
    expect(await starter().start(start)).toMatchObject({ kind: "unknown" });
    buildkite.setApiFault(undefined);
    expect(await starter().find({ ...start, since: now })).toMatchObject({ kind: "found" });
    const copied = startOf("acme/deploy");
    const foreign = buildkite.startBuild(pipeline, { steps: ["x"], source: "api" });
    foreign.metaData.set("wayleave_event", copied.cause);
    expect(await starter().find({ ...copied, since: now })).toEqual({ kind: "none" });
  });

  test.each<{ what: string; project?: string; ref?: string; scopes?: readonly string[]; outcome: object }>([
    {
      what: "a branch that is not built",
      ref: "feature",
      outcome: { kind: "refused", detail: expect.stringContaining("422") },
    },
    { what: "a pipeline that is not there", project: "acme/nope", outcome: { kind: "refused" } },
    { what: "another organization", project: "evil/deploy", outcome: { kind: "refused" } },
    { what: "a token that may only read", scopes: ["read_builds"], outcome: { kind: "refused" } },
  ])("$what is refused for good", async ({ project = "acme/deploy", ref = "main", scopes, outcome }) => {
    const credential = scopes === undefined ? token : buildkite.createApiToken(scopes);
    expect(await starter(credential).start(startOf(project, ref))).toMatchObject(outcome);
  });

  test("a limit is waited for as long as RateLimit-Reset says, in seconds from now", async () => {
    buildkite.setApiFault({ status: 429, resetSeconds: 42 });
    expect(await starter().start(startOf("acme/deploy"))).toMatchObject({ kind: "later", afterMs: 42_000 });
    expect(await starter().find({ ...startOf("acme/deploy"), since: now })).toMatchObject({
      kind: "unknown",
      afterMs: 42_000,
    });
  });

  test("a token nobody knows is for later: somebody renews it", async () => {
    expect(await starter("wrong").start(startOf("acme/deploy"))).toMatchObject({ kind: "later" });
  });
});
