import { Readable } from "node:stream";
import type { FastifyInstance, FastifyReply } from "fastify";
import { z } from "zod";
import type { Decision } from "../core/decision.ts";
import { WayleaveError } from "../core/errors.ts";
import { recordIdPattern } from "../core/ids.ts";
import type { AuditRecord } from "../core/record.ts";
import type { Session } from "../session/table.ts";
import { entryRow } from "../store/index-row.ts";
import type { RecordFilter } from "../store/ports.ts";
import type {
  CanRequest,
  CanResponse,
  ExplainResponse,
  PolicyResponse,
  RecordsResponse,
  SessionSummary,
  SessionsResponse,
  StatusResponse,
} from "./contract.ts";
import { operatorText } from "./operator-caller.ts";
import { problem } from "./problem.ts";

export interface OperatorRouteDeps {
  status(): StatusResponse;
  sessions(): IterableIterator<Session>;
  find(id: string): Session | undefined;
  summary(session: Session): SessionSummary;
  end(session: Session, because: string | undefined, by: string): Promise<void>;
  records(filter: RecordFilter): Promise<readonly AuditRecord[]>;
  record(id: string): Promise<AuditRecord | undefined>;
  /** Calls back with each durable record from now on; returns how to stop. */
  follow(listener: (record: AuditRecord) => void): () => void;
  explain(record: AuditRecord): ExplainResponse;
  can(request: CanRequest): Decision;
  /** Throws `policy_invalid`; the running policy stays. */
  reload(): Promise<string>;
}

const words = z.string().transform((text) => text.split(","));
const instant = z.iso.datetime({ offset: true }).transform((text) => Date.parse(text));
export const RecordsQuery = z.strictObject({
  session: z.string().optional(),
  job: z.string().optional(),
  project: z.string().optional(),
  target: z.string().optional(),
  kind: z.string().optional(),
  kinds: words.optional(),
  effect: z.enum(["allow", "deny"]).optional(),
  gateway: z.string().optional(),
  since: instant.optional(),
  until: instant.optional(),
  before: z.string().regex(recordIdPattern).optional(),
  after: z.string().regex(recordIdPattern).optional(),
  order: z.enum(["oldest_first"]).optional(),
  brief: z.stringbool().optional(),
  subject: z.string().min(1).max(512).optional(),
  limit: z.coerce.number().int().min(1).max(1000).default(50),
});
export const SessionsQuery = z.strictObject({
  state: z.enum(["active", "suspended", "ended"]).optional(),
  project: z.string().optional(),
  limit: z.coerce.number().int().min(1).max(1000).default(50),
});
export const EndBody = z.strictObject({ because: z.string().max(200).optional() });
export const CanBody = z.strictObject({
  session: z.string(),
  target: z.string(),
  verb: z.string(),
  object: z.string(),
});

/**
 * The operators' side: on a Unix socket of mode 0600, where whoever can open the file may operate this broker, and for
 * people who signed in on the public listener. Who may do what is the guard's business.
 */
