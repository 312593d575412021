import { randomBytes, randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { webhookSignature } from "../demo/gitlab/hook-signature.ts";
import type { Project } from "../demo/gitlab/types.ts";
import { execRequests, startWayleave, wayleave } from "./job-process.ts";
import { type GitlabJob, type JobWorld, startJobWorld } from "./job-world.ts";

const read = "GET /v1/invoices/42";

let at: JobWorld;
let other: Project;
let shopSecret: string;
const otherSecret = newSecret();

// The poll would find out by itself; here only webhooks speak.
beforeAll(async () => {
  at = await startJobWorld({
    timings: { pollMs: 600_000 },
    ci: ({ gitlab, part }) => {
      other = gitlab.createProject({ path: "acme/other", members: { dana: "developer" } });
      shopSecret = part.files["gitlab-hook.token"] ?? "";
      const [shop] = part.issuer.webhooks as readonly unknown[];
      const hook = { name: "other", projects: [String(other.id)], signing_token_file: "other-hook.token" };
      return {
        issuer: { ...part.issuer, webhooks: [shop, hook] },
        files: { ...part.files, "other-hook.token": otherSecret },
      };
    },
  });
});
afterAll(async () => {
  await at?.close();
});

function newSecret(): string {
  return `whsec_${randomBytes(32).toString("base64")}`;
}

/** A job with a session, and what its access token gets at the gateway. */
async function openedJob(): Promise<GitlabJob & { readonly session: string; call(): Promise<unknown> }> {
  const job = await at.startJob();
  const done = await wayleave(job.env, "token");
  const token = readFileSync(done.out.trim(), "utf8").trim();
  const opened = await at.records.until("session.opened", (record) => record.job?.job_id === String(job.job.id));
  const url = `${at.world.edgeUrl("billing.localhost")}/v1/invoices/42`;
  return {
    ...job,
    session: opened.session ?? "",
    call: async () => {
      const { status, reason } = await at.world.client.call("GET", url, token);
      return [status, reason];
    },
  };
}

const alive = [200, undefined];
const over = [401, "session_ended"];

/** The Job Hooks that GitLab made for a job, oldest first. */
function hooksOf({ job }: Pick<GitlabJob, "job">) {
  return at.ci.gitlab.deliveries.filter(
    ({ event, body }) => event === "Job Hook" && (JSON.parse(body) as { build_id: number }).build_id === job.id,
  );
}

/** The newest Job Hook of a job, saying that the job succeeded, with other fields changed. */
function successOf(job: GitlabJob, changes: Readonly<Record<string, unknown>> = {}): string {
  const [newest] = hooksOf(job).slice(-1);
  return JSON.stringify({ ...(JSON.parse(newest?.body ?? "{}") as object), build_status: "success", ...changes });
}

/** The headers GitLab signs a body with. */
function signed(body: string, secret: string, timestamp = Math.floor(Date.now() / 1000)): Record<string, string> {
  const id = randomUUID();
  return {
    "content-type": "application/json",
    "x-gitlab-event": "Job Hook",
    "webhook-id": id,
    "webhook-timestamp": String(timestamp),
    "webhook-signature": webhookSignature(secret, id, timestamp, body),
  };
}

async function deliver(hook: string, body: string, headers: Readonly<Record<string, string>>): Promise<number> {
  const response = await fetch(`${at.world.broker.url}/hooks/gitlab/${hook}`, { method: "POST", body, headers });
  return response.status;
}

describe("a job that is being canceled", () => {
  test("keeps its session while after_script runs, and loses it when it is canceled", async () => {
    const { gitlab } = at.ci;
    const { job, env } = await at.startJob();
    const command = startWayleave(env, ...execRequests(at.edge));
    expect(await command.ask(read)).toBe("200");
    gitlab.cancelJob(job);
    const canceling = await at.records.until("webhook.accepted", (record) =>
      record.data.event.includes(`${job.id} canceling`),
    );
    expect([canceling.data.effect, await command.ask(read)]).toEqual(["none: the job goes on", "200"]);
    gitlab.finishCancel(job);
    const ended = await at.records.until("session.ended", (record) => record.job?.job_id === String(job.id));
    expect([ended.data.reason, await command.ask(read)]).toEqual(["job_finished", "401"]);
    expect((await command.finish()).err).toMatch(/denied {2}GET billing \/v1\/invoices\/42/);
  });
});

describe("a Job Hook that arrives", () => {
  test("twice ends the session once", async () => {
    const job = await openedJob();
    at.ci.gitlab.succeedJob(job.job);
    await at.ci.gitlab.flush();
    const [success] = hooksOf(job).slice(-1);
    if (success === undefined) throw new TypeError("the job has a hook");
    await at.ci.gitlab.redeliver(success);
    expect([success.attempts, success.status, await job.call()]).toEqual([2, 200, over]);
    await at.records.until("webhook.accepted", (record) => record.data.effect === "ended 0 sessions");
    expect(at.records.of("session.ended", job.session)).toHaveLength(1);
    const told = at.records.of("job.over").filter((record) => record.data.job_id === String(job.job.id));
    expect(told).toHaveLength(1);
  });

  test("in the wrong order does not bring the session back, nor open another", async () => {
    const { gitlab } = at.ci;
    gitlab.holdHooks();
    const job = await openedJob();
    const another = await gitlab.idToken(job.job, { aud: at.world.config.issuer });
    gitlab.succeedJob(job.job);
    expect(await job.call()).toEqual(alive);
    await gitlab.releaseHooks((held) => held.toReversed());
    const order = hooksOf(job).map(({ body }) => (JSON.parse(body) as { build_status: string }).build_status);
    expect([order, await job.call()]).toEqual([["created", "pending", "running", "success"], over]);
    const again = await wayleave(at.env(job.job, another), "token");
    expect([again.status, again.err.includes("job_over")]).toEqual([3, true]);
    expect(at.records.of("session.ended", job.session)).toHaveLength(1);
  });

  test("late, for a job that was retried, ends nothing of the job that took its place", async () => {
    const { gitlab } = at.ci;
    const first = await openedJob();
    gitlab.failJob(first.job);
    await gitlab.flush();
    const [failed] = hooksOf(first).slice(-1);
    const retried = gitlab.retryJob(first.job);
    gitlab.runJob(retried);
    const token = await gitlab.idToken(retried, { aud: at.world.config.issuer });
    const second = startWayleave(at.env(retried, token), ...execRequests(at.edge));
    expect(await second.ask(read)).toBe("200");
    if (failed !== undefined) await gitlab.redeliver(failed);
    expect([failed?.attempts, await second.ask(read), await first.call()]).toEqual([2, "200", over]);
    expect((await second.finish()).status).toBe(0);
  });
});

describe("a Job Hook that is not GitLab's word about this project", () => {
  let job: Awaited<ReturnType<typeof openedJob>>;

  beforeEach(async () => {
    job = await openedJob();
  });

  const minute = 60;
  const seconds = () => Math.floor(Date.now() / 1000);
  test.each<{ what: string; headers: (body: string) => Record<string, string>; body?: (text: string) => string }>([
    { what: "signed with another secret", headers: (body) => signed(body, newSecret()) },
    { what: "signed with another project's secret", headers: (body) => signed(body, otherSecret) },
    { what: "not signed", headers: () => ({ "content-type": "application/json", "x-gitlab-event": "Job Hook" }) },
    {
      what: "with the secret as a token instead of a signature",
      headers: () => ({ "content-type": "application/json", "x-gitlab-token": shopSecret }),
    },
    { what: "recorded six minutes ago", headers: (body) => signed(body, shopSecret, seconds() - 6 * minute) },
    { what: "from six minutes ahead", headers: (body) => signed(body, shopSecret, seconds() + 6 * minute) },
    { what: "changed on its way", headers: (body) => signed(body, shopSecret), body: (text) => `${text} ` },
  ])("but forged, $what, is refused, recorded, and ends nothing", async ({ headers, body = (text) => text }) => {
    const earlier = new Set(at.records.of("webhook.refused").map((record) => record.id));
    const text = successOf(job);
    expect(await deliver("shop", body(text), headers(text))).toBe(401);
    expect(await job.call()).toEqual(alive);
    const refused = await at.records.until("webhook.refused", (record) => !earlier.has(record.id));
    expect([refused.data.code, at.records.of("session.ended", job.session)]).toEqual(["webhook_refused", []]);
  });

  test("but about this project under another project's secret is refused and ends nothing", async () => {
    const text = successOf(job);
    expect([await deliver("other", text, signed(text, otherSecret)), await job.call()]).toEqual([401, alive]);
  });

  test("but about this job's number in another project ends nothing here", async () => {
    const text = successOf(job, { project_id: other.id });
    expect([await deliver("other", text, signed(text, otherSecret)), await job.call()]).toEqual([200, alive]);
    const again = await at.ci.gitlab.idToken(job.job, { aud: at.world.config.issuer });
    expect((await wayleave(at.env(job.job, again), "token")).status).toBe(0);
  });

  test.each([
    { what: "that is no JSON", body: "build_status=success" },
    { what: "that is no object", body: "[]" },
    { what: "whose job id is no number", changes: { build_id: "7712" } },
    { what: "without a status", changes: { build_status: undefined } },
  ])("but signed nonsense $what is malformed and ends nothing", async ({ body, changes }) => {
    const text = body ?? successOf(job, changes);
    expect([await deliver("shop", text, signed(text, shopSecret)), await job.call()]).toEqual([400, alive]);
  });

  test("but sent where no webhook is configured is not found", async () => {
    const text = successOf(job);
    expect([await deliver("nobody", text, signed(text, shopSecret)), await job.call()]).toEqual([404, alive]);
  });
});
