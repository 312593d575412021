import { expect, test } from "vitest";
import { gitlabBuildStatus } from "./build-status.ts";

const project = { id: 1042, path_with_namespace: "acme/shop" };
const job = {
  object_kind: "build",
  build_id: 7712,
  build_name: "release",
  build_status: "success",
  pipeline_id: 5101,
  project_id: 1042,
  ref: "main",
  project,
};
const pipeline = {
  object_kind: "pipeline",
  object_attributes: { id: 5101, status: "failed", ref: "main", variables: [{ key: "SECRET", value: "s3cret" }] },
  project,
};

test("a job's status, ids as strings", () => {
  expect(gitlabBuildStatus(job)).toEqual({
    projectId: "1042",
    projectPath: "acme/shop",
    pipelineId: "5101",
    status: "success",
    ref: "main",
    job: { id: "7712", name: "release" },
  });
});

test("a pipeline's status, without its variables", () => {
  const found = gitlabBuildStatus(pipeline);
  expect(found).toEqual({
    projectId: "1042",
    projectPath: "acme/shop",
    pipelineId: "5101",
    status: "failed",
    ref: "main",
  });
});

test.each([
  { what: "another hook", body: { object_kind: "push", project } },
  { what: "a status with a dot", body: { ...job, build_status: "a.b" } },
  { what: "a status in capitals", body: { ...job, build_status: "SUCCESS" } },
  { what: "an id as text", body: { ...job, pipeline_id: "5101" } },
  { what: "an id below one", body: { ...job, project_id: 0 } },
  { what: "no pipeline", body: { ...pipeline, object_attributes: {} } },
  { what: "no object", body: "x" },
])("$what is none", ({ body }) => {
  expect(gitlabBuildStatus(body)).toBeUndefined();
});
