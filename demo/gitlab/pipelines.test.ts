import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Gitlab, startGitlab } from "./gitlab.ts";
import type { Job, Project, User } from "./types.ts";

let now = 1_790_000_000_000;
let gitlab: Gitlab;
let old: Gitlab;
let alice: User;
let shop: Project;

beforeAll(async () => {
  [gitlab, old] = await Promise.all([
    startGitlab({ now: () => now }),
    startGitlab({ now: () => now, version: "16.11" }),
  ]);
  alice = gitlab.createUser({ username: "alice" });
  shop = gitlab.createProject({ path: "acme/shop" });
});
afterAll(() => Promise.all([gitlab.close(), old.close()]));

function job(...names: string[]): Job {
  return gitlab.startPipeline(shop, { user: alice, jobs: names.length > 0 ? names : ["test"] }).jobs[0]!;
}

test("a job goes from created to success, and its pipeline with it", () => {
  const one = job();
  expect([one.status, one.pipeline.status]).toEqual(["created", "created"]);
  gitlab.runJob(one);
  expect([one.status, one.pipeline.status, one.startedAt]).toEqual(["running", "running", now]);
  now += 90_000;
  gitlab.succeedJob(one);
  expect([one.status, one.pipeline.status, one.finishedAt]).toEqual(["success", "success", now]);
});

describe("cancel", () => {
  test("a running job is canceling while its after_script runs", () => {
    const one = job();
    gitlab.runJob(one);
    gitlab.cancelJob(one);
    expect([one.status, one.pipeline.status, one.finishedAt]).toEqual(["canceling", "canceling", undefined]);
    gitlab.finishCancel(one);
    expect([one.status, one.pipeline.status, one.finishedAt]).toEqual(["canceled", "canceled", now]);
  });

  test("a waiting job is canceled at once", () => {
    const one = job();
    gitlab.cancelJob(one);
    expect(one.status).toBe("canceled");
  });

  test("before 17.0 there is no canceling", () => {
    const project = old.createProject({ path: "acme/old" });
    const user = old.createUser({ username: "alice" });
    const one = old.startPipeline(project, { user, jobs: ["x"] }).jobs[0]!;
    old.runJob(one);
    old.cancelJob(one);
    expect(one.status).toBe("canceled");
  });
});

test("a retry is a new job in the same pipeline with one retry more", () => {
  const one = job("test", "lint");
  gitlab.runJob(one);
  gitlab.failJob(one, "runner_system_failure");
  const again = gitlab.retryJob(one);
  expect(again).toMatchObject({ name: "test", retriesCount: 1, status: "pending", retried: false });
  expect(again.id).toBeGreaterThan(one.id);
  expect(again.pipeline).toBe(one.pipeline);
  expect(again.token).not.toBe(one.token);
  expect([one.status, one.retried, one.failureReason]).toEqual(["failed", true, "runner_system_failure"]);
  expect(() => gitlab.retryJob(one)).toThrow("cannot be retried");
});

test("a pipeline that failed runs again when its job is retried, and passes when that passes", () => {
  const one = job();
  gitlab.runJob(one);
  gitlab.failJob(one);
  expect(one.pipeline).toMatchObject({ status: "failed", finishedAt: now });
  const again = gitlab.retryJob(one);
  expect(one.pipeline).toMatchObject({ status: "pending", finishedAt: undefined });
  gitlab.runJob(again);
  gitlab.succeedJob(again);
  expect(one.pipeline.status).toBe("success");
});

test("a job that may fail fails alone", () => {
  const one = gitlab.startPipeline(shop, { user: alice, jobs: [{ name: "x", allowFailure: true }] }).jobs[0]!;
  gitlab.runJob(one);
  gitlab.failJob(one);
  expect([one.status, one.pipeline.status]).toEqual(["failed", "success"]);
});

test.each<{ name: string; act: (one: Job) => void }>([
  { name: "succeed before it ran", act: (one) => gitlab.succeedJob(one) },
  { name: "finish a cancel nobody asked for", act: (one) => gitlab.finishCancel(one) },
  { name: "be retried while it waits", act: (one) => gitlab.retryJob(one) },
  {
    name: "run after it was canceled",
    act: (one) => {
      gitlab.cancelJob(one);
      gitlab.runJob(one);
    },
  },
  {
    name: "succeed while canceling",
    act: (one) => {
      gitlab.runJob(one);
      gitlab.cancelJob(one);
      gitlab.succeedJob(one);
    },
  },
  {
    name: "end twice",
    act: (one) => {
      gitlab.runJob(one);
      gitlab.succeedJob(one);
      gitlab.failJob(one);
    },
  },
])("a job cannot $name", ({ act }) => {
  const one = job();
  expect(() => act(one)).toThrow(TypeError);
});
