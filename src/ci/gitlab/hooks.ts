import { createHmac } from "node:crypto";
import { z } from "zod";
import { checkSignedTime, hookBody, hookMalformed, hookRefused, sameSecret, singleHeader } from "../hook-request.ts";
import type { HookEvent, HookRequest, HookSecrets } from "../provider.ts";
import { isTerminal } from "./job-status.ts";

/** Ids are numbers in webhooks and strings in tokens; they meet as strings. */
const hookId = z.int().positive().transform(String);

const JobHook = z.object({
  build_id: hookId,
  build_status: z.string().min(1).max(64),
  project_id: hookId,
  project: z.object({ path_with_namespace: z.string().min(1).max(1024).optional() }).optional(),
});

const MergeRequestHook = z.object({
  object_attributes: z.object({
    iid: hookId,
    target_project_id: hookId,
    last_commit: z.object({ id: z.string().max(64) }).nullish(),
  }),
});

/**
 * What a GitLab webhook says, once it is authenticated.
 *
 * With a signing secret, only the Standard Webhooks signature authenticates, and a token beside it is not asked for: a
 * leaked token must not undo signing. To migrate without losing an event, add the signing token in GitLab (which then
 * sends both), then here, then remove the token here and in GitLab. With a token alone, the token authenticates.
 *
 * Throws `webhook_refused` or `webhook_malformed`. Not checked: that a delivery is new, and that the secret is
 * registered for the project.
 * @see https://www.standardwebhooks.com
 */
export function readGitlabHook(
  request: HookRequest,
  secrets: HookSecrets,
  nowMs: number,
): { readonly event: HookEvent; readonly delivery?: string } {
  if (secrets.signing !== undefined) checkSignature(request, secrets.signing, nowMs);
  else checkToken(request, secrets.token);
  const delivery = singleHeader(request, "webhook-id") ?? singleHeader(request, "idempotency-key");
  return { event: readEvent(hookBody(request)), ...(delivery === undefined ? {} : { delivery }) };
}

function checkToken(request: HookRequest, token: string | undefined): void {
  const found = singleHeader(request, "x-gitlab-token");
  if (found === undefined) throw hookRefused("The webhook has no X-Gitlab-Token; set its secret token in GitLab.");
  if (token === undefined || token === "" || !sameSecret(found, token)) {
    throw hookRefused("The webhook's secret token is another; set the same one in GitLab and in issuers[].webhooks[].");
  }
}

function checkSignature(request: HookRequest, secret: string, nowMs: number): void {
  const id = singleHeader(request, "webhook-id");
  const timestamp = singleHeader(request, "webhook-timestamp");
  const signatures = singleHeader(request, "webhook-signature");
  if (!id || !timestamp || !signatures) {
    throw hookRefused("The webhook is not signed; set the signing token in GitLab (19.0 or later), or use token.");
  }
  const wanted = `v1,${createHmac("sha256", signingKey(secret))
    .update(`${id}.${timestamp}.`)
    .update(request.body)
    .digest("base64")}`;
  if (!signatures.split(" ").some((entry) => sameSecret(entry, wanted))) {
    throw hookRefused("The webhook's signature is not by this signing token; set the same one in GitLab and here.");
  }
  checkSignedTime(timestamp, nowMs);
}

/** The bytes after `whsec_`. */
function signingKey(secret: string): Buffer {
  const encoded = /^whsec_([A-Za-z0-9+/]+={0,2})$/.exec(secret)?.[1] ?? "";
  const key = Buffer.from(encoded, "base64");
  if (key.length >= 24 && key.toString("base64") === encoded) return key;
  throw hookRefused("The configured signing_token is none of GitLab's (whsec_ and base64); copy it from GitLab again.");
}

function readEvent(body: Readonly<Record<string, unknown>>): HookEvent {
  const { object_kind: kind, event_name: name } = body;
  if (kind === "build") return jobEvent(body);
  if (kind === "merge_request") return changeEvent(body);
  const other = kind ?? name; // group hooks (members, projects) have only event_name
  if (typeof other === "string" && other !== "") return { kind: "ignored", event: other };
  throw hookMalformed(
    "The webhook's body has no object_kind: it is a custom payload. Remove the custom webhook template in GitLab.",
  );
}

function jobEvent(body: Readonly<Record<string, unknown>>): HookEvent {
  const read = JobHook.safeParse(body);
  if (!read.success) throw misshapen("Job Hook", read.error);
  const { build_id, build_status, project_id, project } = read.data;
  return {
    kind: "job",
    projectId: project_id,
    ...(project?.path_with_namespace === undefined ? {} : { projectPath: project.path_with_namespace }),
    jobId: build_id,
    status: build_status,
    over: isTerminal(build_status),
  };
}

function changeEvent(body: Readonly<Record<string, unknown>>): HookEvent {
  const read = MergeRequestHook.safeParse(body);
  if (!read.success) throw misshapen("Merge Request Hook", read.error);
  const { object_attributes: change } = read.data;
  return {
    kind: "change",
    projectId: change.target_project_id,
    iid: change.iid,
    ...(change.last_commit == null ? {} : { sha: change.last_commit.id }),
  };
}

function misshapen(hook: string, error: z.ZodError): Error {
  const at = error.issues[0]?.path.map(String).join(".") ?? "";
  return hookMalformed(`The ${hook} has no usable ${at}; remove any custom webhook template in GitLab.`);
}
