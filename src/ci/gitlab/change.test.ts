import { describe, expect, test } from "vitest";
import { factTable } from "../../core/fact.ts";
import { fakeApi } from "../api.fake.ts";
import { gitlabApi } from "./api.ts";
import { branchJob, forkJob, without } from "./claims.fake.ts";
import { gitlab } from "./provider.ts";

const baseUrl = "https://gitlab.example/api/v4";
const [A, B, M] = ["a".repeat(40), "b".repeat(40), "d".repeat(40)];
const names = Object.keys(factTable).filter((name) => name.startsWith("change."));
const identityOf = (claims: Readonly<Record<string, unknown>>) =>
  gitlab.identity(claims, { name: "gitlab", url: "https://gitlab.example" });

/** The job of a merge request's pipeline on commit A, and one on the target branch after the merge. */
const changeJob = { ...branchJob, pipeline_source: "merge_request_event", ref: "feature/x", sha: A };
const mainJob = { ...branchJob, pipeline_source: "push", ref: "main", sha: M };

const open = {
  iid: 77,
  target_project_id: 1042,
  source_project_id: 1042,
  state: "opened",
  sha: A,
  merge_commit_sha: null,
  squash_commit_sha: null,
  source_branch: "feature/x",
  target_branch: "main",
  draft: false,
};
const merged = { ...open, state: "merged", merge_commit_sha: M };
const facts = (state: string, more: object = {}) => ({
  "change.merged": state === "merged",
  "change.iid": 77,
  "change.state": state,
  "change.target": "main",
  "change.source": "feature/x",
  "change.draft": false,
  ...more,
});

type Request = Omit<typeof open, `${string}_commit_sha`> & { readonly [Name in `${string}_commit_sha`]: string | null };

const project = "/projects/1042";
const list = (sha: string) => `${project}/repository/commits/${sha}/merge_requests?per_page=20`;
const single = (iid: number) => `${project}/merge_requests/${iid}`;
const version = (head: string, time: string) => ({ head_commit_sha: head, created_at: `2026-11-24T${time}:00.000Z` });
const approval = (id: number, time?: string) => ({
  user: { id },
  ...(time === undefined ? {} : { approved_at: `2026-11-24T${time}:00.000Z` }),
});

/** A project in which `sha` belongs to these merge requests; the first has these versions and approvals. */
function answersFor(
  sha: string,
  requests: readonly Request[],
  more: { versions?: unknown; approvals?: readonly unknown[] } = {},
): Record<string, unknown> {
  return {
    [list(sha)]: requests.map(({ iid }) => ({ iid })),
    ...Object.fromEntries(requests.map((request) => [single(request.iid), request])),
    [`${single(77)}/versions?per_page=100`]: more.versions ?? [version(requests[0]?.sha ?? A, "09:00")],
    [`${single(77)}/approvals`]: { approved: true, approved_by: more.approvals ?? [] },
  };
}

function read(claims: Readonly<Record<string, unknown>>, answers: Record<string, unknown>, wanted = names) {
  const { fetch, asked } = fakeApi(baseUrl, answers);
  const result = gitlabApi({ baseUrl, token: "t", fetch, timeoutMs: 1_000 }).facts(identityOf(claims), wanted);
  return { result, asked };
}

describe("the change is known", () => {
  test("for the head of an open merge request", async () => {
    expect(await read(changeJob, answersFor(A, [open])).result).toEqual(facts("opened", { "change.approvals": 0 }));
  });

  test("for the head, once it is merged", async () => {
    expect(await read(changeJob, answersFor(A, [merged])).result).toMatchObject({ "change.merged": true });
  });

  test.each([
    { what: "merge commit", request: merged },
    { what: "squash commit", request: { ...merged, merge_commit_sha: null, squash_commit_sha: M } },
  ])("for a job on the target branch whose commit is the $what", async ({ request }) => {
    expect(await read(mainJob, answersFor(M, [request])).result).toMatchObject({
      "change.merged": true,
      "change.iid": 77,
    });
  });

  test("for a fork's job that runs in the target project", async () => {
    const claims = { ...forkJob, sha: A };
    expect(await read(claims, answersFor(A, [{ ...open, source_project_id: 6666 }])).result).toMatchObject({
      "change.iid": 77,
    });
  });

  test("without asking for approvals nobody wants", async () => {
    const { result, asked } = read(changeJob, answersFor(A, [open]), ["change.merged"]);
    expect(await result).toEqual({ "change.merged": false });
    expect(asked.map(({ path }) => path)).toEqual([list(A), single(77)]);
  });

  test("and nothing is asked when no fact of it is wanted", async () => {
    const { result, asked } = read(changeJob, answersFor(A, [open]), ["environment.name"]);
    await result;
    expect(asked).toEqual([]);
  });
});

