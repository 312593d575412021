import {
  createLocalJWKSet,
  decodeJwt,
  decodeProtectedHeader,
  type JSONWebKeySet,
  type JWTPayload,
  jwtVerify,
} from "jose";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Gitlab, startGitlab } from "./gitlab.ts";
import type { GitlabVersion, Job, Project, User } from "./types.ts";

const start = Date.UTC(2026, 10, 24, 9, 30);
const versions: readonly GitlabVersion[] = ["16.11", "18.2", "19.0"];

interface Scene {
  readonly gitlab: Gitlab;
  readonly alice: User;
  readonly shop: Project;
  readonly fork: Project;
  forkPipelineIn(project: Project): Job;
}

const scenes = new Map<GitlabVersion, Scene>();

async function scene(version: GitlabVersion): Promise<Scene> {
  const gitlab = await startGitlab({ now: () => start, version, root: "/gitlab" });
  const alice = gitlab.createUser({ username: "alice", groups: ["acme"] });
  const mallory = gitlab.createUser({ username: "mallory" });
  const shop = gitlab.createProject({ path: "acme/shop", id: 20, members: { alice: "maintainer" } });
  const fork = gitlab.forkProject(shop, { path: "mallory/shop", members: { mallory: "owner" } });
  gitlab.pushCommit(fork, "evil");
  const mergeRequest = gitlab.openMergeRequest(shop, { sourceProject: fork, sourceBranch: "evil", author: mallory });
  return {
    gitlab,
    alice,
    shop,
    fork,
    forkPipelineIn: (project) => {
      const options = { source: "merge_request_event", mergeRequest, user: alice, jobs: ["test"] } as const;
      return running(gitlab, gitlab.startPipeline(project, options).jobs[0]!);
    },
  };
}

function running(gitlab: Gitlab, job: Job): Job {
  gitlab.runJob(job);
  return job;
}

beforeAll(async () => {
  for (const version of versions) scenes.set(version, await scene(version));
});
afterAll(async () => {
  for (const { gitlab } of scenes.values()) await gitlab.close();
});

async function claimsOf(gitlab: Gitlab, job: Job, aud: string | string[] = "https://wayleave.example") {
  return decodeJwt(await gitlab.idToken(job, { aud }));
}

/** Every key of the documented claims that is present, with the type it has on the wire. */
function types(claims: JWTPayload): Record<string, string> {
  return Object.fromEntries(Object.entries(claims).map(([name, value]) => [name, typeof value]));
}

test("a deploy job's token has the documented claims, ids and booleans as strings, only runner_id a number", async () => {
  const { gitlab, shop, alice } = scenes.get("19.0")!;
  gitlab.protectEnvironment(shop, "production");
  const jobs = [{ name: "deploy", environment: "production", timeoutSeconds: 7200 }];
  const job = running(gitlab, gitlab.startPipeline(shop, { user: alice, jobs }).jobs[0]!);
  const claims = await claimsOf(gitlab, job);
  expect(claims).toMatchObject({
    iss: gitlab.issuer,
    sub: "project_path:acme/shop:ref_type:branch:ref:main",
    aud: "https://wayleave.example",
    iat: start / 1000,
    nbf: start / 1000 - 5,
    exp: start / 1000 + 7200,
    project_id: "20",
    project_path: "acme/shop",
    namespace_path: "acme",
    job_project_id: "20",
    job_namespace_path: "acme",
    user_id: String(alice.id),
    user_login: "alice",
    user_access_level: "maintainer",
    groups_direct: ["acme"],
    pipeline_id: String(job.pipeline.id),
    pipeline_source: "push",
    job_id: String(job.id),
    ref: "main",
    ref_type: "branch",
    ref_path: "refs/heads/main",
    ref_protected: "true",
    environment: "production",
    environment_protected: "true",
    deployment_tier: "production",
    environment_action: "start",
    runner_id: job.runner.id,
    runner_environment: "self-hosted",
    sha: job.pipeline.sha,
    ci_config_sha: job.pipeline.sha,
    ci_config_ref_uri: `${gitlab.issuer.replace("http://", "")}/acme/shop//.gitlab-ci.yml@refs/heads/main`,
    project_visibility: "private",
    jti: expect.stringMatching(/^[0-9a-f]{8}-[0-9a-f]{4}-4/),
  });
  const numbers = Object.entries(types(claims)).filter(([, type]) => type === "number");
  expect(numbers.map(([name]) => name).toSorted()).toEqual(["exp", "iat", "nbf", "runner_id"]);
  expect(Object.values(types(claims))).not.toContain("boolean");
});

