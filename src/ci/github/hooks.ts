import { createHmac } from "node:crypto";
import { z } from "zod";
import { hookBody, hookMalformed, hookRefused, sameSecret, singleHeader } from "../hook-request.ts";
import type { HookEvent, HookRequest, HookSecrets } from "../provider.ts";
import { isTerminal } from "./job-state.ts";

const JobEvent = z.object({
  workflow_job: z.object({
    status: z.string().min(1).max(64),
    conclusion: z.string().min(1).max(64).nullish(),
    check_run_url: z.string().max(1024),
  }),
  repository: z.object({ id: z.int().positive(), full_name: z.string().min(1).max(256) }),
});

/**
 * What a GitHub webhook says, once its signature is right. GitHub signs the body alone, without a time, so that an old
 * delivery can be sent again: it may only end. A job is named by its check run, which is what its token names.
 *
 * Throws `webhook_refused` or `webhook_malformed`. Not checked: that a delivery is new, and that the secret is registered
 * for the repository.
 */
export function readGithubHook(
  request: HookRequest,
  secrets: HookSecrets,
  _nowMs: number,
): { readonly event: HookEvent; readonly delivery?: string } {
  checkSignature(request, secrets.signing ?? secrets.token);
  const event = singleHeader(request, "x-github-event");
  const delivery = singleHeader(request, "x-github-delivery");
  const of = delivery === undefined ? {} : { delivery };
  if (event === undefined)
    throw hookMalformed("The webhook has no X-GitHub-Event; send GitHub's own request, unchanged.");
  const body = hookBody(request);
  return event === "workflow_job" ? { event: readJob(body), ...of } : { event: { kind: "ignored", event }, ...of };
}

function checkSignature(request: HookRequest, secret: string | undefined): void {
  const [, found = ""] = /^sha256=([0-9a-f]{64})$/.exec(singleHeader(request, "x-hub-signature-256") ?? "") ?? [];
  const wanted = createHmac("sha256", secret ?? "")
    .update(request.body)
    .digest("hex");
  if (!secret || !sameSecret(found, wanted)) {
    throw hookRefused("The webhook's signature is not by this secret; give GitHub and issuers[].webhooks[] the same.");
  }
}

function readJob(body: Readonly<Record<string, unknown>>): HookEvent {
  const read = JobEvent.safeParse(body);
  const checkRun = /\/check-runs\/([1-9]\d{0,19})$/.exec(read.data?.workflow_job.check_run_url ?? "")?.[1];
  if (!read.success || checkRun === undefined) {
    const at = read.error?.issues[0]?.path.map(String).join(".") ?? "workflow_job.check_run_url";
    throw hookMalformed(`The workflow_job webhook has no usable ${at}; choose application/json as its content type.`);
  }
  const { workflow_job: job, repository } = read.data;
  return {
    kind: "job",
    projectId: String(repository.id),
    projectPath: repository.full_name,
    jobId: checkRun,
    status: job.conclusion ?? job.status,
    over: isTerminal(job.status),
  };
}
