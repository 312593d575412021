import { expect, test } from "vitest";
import { buildkiteBuildStatus } from "./build-status.ts";

const id = "0190e6c7-5a7e-7b3c-8c7e-1c5d0a9b2f10";
const build = { number: 27, state: "running", branch: "main", jobs: [] };
const pipeline = { id, slug: "shop" };
const job = { id: id.replace("0190", "0191"), name: "release", state: "passed" };

test("a build's status, and a job's", () => {
  const shared = { projectId: id, projectPath: "shop", pipelineId: "27", ref: "main" };
  expect(buildkiteBuildStatus({ event: "build.finished", build, pipeline })).toEqual({ ...shared, status: "running" });
  expect(buildkiteBuildStatus({ event: "job.finished", build, pipeline, job })).toEqual({
    ...shared,
    status: "passed",
    job: { id: job.id, name: "release" },
  });
});

test.each([
  { what: "an agent's event", body: { event: "agent.lost", build, pipeline } },
  { what: "a job's event without the job", body: { event: "job.finished", build, pipeline } },
  { what: "a pipeline without a UUID", body: { event: "build.finished", build, pipeline: { id: "shop.>" } } },
  { what: "a state that is no word", body: { event: "build.finished", build: { ...build, state: "a b" }, pipeline } },
])("$what is none", ({ body }) => {
  expect(buildkiteBuildStatus(body)).toBeUndefined();
});