test.each(versions)("%s: job_project_* exists from 18.4 on only", async (version) => {
  const { gitlab, shop, alice } = scenes.get(version)!;
  const job = running(gitlab, gitlab.startPipeline(shop, { user: alice, jobs: ["test"] }).jobs[0]!);
  const named = Object.keys(await claimsOf(gitlab, job)).filter((name) => /^job_(project|namespace)_/.test(name));
  expect(named).toHaveLength(version === "19.0" ? 4 : 0);
});

describe("a fork's merge request pipeline", () => {
  test.each([
    { version: "16.11", project: "acme/shop", ran: undefined },
    { version: "18.2", project: "mallory/shop", ran: undefined },
    { version: "19.0", project: "mallory/shop", ran: "acme/shop" },
  ] as const)(
    "in the target, $version: project is $project, job project is $ran",
    async ({ version, project, ran }) => {
      const { gitlab, shop, forkPipelineIn } = scenes.get(version)!;
      const claims = await claimsOf(gitlab, forkPipelineIn(shop));
      expect(claims).toMatchObject({ project_path: project, ref: "evil", pipeline_source: "merge_request_event" });
      expect(claims.sub).toBe(`project_path:${project}:ref_type:branch:ref:evil`);
      expect(claims.job_project_path).toBe(ran);
      expect(claims.ref_protected).toBe("false");
    },
  );

  test("in the fork itself names the fork on both sides", async () => {
    const { gitlab, fork, forkPipelineIn } = scenes.get("19.0")!;
    const claims = await claimsOf(gitlab, forkPipelineIn(fork));
    expect(claims).toMatchObject({ project_path: "mallory/shop", job_project_path: "mallory/shop" });
    expect(claims.user_access_level).toBeNull();
  });
});

test.each([
  { name: "without environment there is no environment claim", absent: "environment_protected" },
  { name: "without opting in there are no user identities", absent: "user_identities" },
])("$name", async ({ absent }) => {
  const { gitlab, shop, alice } = scenes.get("19.0")!;
  const job = running(gitlab, gitlab.startPipeline(shop, { user: alice, jobs: ["test"] }).jobs[0]!);
  expect(await claimsOf(gitlab, job)).not.toHaveProperty(absent);
});

test("an unprotected environment says so, whatever its tier", async () => {
  const { gitlab, shop, alice } = scenes.get("19.0")!;
  const jobs = [{ name: "deploy", environment: { name: "prod-eu", action: "stop" as const } }];
  const job = running(gitlab, gitlab.startPipeline(shop, { user: alice, jobs }).jobs[0]!);
  const expected = { environment_protected: "false", deployment_tier: "production", environment_action: "stop" };
  expect(await claimsOf(gitlab, job)).toMatchObject(expected);
});

test("a child pipeline's token does not say where its configuration lives", async () => {
  const { gitlab, shop, alice } = scenes.get("19.0")!;
  const parent = running(gitlab, gitlab.startPipeline(shop, { user: alice, jobs: ["trigger"] }).jobs[0]!);
  const options = { source: "parent_pipeline", parent, user: alice, jobs: ["child"] } as const;
  const child = running(gitlab, gitlab.startPipeline(shop, options).jobs[0]!);
  const claims = await claimsOf(gitlab, child);
  expect(claims.pipeline_source).toBe("parent_pipeline");
  expect(claims).not.toHaveProperty("ci_config_ref_uri");
});

