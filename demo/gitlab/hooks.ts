import { randomUUID } from "node:crypto";
import type { Deliveries, Delivery } from "./deliveries.ts";
import { type HookContext, jobHookBody, mergeRequestHookBody, pipelineHookBody } from "./hook-bodies.ts";
import { webhookSignature } from "./hook-signature.ts";
import type { ModelEvent, Project } from "./types.ts";

export interface HookOptions {
  readonly url: string;
  readonly project: Project;
  /** Sent as it is in `X-Gitlab-Token`. */
  readonly token?: string;
  /** `whsec_…`: signs each delivery. Only 19.0 can. Both kinds may be set during a migration. */
  readonly signingToken?: string;
  /** Default: all. */
  readonly events?: readonly ModelEvent["kind"][];
}

export interface Hook extends HookOptions {
  readonly id: number;
}

/** A `Delivery` of GitLab, with the key a Resend repeats. */
export interface GitlabDelivery extends Delivery {
  readonly hookId: number;
  readonly idempotencyKey: string;
}

export interface Hooks {
  add(options: HookOptions): Hook;
  remove(hook: Hook): void;
  /** Queues what the hooks of the event's project are to be told, as the world is now. */
  dispatch(event: ModelEvent): void;
  readonly deliveries: readonly GitlabDelivery[];
}

const eventNames = { job: "Job Hook", pipeline: "Pipeline Hook", merge_request: "Merge Request Hook" } as const;
const releases = { "16.11": "16.11.0", "18.2": "18.2.2", "19.0": "19.0.0" } as const;

/** Keeps a project's webhooks and turns events into signed deliveries. `now` gives milliseconds since the epoch. */
export function createHooks(deliveries: Deliveries, context: () => HookContext, now: () => number): Hooks {
  const hooks: Hook[] = [];
  const made: GitlabDelivery[] = [];
  return {
    deliveries: made,
    add: (options) => {
      if (options.signingToken !== undefined) {
        if (context().version !== "19.0") throw new TypeError("signing tokens came with GitLab 19.0");
        webhookSignature(options.signingToken, "", 0, ""); // a token of the wrong shape is refused here, not later
      }
      const hook = { ...options, id: (hooks.at(-1)?.id ?? 0) + 1 };
      hooks.push(hook);
      return hook;
    },
    remove: (hook) => {
      const index = hooks.indexOf(hook);
      if (index >= 0) hooks.splice(index, 1);
    },
    dispatch: (event) => {
      const project = projectOf(event);
      for (const hook of hooks) {
        if (hook.project !== project || !(hook.events?.includes(event.kind) ?? true)) continue;
        const idempotencyKey = randomUUID();
        const body = JSON.stringify(bodyOf(event, context()));
        const makeHeaders = () => headersOf(hook, eventNames[event.kind], idempotencyKey, body, context(), now());
        const call = { url: hook.url, event: eventNames[event.kind], body, makeHeaders };
        // Object.assign, because the delivery's later states must be seen through both lists.
        made.push(Object.assign(deliveries.enqueue(call), { hookId: hook.id, idempotencyKey }));
      }
    },
  };
}

/** The headers of one attempt: GitLab's own, then (19.0) the Standard Webhooks ones. */
function headersOf(hook: Hook, event: string, key: string, body: string, context: HookContext, nowMs: number) {
  const timestamp = Math.floor(nowMs / 1000);
  return {
    "Content-Type": "application/json",
    "User-Agent": `GitLab/${releases[context.version]}`,
    ...(context.version === "16.11" ? {} : { "Idempotency-Key": key }),
    "X-Gitlab-Event": event,
    // Documented as naming the webhook; the code draws a new one for every request.
    "X-Gitlab-Webhook-UUID": randomUUID(),
    // Without the relative root: GitLab uses its base URL here.
    "X-Gitlab-Instance": new URL(context.url).origin,
    "X-Gitlab-Event-UUID": randomUUID(),
    ...(hook.token ? { "X-Gitlab-Token": hook.token } : {}),
    ...(hook.signingToken
      ? {
          "webhook-id": key,
          "webhook-timestamp": String(timestamp),
          "webhook-signature": webhookSignature(hook.signingToken, key, timestamp, body),
        }
      : {}),
  };
}

function bodyOf(event: ModelEvent, context: HookContext) {
  if (event.kind === "job") return jobHookBody(event.job, context);
  if (event.kind === "pipeline") return pipelineHookBody(event.pipeline, context);
  return mergeRequestHookBody(event, context);
}

function projectOf(event: ModelEvent): Project {
  if (event.kind === "job") return event.job.pipeline.project;
  return event.kind === "pipeline" ? event.pipeline.project : event.mergeRequest.targetProject;
}