describe("every fact of the change is missing", () => {
  const mergedB = { ...merged, sha: B };
  test.each<{ what: string; claims: Readonly<Record<string, unknown>>; answers: Record<string, unknown> }>([
    {
      what: "for evil commit A when the later commit B was merged",
      claims: changeJob,
      answers: answersFor(A, [mergedB]),
    },
    { what: "for evil commit A when B is the head", claims: changeJob, answers: answersFor(A, [{ ...open, sha: B }]) },
    {
      what: "for evil commit A that a fast-forward carried into main",
      claims: { ...mainJob, sha: A },
      answers: answersFor(A, [{ ...mergedB, merge_commit_sha: null }]),
    },
    {
      what: "for a branch job on the merge commit that is not on the target",
      claims: { ...mainJob, ref: "release" },
      answers: answersFor(M, [merged]),
    },
    {
      what: "for a tag of the target's name on the merge commit",
      claims: { ...mainJob, ref_type: "tag" },
      answers: answersFor(M, [merged]),
    },
    {
      what: "for a merge request from a branch of the target's name",
      claims: { ...mainJob, pipeline_source: "merge_request_event" },
      answers: answersFor(M, [merged]),
    },
    {
      what: "for a fork's job on the merge commit",
      claims: { ...forkJob, ref: "main", pipeline_source: "push", sha: M },
      answers: answersFor(M, [merged]),
    },
    {
      what: "for a merge commit of a request that is not merged",
      claims: mainJob,
      answers: answersFor(M, [{ ...merged, state: "locked" }]),
    },
    { what: "when no merge request has the commit", claims: changeJob, answers: answersFor(A, []) },
    { what: "when GitLab does not know the commit", claims: changeJob, answers: {} },
    {
      what: "when two merge requests have the head",
      claims: changeJob,
      answers: answersFor(A, [open, { ...open, iid: 78, target_branch: "release" }]),
    },
    {
      what: "when one is merged and the same head is open elsewhere",
      claims: changeJob,
      answers: answersFor(A, [merged, { ...open, iid: 78 }]),
    },
    {
      what: "when the merge commit is the head of another request",
      claims: mainJob,
      answers: answersFor(M, [merged, { ...open, iid: 78, sha: M, source_branch: "main" }]),
    },
    {
      what: "when the request is another project's",
      claims: changeJob,
      answers: answersFor(A, [{ ...open, target_project_id: 9 }]),
    },
    {
      what: "when the request has no head",
      claims: changeJob,
      answers: answersFor(A, [{ ...open, sha: null as unknown as string }]),
    },
    { what: "when the request is gone", claims: changeJob, answers: { [list(A)]: [{ iid: 77 }] } },
    {
      what: "when 21 requests have the commit",
      claims: changeJob,
      answers: { [list(A)]: Array.from({ length: 21 }, () => ({ iid: 77 })), [single(77)]: open },
    },
    {
      what: "when there is a further page",
      claims: changeJob,
      answers: {
        ...answersFor(A, [open]),
        [list(A)]: () => Response.json([{ iid: 77 }], { headers: { "x-next-page": "2" } }),
      },
    },
    { what: "when the token has no sha", claims: without(changeJob, "sha"), answers: answersFor(A, [open]) },
  ])("$what", async ({ claims, answers }) => {
    expect(await read(claims, answers).result).toEqual({});
  });

  test("when a push replaces the head while the approvals are read", async () => {
    let reads = 0;
    const moving = () => Response.json(reads++ === 0 ? open : { ...open, sha: B });
    const answers = { ...answersFor(A, [open], { approvals: [approval(1, "09:30")] }), [single(77)]: moving };
    expect(await read(changeJob, answers).result).toEqual({});
  });
});

