import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Job, MergeRequest } from "../demo/gitlab/types.ts";
import { startGitlabCi } from "../demo/story-gitlab.ts";
import { type DemoWorld, startWorld } from "../demo/world.ts";

/** Whoever can push a commit must not profit from what became of another one. Through real NGINX and GitLab's API. */
const policy = `version: 1
targets: { billing: { http: { hosts: [billing.localhost] } } }
who: { shop: { gitlab: { project: acme/shop } } }
roles:
  release:
    for: [shop]
    when: change.merged && change.approvals >= 1
    allow: { billing: [POST /v1/releases] }
`;

let directory: string;
let world: DemoWorld;
let ci: Awaited<ReturnType<typeof startGitlabCi>>;

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "wayleave-evil-"));
  writeFileSync(join(directory, "policy.yaml"), policy);
  world = await startWorld({
    directory: join(directory, "world"),
    policy: join(directory, "policy.yaml"),
    targets: ["billing"],
    ci: async (brokerUrl, ca) => {
      ci = await startGitlabCi(brokerUrl, ca);
      return ci.part;
    },
  });
});

afterAll(async () => {
  await world?.close();
  await ci?.gitlab.close();
  rmSync(directory, { recursive: true, force: true });
});

/** A running job that has its id token and, from `open` on, a session. */
class RunningJob {
  readonly job: Job;
  #token: string | undefined;
  constructor(job: Job | undefined) {
    if (job === undefined) throw new TypeError("the pipeline has a job");
    this.job = job;
    ci.gitlab.runJob(job);
  }

  async open(): Promise<this> {
    const { status, body } = await world.client.exchange(
      await ci.gitlab.idToken(this.job, { aud: world.config.issuer }),
    );
    expect([status, body.code]).toEqual([200, undefined]);
    this.#token = String(body.access_token);
    return this;
  }

  /** Status and reason of a release through NGINX; every hook has arrived before. */
  async release(): Promise<readonly [number, string | undefined]> {
    await ci.gitlab.flush();
    const url = `${world.edgeUrl("billing.localhost")}/v1/releases`;
    const { status, reason } = await world.client.call("POST", url, this.#token);
    return [status, reason];
  }
}

let branches = 0;

/** A merge request of its own with one commit. */
function openChange(targetBranch = "main"): MergeRequest {
  const sourceBranch = `feature/${++branches}`;
  ci.gitlab.pushCommit(ci.shop, sourceBranch);
  return ci.gitlab.openMergeRequest(ci.shop, { sourceBranch, targetBranch, author: ci.dana });
}

/** A job of the merge request's present head. */
function changeJob(mergeRequest: MergeRequest): RunningJob {
  const options = { source: "merge_request_event", mergeRequest, user: ci.dana, jobs: ["release"] } as const;
  return new RunningJob(ci.gitlab.startPipeline(ci.shop, options).jobs[0]);
}

function refJob(ref: string, tag = false): RunningJob {
  return new RunningJob(ci.gitlab.startPipeline(ci.shop, { ref, tag, user: ci.dana, jobs: ["release"] }).jobs[0]);
}

const allowed = [201, undefined] as const;
const missing = [403, "fact_missing"] as const;
const failed = [403, "condition_failed"] as const;

test.each(["merge", "squash", "squash_with_merge_commit", "fast_forward"] as const)(
  "evil commit A gains nothing when the later commit B is approved and merged (%s); B may release",
  async (method) => {
    const { gitlab, lee } = ci;
    const change = openChange();
    const early = await changeJob(change).open();
    const late = changeJob(change);
    expect(await early.release()).toEqual(failed);
    gitlab.pushCommit(ci.shop, change.sourceBranch);
    const good = await changeJob(change).open();
    gitlab.approve(change, lee);
    gitlab.mergeMergeRequest(change, { user: lee, method });
    expect(await early.release()).toEqual(missing);
    expect(await (await late.open()).release()).toEqual(missing);
    expect(await good.release()).toEqual(allowed);
  },
);

test("nor when its commit was replaced by a forced push", async () => {
  const { gitlab, lee } = ci;
  const change = openChange();
  const evil = await changeJob(change).open();
  gitlab.pushCommit(ci.shop, change.sourceBranch, { force: true });
  gitlab.approve(change, lee);
  gitlab.mergeMergeRequest(change, { user: lee });
  expect(await evil.release()).toEqual(missing);
});

test("nor when the hooks of push, approval and merge arrive late, twice and in the wrong order", async () => {
  const { gitlab, lee } = ci;
  const change = openChange();
  const evil = await changeJob(change).open();
  gitlab.holdHooks();
  gitlab.pushCommit(ci.shop, change.sourceBranch);
  gitlab.approve(change, lee);
  gitlab.mergeMergeRequest(change, { user: lee });
  await gitlab.releaseHooks((held) => [...held.toReversed(), ...held]);
  expect(await evil.release()).toEqual(missing);
});

test("approvals given to A do not count for B, although GitLab keeps them over the push", async () => {
  const { gitlab, lee, shop } = ci;
  shop.resetApprovalsOnPush = false;
  const change = openChange();
  gitlab.approve(change, lee);
  const unapproved = await untilLater(() => {
    gitlab.pushCommit(shop, change.sourceBranch);
    return changeJob(change);
  });
  await unapproved.open();
  gitlab.mergeMergeRequest(change, { user: lee });
  shop.resetApprovalsOnPush = true;
  expect(await unapproved.release()).toEqual(failed);
});

/** In a later millisecond than now: GitLab's times do not tell one from another within it. */
async function untilLater<T>(act: () => T): Promise<T> {
  for (const start = Date.now(); Date.now() === start; ) await new Promise((resolve) => setImmediate(resolve));
  return act();
}

test("approved and closed is not merged", async () => {
  const { gitlab, lee } = ci;
  const change = openChange();
  const job = await changeJob(change).open();
  gitlab.approve(change, lee);
  gitlab.closeMergeRequest(change, lee);
  expect(await job.release()).toEqual(failed);
});

test.each(["merge", "squash", "squash_with_merge_commit"] as const)(
  "the commit that landed on main (%s) releases from main, and neither from a tag nor as a later commit",
  async (method) => {
    const { gitlab, lee, shop } = ci;
    const change = openChange();
    gitlab.approve(change, lee);
    gitlab.mergeMergeRequest(change, { user: lee, method });
    expect(await (await refJob("main").open()).release()).toEqual(allowed);
    gitlab.createTag(shop, `v-${method}`);
    expect(await (await refJob(`v-${method}`, true).open()).release()).toEqual(missing);
    gitlab.pushCommit(shop, "main");
    expect(await (await refJob("main").open()).release()).toEqual(missing);
  },
);

test("two merge requests with the same head establish nothing, whichever of them is merged", async () => {
  const { gitlab, lee, shop, dana } = ci;
  gitlab.pushCommit(shop, "stable");
  const change = openChange();
  const twin = gitlab.openMergeRequest(shop, {
    sourceBranch: change.sourceBranch,
    targetBranch: "stable",
    author: dana,
  });
  const job = await changeJob(change).open();
  expect(await job.release()).toEqual(missing);
  gitlab.approve(change, lee);
  gitlab.mergeMergeRequest(change, { user: lee });
  expect(await job.release()).toEqual(missing);
  gitlab.closeMergeRequest(twin, lee);
  expect(await job.release()).toEqual(missing);
});
