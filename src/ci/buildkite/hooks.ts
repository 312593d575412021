import { createHmac } from "node:crypto";
import { z } from "zod";
import { checkSignedTime, hookBody, hookMalformed, hookRefused, sameSecret, singleHeader } from "../hook-request.ts";
import type { HookEvent, HookRequest, HookSecrets } from "../provider.ts";
import { uuid } from "./claims.ts";
import { isTerminal } from "./job-state.ts";

const JobEvent = z.object({
  job: z.object({ id: uuid, state: z.string().min(1).max(64) }),
  pipeline: z.object({ id: uuid }),
});

/**
 * What a Buildkite webhook says, once it is authenticated. Buildkite sends a signature by the webhook's token, or the
 * token itself; a signature that is there must be right, and with a signing secret it must be there.
 *
 * Buildkite names no delivery; event, job and state stand for one. Throws `webhook_refused` or `webhook_malformed`. Not
 * checked: that a delivery is new, and that the secret is registered for the pipeline.
 */
export function readBuildkiteHook(
  request: HookRequest,
  secrets: HookSecrets,
  nowMs: number,
): { readonly event: HookEvent; readonly delivery?: string } {
  const signature = singleHeader(request, "x-buildkite-signature");
  if (signature !== undefined) checkSignature(request.body, signature, secrets.signing ?? secrets.token, nowMs);
  else checkToken(singleHeader(request, "x-buildkite-token"), secrets);
  return readEvent(hookBody(request));
}

function checkToken(found: string | undefined, { token, signing }: HookSecrets): void {
  if (signing !== undefined) {
    throw hookRefused("The webhook is not signed; choose to send an HMAC signature in Buildkite, or use token here.");
  }
  if (found === undefined || !token || !sameSecret(found, token)) {
    throw hookRefused("The webhook's token is missing or another; copy it from Buildkite to issuers[].webhooks[].");
  }
}

function checkSignature(body: Uint8Array, header: string, secret: string | undefined, nowMs: number): void {
  const [, timestamp = "", found = ""] = /^timestamp=(\d{1,12}),signature=([0-9a-f]{64})$/.exec(header) ?? [];
  const wanted = createHmac("sha256", secret ?? "")
    .update(`${timestamp}.`)
    .update(body)
    .digest("hex");
  if (!secret || timestamp === "" || !sameSecret(found, wanted)) {
    throw hookRefused("The webhook's signature is not by this token; copy it from Buildkite to issuers[].webhooks[].");
  }
  checkSignedTime(timestamp, nowMs);
}

function readEvent(body: Readonly<Record<string, unknown>>): { event: HookEvent; delivery?: string } {
  const { event } = body;
  if (typeof event !== "string" || event === "") {
    throw hookMalformed("The webhook's body names no event; send Buildkite's own body, unchanged.");
  }
  if (!event.startsWith("job.")) return { event: { kind: "ignored", event } };
  const read = JobEvent.safeParse(body);
  if (!read.success) {
    const at = read.error.issues[0]?.path.map(String).join(".") ?? "";
    throw hookMalformed(`The ${event.slice(0, 40)} webhook has no usable ${at}; send Buildkite's own body, unchanged.`);
  }
  const { job, pipeline } = read.data;
  return {
    event: {
      kind: "job",
      projectId: pipeline.id,
      jobId: job.id,
      status: job.state,
      over: event === "job.finished" || isTerminal(job.state),
    },
    delivery: `${event}:${job.id}:${job.state}`,
  };
}