describe("approvals", () => {
  const count = async (versions: unknown, approvals: readonly unknown[], request = open) =>
    (await read(changeJob, answersFor(A, [request], { versions, approvals })).result)["change.approvals"];

  test.each([
    {
      what: "given after the head came",
      versions: [version(A, "09:00")],
      approvals: [approval(1, "09:01"), approval(2, "09:02")],
      is: 2,
    },
    {
      what: "of one person, counted once",
      versions: [version(A, "09:00")],
      approvals: [approval(1, "09:01"), approval(1, "09:02")],
      is: 1,
    },
    {
      what: "given to an earlier head",
      versions: [version(A, "09:00"), version(B, "08:00")],
      approvals: [approval(1, "08:30")],
      is: 0,
    },
    {
      what: "partly given to an earlier head",
      versions: [version(A, "09:00"), version(B, "08:00")],
      approvals: [approval(1, "08:30"), approval(2, "09:30")],
      is: 1,
    },
    {
      what: "given before the target branch changed under the same head",
      versions: [version(A, "10:00"), version(A, "09:00"), version(B, "08:00")],
      approvals: [approval(1, "09:30")],
      is: 1,
    },
    {
      what: "given to this head when it was the head before",
      versions: [version(A, "10:00"), version(B, "09:00"), version(A, "08:00")],
      approvals: [approval(1, "08:30")],
      is: 0,
    },
    {
      what: "without a time, and no other head ever",
      versions: [version(A, "09:00")],
      approvals: [approval(1)],
      is: 1,
    },
    {
      what: "without a time, after another head",
      versions: [version(A, "09:00"), version(B, "08:00")],
      approvals: [approval(1)],
      is: undefined,
    },
    {
      what: "of a head that the versions do not have yet",
      versions: [version(B, "09:00")],
      approvals: [approval(1, "09:30")],
      is: undefined,
    },
    { what: "by nobody", versions: [version(A, "09:00")], approvals: [], is: 0 },
  ])("$what: $is", async ({ versions, approvals, is }) => {
    expect(await count(versions, approvals)).toBe(is);
  });

  test("are missing, and nothing else, where GitLab has no versions", async () => {
    const answers = { ...answersFor(A, [open]), [`${single(77)}/versions?per_page=100`]: undefined };
    expect(await read(changeJob, answers).result).toEqual(facts("opened"));
  });

  test("of a merged request are those of its head, also for the merge commit's job", async () => {
    const versions = [version(A, "09:00"), version(B, "08:00")];
    const approvals = [approval(1, "08:30"), approval(2, "09:30")];
    expect(await read(mainJob, answersFor(M, [merged], { versions, approvals })).result).toMatchObject({
      "change.approvals": 1,
    });
  });
});

describe("no answer is an outage, not a missing fact:", () => {
  const fault = () => new Response("", { status: 500 });
  test.each([
    { what: "the list fails", change: { [list(A)]: fault } },
    { what: "the list is no list", change: { [list(A)]: { iid: 77 } } },
    { what: "the merge request fails", change: { [single(77)]: fault } },
    { what: "the merge request is misshapen", change: { [single(77)]: { ...open, state: 7 } } },
    { what: "the approvals fail", change: { [`${single(77)}/approvals`]: fault } },
    { what: "the approvals are misshapen", change: { [`${single(77)}/approvals`]: { approved: true } } },
    {
      what: "an approval's time is no time",
      change: { [`${single(77)}/approvals`]: { approved_by: [{ user: { id: 1 }, approved_at: "now" }] } },
    },
    { what: "the versions are empty", change: { [`${single(77)}/versions?per_page=100`]: [] } },
  ])("$what", async ({ change }) => {
    await expect(read(changeJob, { ...answersFor(A, [open]), ...change }).result).rejects.toMatchObject({
      code: "ci_api_unreachable",
    });
  });
});
