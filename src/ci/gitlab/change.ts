import { z } from "zod";
import type { FactValue } from "../../core/fact.ts";
import type { JobIdentity } from "../../core/identity.ts";
import { type AskApi, readAnswer } from "../ask-api.ts";
import { approvalsOfHead } from "./approvals.ts";
import { runningProjectId } from "./claims.ts";

const MergeRequest = z.object({
  iid: z.int().positive(),
  target_project_id: z.int(),
  state: z.string().min(1).max(64),
  sha: z.string().nullish(),
  merge_commit_sha: z.string().nullish(),
  squash_commit_sha: z.string().nullish(),
  source_branch: z.string(),
  target_branch: z.string(),
  draft: z.boolean().optional(),
});
type MergeRequest = z.infer<typeof MergeRequest>;

const Listed = z.array(z.object({ iid: z.int().positive() }));

/** More merge requests than this hold one commit only where somebody wants them to: then nothing is established. */
const maxCandidates = 20;

/**
 * The `change.*` facts of a job: of the one merge request in the project that runs it whose head is the job's commit
 * or, for a job on the target branch, whose merge or squash commit is. None, or more than one: nothing. A commit that
 * a later one replaced or followed is no head, so it gains nothing from what became of the request.
 */
export async function changeFacts(
  ask: AskApi,
  identity: JobIdentity,
  names: readonly string[],
): Promise<Readonly<Record<string, FactValue>>> {
  if (identity.sha === undefined || !names.some((name) => name.startsWith("change."))) return {};
  const project = `/projects/${runningProjectId(identity)}`;
  const found = await mergeRequestOf(ask, project, identity, identity.sha);
  if (found === undefined) return {};
  if (!names.includes("change.approvals")) return facts(found);
  const approvals = await approvalsOfHead(ask, `${project}/merge_requests/${found.iid}`, found.sha);
  // Asked again last: what a push put in place of the head must not profit from what was read before.
  const after = await readMergeRequest(ask, project, found.iid);
  if (after === undefined || after.sha !== found.sha || !concerns(after, identity)) return {};
  return { ...facts(after), ...(approvals === undefined ? {} : { "change.approvals": approvals }) };
}

async function mergeRequestOf(
  ask: AskApi,
  project: string,
  identity: JobIdentity,
  sha: string,
): Promise<MergeRequest | undefined> {
  const answer = await ask(`${project}/repository/commits/${sha}/merge_requests?per_page=${maxCandidates}`);
  if (!answer.found) return undefined;
  const listed = readAnswer(Listed, answer.body, "GitLab", "list of merge requests");
  if (answer.more || listed.length > maxCandidates) return undefined;
  const iids = [...new Set(listed.map(({ iid }) => iid))];
  const read = await Promise.all(iids.map((iid) => readMergeRequest(ask, project, iid)));
  const [match, ...others] = read.filter((candidate) => candidate !== undefined && concerns(candidate, identity));
  return others.length === 0 ? match : undefined;
}

async function readMergeRequest(ask: AskApi, project: string, iid: number): Promise<MergeRequest | undefined> {
  const answer = await ask(`${project}/merge_requests/${iid}`);
  return answer.found ? readAnswer(MergeRequest, answer.body, "GitLab", "merge request") : undefined;
}

function concerns(change: MergeRequest, identity: JobIdentity): boolean {
  if (String(change.target_project_id) !== runningProjectId(identity)) return false;
  if (change.sha === identity.sha) return true;
  const onTarget =
    identity.fork === "no" &&
    identity.refType === "branch" &&
    identity.ref === change.target_branch &&
    identity.attributes.source !== "merge_request_event"; // there `ref` is the source branch
  const landed = change.merge_commit_sha === identity.sha || change.squash_commit_sha === identity.sha;
  return onTarget && landed && change.state === "merged";
}

function facts(change: MergeRequest): Readonly<Record<string, FactValue>> {
  return {
    "change.merged": change.state === "merged",
    "change.iid": change.iid,
    "change.state": change.state,
    "change.target": change.target_branch,
    "change.source": change.source_branch,
    ...(change.draft === undefined ? {} : { "change.draft": change.draft }),
  };
}
