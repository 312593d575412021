import type { FastifyInstance } from "fastify";
import type { HookEvent, HookRequest } from "../ci/provider.ts";
import type { BuildStatus } from "../core/build-status.ts";
import { WayleaveError } from "../core/errors.ts";
import type { AuditEvent } from "../core/record.ts";
import { problem } from "./problem.ts";

/** One registered webhook: who may speak through it, and for which projects. */
export interface RegisteredHook {
  readonly issuer: string;
  readonly name: string;
  /** NATS target that hears of each status. */
  readonly events?: string;
  /** Authenticates and reads a delivery. Throws `webhook_refused` or `webhook_malformed`. */
  read(
    request: HookRequest,
    nowMs: number,
  ): { readonly event: HookEvent; readonly delivery?: string; readonly status?: BuildStatus };
  /** True where the hook's secret is registered for this project, whatever path the hook's own words give it. */
  covers(projectId: string): boolean;
}

export interface HookRouteDeps {
  readonly now: () => number;
  hook(issuer: string, name: string): RegisteredHook | undefined;
  /** Resolves when the end is durable. */
  jobOver(issuer: string, projectId: string, jobId: string, status: string): Promise<number>;
  /** Facts of the project's sessions are read again; resolves when they are. */
  changed(issuer: string, projectId: string): Promise<number>;
  note(event: AuditEvent): string;
  /** Publishes a status for whoever listens. Must not throw, and nobody waits for it: an end must act whatever NATS does. */
  publish(issuer: string, target: string, status: BuildStatus, delivery: string | undefined): void;
}

const maxHookBytes = 25 * 1024 * 1024; // what gitlab.com sends at most

/**
 * `POST /hooks/<issuer>/<name>`. Anything authentic is answered 2xx, also what is ignored: CIs disable hooks that fail.
 * A hook on its own word only ends; what widens is read from the CI's API.
 */
export function hookRoutes(deps: HookRouteDeps) {
  return async (app: FastifyInstance): Promise<void> => {
    app.setErrorHandler(problem);
    app.removeAllContentTypeParsers();
    app.addContentTypeParser("*", { parseAs: "buffer", bodyLimit: maxHookBytes }, (_request, body, done) =>
      done(null, body),
    );

    app.post<{ Params: { issuer: string; name: string } }>("/hooks/:issuer/:name", async (request) => {
      const { issuer, name } = request.params;
      const hook = deps.hook(issuer, name);
      if (hook === undefined)
        throw new WayleaveError("not_found", "No such webhook is configured; see issuers[].webhooks.");
      const body = request.body instanceof Uint8Array ? request.body : new Uint8Array();
      try {
        return { effect: await deliver(hook, { headers: request.headers, body }) };
      } catch (error) {
        if (error instanceof WayleaveError && error.wire.http < 500) {
          deps.note({ kind: "webhook.refused", data: { issuer, code: error.code, detail: error.message } });
        }
        throw error;
      }
    });
  };

  async function deliver(hook: RegisteredHook, request: HookRequest): Promise<string> {
    const { event, delivery, status } = hook.read(request, deps.now());
    const effect = await act(hook, event);
    if (hook.events !== undefined && status !== undefined && hook.covers(status.projectId)) {
      deps.publish(hook.issuer, hook.events, status, delivery);
    }
    const sent = delivery === undefined ? {} : { delivery: delivery.slice(0, 80) };
    deps.note({ kind: "webhook.accepted", data: { issuer: hook.issuer, event: describe(event), effect, ...sent } });
    return effect;
  }

  async function act(hook: RegisteredHook, event: HookEvent): Promise<string> {
    if (event.kind === "ignored") return "ignored";
    if (!hook.covers(event.projectId)) {
      throw new WayleaveError(
        "webhook_refused",
        `Webhook ${hook.name} is not registered for project ${event.projectId}; add it to issuers[].webhooks[].projects.`,
      );
    }
    if (event.kind === "change")
      return `facts of ${await deps.changed(hook.issuer, event.projectId)} sessions read again`;
    if (!event.over) return "none: the job goes on";
    return `ended ${await deps.jobOver(hook.issuer, event.projectId, event.jobId, event.status)} sessions`;
  }
}

function describe(event: HookEvent): string {
  if (event.kind === "job") return `job ${event.jobId} ${event.status}`;
  if (event.kind === "change") return `merge request !${event.iid}`;
  return event.event.slice(0, 80);
}
