import type { FastifyInstance, FastifyRequest } from "fastify";
import { z } from "zod";
import { WayleaveError } from "../core/errors.ts";
import type { EventEntry } from "../events/cause-table.ts";
import type { EventConsumers } from "../events/consumers.ts";
import type { Emitter } from "../events/emit.ts";
import { operatorText } from "./operator-caller.ts";
import { problem } from "./problem.ts";
import { type CallerDeps, sessionCaller } from "./session-caller.ts";

/** `POST /v1/events`: what a job publishes through the broker. */
export interface EmitResponse {
  /** `emt_…`: the CloudEvent's id. */
  readonly id: string;
  readonly target: string;
  /** NATS subject. */
  readonly subject: string;
  /** Audit record. */
  readonly record: string;
}

/** A message that has not started its pipeline. */
export interface EventSummary {
  /** Opaque; what a retry names it by. */
  readonly key: string;
  readonly event: string;
  readonly state: "pending" | "started" | "refused" | "dead";
  /** ISO 8601. */
  readonly since: string;
  readonly stream: string;
  readonly sequence: number;
  readonly subject: string;
  readonly code?: string;
  readonly detail?: string;
  readonly attempts: number;
  /** True where there may be a pipeline all the same. */
  readonly uncertain: boolean;
  readonly session?: string;
  /** `acme/shop#7712`: whose message it is. */
  readonly job?: string;
  /** `gitlab/2000/5101`, once it started. */
  readonly pipeline?: string;
}

export interface EventsResponse {
  /** Oldest first. */
  readonly events: readonly EventSummary[];
  /** Events whose messages are not fetched at the moment, and why. */
  readonly problems: readonly { readonly event: string; readonly problem: string }[];
}

export const EmitBody = z.strictObject({
  type: z.string().max(128),
  data: z.unknown().optional(),
  subject: z.string().max(255).optional(),
  target: z.string().max(64).optional(),
  key: z
    .string()
    .regex(/^[A-Za-z0-9_-]{8,64}$/)
    .optional(),
});

export interface EmitRouteDeps extends CallerDeps {
  readonly emitter: Pick<Emitter, "emit">;
}

/** Publishing for jobs, on the public listener. */
export function emitRoutes(deps: EmitRouteDeps) {
  return async (app: FastifyInstance): Promise<void> => {
    app.setErrorHandler(problem);
    app.post("/v1/events", { bodyLimit: 512 * 1024 }, async (request, reply): Promise<EmitResponse> => {
      const session = await sessionCaller(deps, request);
      const { type, data, subject, target, key } = read(
        EmitBody,
        request,
        'Send {"type": "image.pushed", "data"?, "subject"?, "target"?, "key"?: "8 to 64 of A-Z a-z 0-9 _ -"} as JSON.',
      );
      reply.header("cache-control", "no-store");
      return deps.emitter.emit(session.view, {
        type,
        ...(data === undefined ? {} : { data }),
        ...(subject === undefined ? {} : { subject }),
        ...(target === undefined ? {} : { target }),
        ...(key === undefined ? {} : { key }),
      });
    });
  };
}

export const RetryBody = z.strictObject({ key: z.string().min(1).max(1024) });

/** What waits and what was given up, on the operators' socket only. */
export function eventRoutes(deps: Pick<EventConsumers, "list" | "retry" | "problems">) {
  return async (app: FastifyInstance): Promise<void> => {
    app.setErrorHandler(problem);
    app.get(
      "/v1/events",
      async (): Promise<EventsResponse> => ({ events: deps.list().map(summary), problems: deps.problems() }),
    );
    app.post("/v1/events/retry", async (request): Promise<EventSummary> => {
      const { key } = read(RetryBody, request, 'Send {"key": "<key of `wayleave events list`>"} as JSON.');
      return summary(await deps.retry(key, operatorText(request)));
    });
  };
}

function summary(entry: EventEntry): EventSummary {
  const { key, message, state, since, code, detail, attempt, open, session, job, pipeline } = entry;
  return {
    key,
    event: message.event,
    state,
    since: new Date(since).toISOString(),
    stream: message.stream,
    sequence: message.sequence,
    subject: message.subject,
    ...(code === undefined ? {} : { code }),
    ...(detail === undefined ? {} : { detail }),
    attempts: attempt,
    uncertain: open,
    ...(session === undefined ? {} : { session }),
    ...(job === undefined ? {} : { job: `${job.project}#${job.job_id}` }),
    ...(pipeline === undefined ? {} : { pipeline: `${pipeline.issuer}/${pipeline.projectId}/${pipeline.pipelineId}` }),
  };
}

function read<T>(schema: z.ZodType<T>, request: FastifyRequest, usage: string): T {
  const body = schema.safeParse(request.body);
  if (body.success) return body.data;
  throw new WayleaveError("invalid_request", usage);
}
