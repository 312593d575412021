import { z } from "zod";
import { type AskApi, readAnswer } from "../ask-api.ts";

const instant = z.iso.datetime({ offset: true }).transform((text) => Date.parse(text));

const Approvals = z.object({
  approved_by: z.array(z.object({ user: z.object({ id: z.int() }), approved_at: instant.nullish() })),
});

/** Newest first; GitLab adds one with each push to the source branch, at the time it took the push in. */
const Versions = z.array(z.object({ head_commit_sha: z.string(), created_at: instant })).min(1);

/**
 * How many people approved the merge request at `head`, its present head commit; undefined where that cannot be
 * established. GitLab keeps approvals over a push unless the project resets them, so those from before the head came
 * are not counted. Where an approval does not say when it was given (older versions), it counts only if the request
 * never had another head.
 */
export async function approvalsOfHead(
  ask: AskApi,
  mergeRequest: string,
  head: string | null | undefined,
): Promise<number | undefined> {
  const versions = await ask(`${mergeRequest}/versions?per_page=100`);
  const answer = await ask(`${mergeRequest}/approvals`);
  if (!versions.found || !answer.found) return undefined;
  const listed = readAnswer(Versions, versions.body, "GitLab", "list of versions");
  const { approved_by: approvals } = readAnswer(Approvals, answer.body, "GitLab", "list of approvals");
  const otherHead = listed.findIndex((version) => version.head_commit_sha !== head);
  if (otherHead === 0) return undefined;
  // A new target or base makes a version too: the head came with the oldest of the newest that have it.
  const since = listed[(otherHead === -1 ? listed.length : otherHead) - 1]?.created_at ?? Number.POSITIVE_INFINITY;
  const onlyHead = otherHead === -1 && !versions.more;
  const people = new Set<number>();
  for (const { user, approved_at: at } of approvals) {
    if (at == null && !onlyHead) return undefined;
    if (at == null || at >= since) people.add(user.id);
  }
  return people.size;
}