export function operatorRoutes(deps: OperatorRouteDeps) {
  return async (app: FastifyInstance): Promise<void> => {
    app.setErrorHandler(problem);

    app.get("/v1/status", async () => deps.status());

    app.get("/v1/sessions", async (request): Promise<SessionsResponse> => {
      const { state, project, limit } = parse(SessionsQuery, request.query);
      const found = [...deps.sessions()]
        .filter((session) => state === undefined || session.view.state === state)
        .filter(
          ({ identity }) =>
            project === undefined || identity.project.path === project || identity.project.id === project,
        )
        .sort((a, b) => b.openedAt - a.openedAt);
      return { sessions: found.slice(0, limit).map(deps.summary) };
    });

    app.get<{ Params: { id: string } }>("/v1/sessions/:id", async (request) =>
      deps.summary(sessionOf(request.params.id)),
    );

    app.post<{ Params: { id: string } }>("/v1/sessions/:id/end", async (request) => {
      const session = sessionOf(request.params.id);
      await deps.end(session, parse(EndBody, request.body ?? {}).because, operatorText(request));
      return deps.summary(session);
    });

    app.get("/v1/records", async (request): Promise<RecordsResponse> => {
      return { records: await deps.records(filterOf(request.query)) };
    });

    app.get("/v1/records/stream", async (request, reply) => {
      sendFollowed(deps, filterOf(request.query), reply);
    });

    app.get("/v1/records/history", async (request, reply) => {
      reply.type("application/x-ndjson");
      return reply.send(Readable.from(history(deps, filterOf(request.query))));
    });

    app.get<{ Params: { id: string } }>("/v1/records/:id", async (request) => recordOf(request.params.id));
    app.get<{ Params: { id: string } }>("/v1/records/:id/explain", async (request) =>
      deps.explain(await recordOf(request.params.id)),
    );
    app.post(
      "/v1/can",
      async (request): Promise<CanResponse> => ({ decision: deps.can(parse(CanBody, request.body)) }),
    );
    app.post("/v1/policy/reload", async (): Promise<PolicyResponse> => ({ version: await deps.reload() }));
  };

  function sessionOf(id: string): Session {
    const session = deps.find(id) ?? [...deps.sessions()].findLast((each) => each.identity.job.id === id);
    if (session === undefined)
      throw new WayleaveError(
        "session_not_found",
        `No session or job ${id.slice(0, 60)} here; see \`wayleave session list\`.`,
      );
    return session;
  }

  async function recordOf(id: string): Promise<AuditRecord> {
    const record = recordIdPattern.test(id) ? await deps.record(id) : undefined;
    if (record === undefined)
      throw new WayleaveError("record_not_found", `No record ${id.slice(0, 40)}; see \`wayleave audit list\`.`);
    return record;
  }
}

/** Records from now on, until the reader goes. */
function sendFollowed(deps: Pick<OperatorRouteDeps, "follow">, filter: RecordFilter, reply: FastifyReply): void {
  const matches = matcher(filter);
  reply.hijack();
  reply.raw.writeHead(200, { "content-type": "application/x-ndjson" });
  reply.raw.flushHeaders();
  const stop = deps.follow((record) => {
    if (!matches(record)) return;
    // A reader that cannot keep up is let go rather than buffered for without end.
    if (reply.raw.writableLength > maxBacklogBytes) reply.raw.destroy();
    else reply.raw.write(`${JSON.stringify(record)}\n`);
  });
  reply.raw.on("close", stop);
}

const maxBacklogBytes = 8 * 1024 * 1024;

/** Oldest first, page by page as the reader takes them, up to what was durable at the beginning; lines of JSON. */
async function* history(deps: Pick<OperatorRouteDeps, "records">, filter: RecordFilter): AsyncGenerator<string> {
  const [newest] = await deps.records({ limit: 1, brief: true });
  for (let { after } = filter; newest !== undefined; ) {
    const page = { ...filter, order: "oldest_first" as const, limit: historyPage };
    const records = await deps.records({ ...page, ...(after === undefined ? {} : { after }) });
    const known = records.filter(({ seq }) => seq <= newest.seq);
    if (known.length > 0) yield known.map((record) => `${JSON.stringify(record)}\n`).join("");
    after = known.at(-1)?.id;
    if (after === undefined || known.length < records.length) return;
  }
}

const historyPage = 500;

function filterOf(query: unknown): RecordFilter {
  const { since, until, ...rest } = parse(RecordsQuery, query);
  const given = Object.fromEntries(Object.entries(rest).filter(([, value]) => value !== undefined));
  return {
    ...(given as unknown as RecordFilter),
    ...(since === undefined ? {} : { sinceMs: since }),
    ...(until === undefined ? {} : { untilMs: until }),
  };
}

function parse<T>(schema: z.ZodType<T>, value: unknown): T {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw new WayleaveError(
    "invalid_request",
    `${issue?.path.join(".") || "request"}: ${issue?.message ?? "not understood"}`,
  );
}

/** The filter as a test of one record: what the index does for stored records. */
function matcher(filter: RecordFilter): (record: AuditRecord) => boolean {
  const { job, project, kinds } = filter;
  return (record) => {
    const row = entryRow(record);
    return (
      (["session", "target", "kind", "effect", "gateway"] as const).every(
        (column) => filter[column] === undefined || filter[column] === row[column],
      ) &&
      (kinds === undefined || kinds.includes(row.kind)) &&
      (job === undefined || job === row.job_id) &&
      (project === undefined || project === row.project || project === row.project_id)
    );
  };
}
