import type { FastifyInstance, FastifyRequest } from "fastify";
import { z } from "zod";
import { WayleaveError } from "../core/errors.ts";
import { recordIdPattern } from "../core/ids.ts";
import type { AuditRecord } from "../core/record.ts";
import type { Session } from "../session/table.ts";
import type { DecisionSummary, DecisionsResponse, ExplainResponse, LeaseResponse, SessionSummary } from "./contract.ts";
import { problem } from "./problem.ts";
import { type CallerDeps, sessionCaller, sessionOwner } from "./session-caller.ts";

export interface SessionRouteDeps extends CallerDeps {
  /** Seconds between heartbeats. */
  readonly beatSeconds: number;
  beat(session: Session, lease: string): Promise<void>;
  release(session: Session, lease: string): Promise<void>;
  /** Ends at once; resolves when durable. */
  end(session: Session): Promise<void>;
  summary(session: Session): SessionSummary;
  /** Denials of a session after a record id, waiting up to `waitMs` for the first. */
  denials(session: string, after: string | undefined, waitMs: number): Promise<readonly AuditRecord[]>;
  record(id: string): Promise<AuditRecord | undefined>;
  explain(record: AuditRecord): ExplainResponse;
}

export const LeaseBody = z.strictObject({ lease: z.string() });
export const DecisionsQuery = z.strictObject({
  after: z.string().regex(recordIdPattern).optional(),
  wait: z.coerce.number().min(0).max(25).default(0),
});

/** The session as its own job sees and drives it. */
export function sessionRoutes(deps: SessionRouteDeps) {
  return async (app: FastifyInstance): Promise<void> => {
    app.setErrorHandler(problem);

    app.post("/v1/session/lease", async (request): Promise<LeaseResponse> => {
      const session = await sessionCaller(deps, request);
      await deps.beat(session, leaseOf(request));
      return { session_id: session.id, state: session.view.state, interval: deps.beatSeconds };
    });

    app.post("/v1/session/release", async (request, reply) => {
      await deps.release(await sessionCaller(deps, request), leaseOf(request));
      return reply.code(204).send();
    });

    app.post("/v1/session/end", async (request, reply) => {
      await deps.end(await sessionCaller(deps, request));
      return reply.code(204).send();
    });

    app.get("/v1/session", async (request) => deps.summary(await sessionCaller(deps, request)));

    app.get("/v1/session/decisions", async (request): Promise<DecisionsResponse> => {
      const session = await sessionCaller(deps, request);
      const query = DecisionsQuery.safeParse(request.query);
      if (!query.success) throw new WayleaveError("invalid_request", "`after` is a record id, `wait` 0 to 25 seconds.");
      const records = await deps.denials(session.id, query.data.after, query.data.wait * 1000);
      return { decisions: records.flatMap(decisionSummary) };
    });

    app.get<{ Params: { id: string } }>("/v1/session/decisions/:id", async (request) => {
      const session = await sessionOwner(deps, request);
      const record = recordIdPattern.test(request.params.id) ? await deps.record(request.params.id) : undefined;
      // Somebody else's record is not told apart from none.
      if (record?.session !== session.id) {
        throw new WayleaveError("record_not_found", "This session has no such record.");
      }
      return deps.explain(record);
    });
  };
}

function leaseOf(request: FastifyRequest): string {
  const body = LeaseBody.safeParse(request.body);
  if (!body.success) throw new WayleaveError("invalid_request", 'Send {"lease": "<id of this command>"} as JSON.');
  return body.data.lease;
}

function decisionSummary(record: AuditRecord): DecisionSummary[] {
  if (record.kind !== "decision") return [];
  const { target, operation, outcome, reason } = record.data;
  if (outcome !== "deny" && outcome !== "would_deny") return [];
  return [{ record: record.id, time: record.time, target, operation, outcome, reason }];
}