test("a tag pipeline has ref_type tag and the tag's own protection", async () => {
  const { gitlab, shop, alice } = scenes.get("19.0")!;
  gitlab.createTag(shop, "v1", { protected: true });
  const job = running(gitlab, gitlab.startPipeline(shop, { ref: "v1", tag: true, user: alice, jobs: ["x"] }).jobs[0]!);
  const expected = { ref: "v1", ref_type: "tag", ref_path: "refs/tags/v1", ref_protected: "true" };
  expect(await claimsOf(gitlab, job)).toMatchObject(expected);
});

test("sub follows the project's own components", async () => {
  const { gitlab, shop, alice } = scenes.get("19.0")!;
  const usual = shop.subComponents;
  shop.subComponents = ["project_path", "deployment_tier", "ref_protected"];
  const job = running(gitlab, gitlab.startPipeline(shop, { user: alice, jobs: ["x"] }).jobs[0]!);
  expect((await claimsOf(gitlab, job)).sub).toBe("project_path:acme/shop:ref_protected:true");
  shop.subComponents = usual;
});

test("aud keeps the form it was asked in, and every token has its own jti", async () => {
  const { gitlab, shop, alice } = scenes.get("19.0")!;
  const job = running(gitlab, gitlab.startPipeline(shop, { user: alice, jobs: ["x"] }).jobs[0]!);
  const [one, list] = [await claimsOf(gitlab, job, "a"), await claimsOf(gitlab, job, ["a", "b"])];
  expect([one.aud, list.aud]).toEqual(["a", ["a", "b"]]);
  expect(one.jti).not.toBe(list.jti);
  expect(one.job_id).toBe(list.job_id);
});

test("a job that no runner has taken has no token", async () => {
  const { gitlab, shop, alice } = scenes.get("19.0")!;
  const job = gitlab.startPipeline(shop, { user: alice, jobs: ["x"] }).jobs[0]!;
  await expect(gitlab.idToken(job, { aud: "a" })).rejects.toThrow(TypeError);
});

test("job and sign-in tokens are verified by two keys of one JWKS, and rotation leaves the old job token behind", async () => {
  const { gitlab, shop, alice } = scenes.get("16.11")!;
  const job = running(gitlab, gitlab.startPipeline(shop, { user: alice, jobs: ["x"] }).jobs[0]!);
  const keys = async () =>
    createLocalJWKSet((await (await fetch(`${gitlab.localUrl}/oauth/discovery/keys`)).json()) as JSONWebKeySet);
  const token = await gitlab.idToken(job, { aud: "a" });
  const human = await gitlab.humanToken(alice, { aud: "app" });
  const verify = async (jwt: string) => jwtVerify(jwt, await keys(), { currentDate: new Date(start) });

  expect((await verify(token)).protectedHeader).toMatchObject({ alg: "RS256", typ: "JWT" });
  const { payload } = await verify(human);
  expect(payload).toMatchObject({ iss: gitlab.issuer, sub: String(alice.id), aud: "app" });
  for (const claim of ["job_id", "pipeline_id", "project_id"]) expect(payload).not.toHaveProperty(claim);
  expect(decodeProtectedHeader(human).kid).not.toBe(decodeProtectedHeader(token).kid);

  await gitlab.rotateKey();
  await expect(verify(token)).rejects.toThrow();
  await expect(verify(human)).resolves.toBeDefined();
  await expect(verify(await gitlab.idToken(job, { aud: "a" }))).resolves.toBeDefined();
});

test("claims can be replaced or left out for tokens GitLab would not sign", async () => {
  const { gitlab, shop, alice } = scenes.get("19.0")!;
  const job = running(gitlab, gitlab.startPipeline(shop, { user: alice, jobs: ["x"] }).jobs[0]!);
  const token = await gitlab.idToken(job, { aud: "a", claims: { jti: undefined, ref_protected: true } });
  const claims = decodeJwt(token);
  expect(claims).not.toHaveProperty("jti");
  expect(claims.ref_protected).toBe(true);
});
