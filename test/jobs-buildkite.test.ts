import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startBuildkiteCi } from "../demo/story-buildkite.ts";
import { type DemoWorld, startWorld } from "../demo/world.ts";
import { execRequests, type JobEnv, startWayleave, wayleave } from "./job-process.ts";
import { runnerEnv } from "./job-world.ts";
import { followRecords, type RecordStream } from "./record-stream.ts";

const read = "GET /v1/health";

let directory: string;
let world: DemoWorld;
let ci: Awaited<ReturnType<typeof startBuildkiteCi>>;
let records: RecordStream;
let edge: string;

// A session of Buildkite lives for 35 min past its last identity token; scaled, past four seconds.
beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "wayleave-buildkite-"));
  world = await startWorld({
    directory: join(directory, "world"),
    timings: { tokenTtlMs: 2000, renewWithinMs: 4000 },
    ci: async (brokerUrl, ca) => {
      ci = await startBuildkiteCi(brokerUrl, ca);
      return ci.part;
    },
  });
  records = await followRecords(world);
  edge = world.edgeUrl("billing.localhost").replace("billing.localhost", "127.0.0.1");
});
afterAll(async () => {
  await records?.close();
  await world?.close();
  await ci?.buildkite.close();
  rmSync(directory, { recursive: true, force: true });
});

type Job = Parameters<typeof ci.buildkite.startJob>[0];

/** A running job of a step, with the variables its agent sets: no identity token, only the way to ask for one. */
function startJob(step: string): { readonly job: Job; readonly env: JobEnv } {
  const [job] = ci.buildkite.startBuild(ci.pipeline, { steps: [step], branch: "main" }).jobs;
  if (job === undefined) throw new TypeError("the build has a job");
  ci.buildkite.startJob(job);
  const env = {
    ...runnerEnv(directory, world, "BUILDKITE_BUILD_CHECKOUT_PATH"),
    // The agent's API is Buildkite's own; here its certificate is a private CA's.
    NODE_EXTRA_CA_CERTS: join(world.directory, "ca.pem"),
    BUILDKITE_JOB_ID: job.id,
    BUILDKITE_ORGANIZATION_SLUG: ci.buildkite.organization.slug,
    BUILDKITE_LABEL: job.name,
    BUILDKITE_AGENT_ENDPOINT: `${ci.buildkite.localUrl}/v3`,
    BUILDKITE_AGENT_ACCESS_TOKEN: job.accessToken,
  };
  return { job, env };
}

describe("a Buildkite job", () => {
  test("renews its session with fresh identity tokens past the session's first end, until the job is over", async () => {
    const { job, env } = startJob("smoke");
    const unused = await ci.buildkite.oidcToken(job, {
      audience: world.config.issuer,
      claims: ["organization_id", "pipeline_id", "build_id"],
    });
    const command = startWayleave(env, ...execRequests(edge));
    expect(await command.ask(read)).toBe("200");
    const opened = await records.until("session.opened", (record) => record.job?.job_id === job.id);
    const ofIt = (record: { readonly session?: string }) => record.session === opened.session;
    const firstEnd = opened.data.hard_end_at;
    await records.until("session.renewed", (record) => ofIt(record) && Date.parse(record.time) > firstEnd);
    expect(await command.ask(read)).toBe("200");

    const renewed = records.of("session.renewed", opened.session);
    const used = [opened.data.replay_key, ...renewed.map((record) => record.data.replay_key)];
    expect(new Set(used).size).toBe(used.length);
    expect(records.of("session.opened")).toHaveLength(1);

    ci.buildkite.finishJob(job);
    await ci.buildkite.flush();
    const ended = await records.until("session.ended", ofIt);
    expect([ended.data.reason, await command.ask(read)]).toEqual(["job_finished", "401"]);
    const late = await world.client.exchange(unused);
    expect([late.status, late.body.code]).toEqual([400, "job_over"]);
    await command.finish();
  });

  test("whose step no role is for gets nothing, and its command does not run", async () => {
    const { job, env } = startJob("build");
    const done = await wayleave(env, "exec", "--", "sh", "-c", "echo ran");
    expect([done.status, done.out]).toEqual([3, ""]);
    expect(done.err).toContain("no_role");
    await records.until("exchange.refused", (record) => record.data.code === "no_role");
    expect(records.of("session.opened").filter((record) => record.job?.job_id === job.id)).toEqual([]);
  });
});
