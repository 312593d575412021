import { RetryBody } from "../../src/api/events.ts";
import { ReasonBody } from "../../src/api/keys.ts";
import { AdminBody, RenderQuery } from "../../src/api/nats-operator.ts";
import { CanBody, EndBody, RecordsQuery, SessionsQuery } from "../../src/api/operator.ts";
import { ProjectsBody } from "../../src/api/project-ids.ts";
import { rolloutRoutes } from "./api-rollout-routes.ts";
import type { ApiRoute } from "./api-route.ts";

const sessionPath = { id: "session id, or the CI's job id" };
const keyPath = { class: "`access-token`, `assertion`, `jwt-svid` or `nats`", kid: "key id" };
const recordFilter = {
  session: "of this session",
  job: "of this CI job",
  project: "of this project, by path or id",
  target: "at this target",
  gateway: "at this gateway",
  kind: "of this kind",
  kinds: "of these kinds, separated by commas",
  effect: "decisions that say `allow`, or `deny`",
  since: "from this ISO 8601 time on",
  until: "up to this ISO 8601 time",
  before: "older than this record",
  after: "younger than this record",
  order: "`oldest_first`",
  brief: "`true`: long lists are left out",
  subject: "about this NATS subject; `*` is one token, `>` the rest",
  limit: "at most so many; fewer where records are long",
};

/** What operators use. */
export const operatorRoutes: readonly ApiRoute[] = [
  { route: "GET /v1/me", does: "Who asks, and what they may.", gives: { json: "MeResponse" } },
  { route: "POST /v1/sign-out", does: "Ends the caller's own sign-in." },
  { route: "GET /v1/sign-ins", does: "Who is signed in.", gives: { json: "SignInsResponse" } },
  { route: "POST /v1/sign-ins/:id/end", does: "Ends somebody's sign-in.", path: { id: "sign-in id" } },
  { route: "GET /v1/status", does: "How the broker stands.", gives: { json: "StatusResponse" } },
  {
    route: "GET /v1/sessions",
    does: "Sessions, youngest first.",
    query: [
      SessionsQuery,
      { state: "in this state", project: "of this project, by path or id", limit: "at most so many" },
    ],
    gives: { json: "SessionsResponse" },
  },
  { route: "GET /v1/sessions/:id", does: "One session.", path: sessionPath, gives: { json: "SessionSummary" } },
  {
    route: "POST /v1/sessions/:id/end",
    does: "Ends it, at once and for good.",
    path: sessionPath,
    takes: { schema: EndBody },
    gives: { json: "SessionSummary" },
  },
  {
    route: "GET /v1/records",
    does: "Records, newest first.",
    query: [RecordsQuery, recordFilter],
    gives: { json: "RecordsResponse" },
  },
  {
    route: "GET /v1/records/history",
    does: "All there are, oldest first, a line each.",
    query: [RecordsQuery, recordFilter],
    gives: { media: "application/x-ndjson" },
  },
  {
    route: "GET /v1/records/stream",
    does: "From now on, a line each.",
    query: [RecordsQuery, recordFilter],
    gives: { media: "application/x-ndjson" },
  },
  { route: "GET /v1/records/:id", does: "One record.", path: { id: "record id" }, gives: { json: "AuditRecord" } },
  {
    route: "GET /v1/records/:id/explain",
    does: "Why a decision fell so.",
    path: { id: "record id" },
    gives: { json: "ExplainResponse" },
  },
  {
    route: "GET /v1/verify/:name",
    does: "What every hop says of a job.",
    path: { name: "session id, or the CI's job id" },
    gives: { media: "application/json" },
  },
  {
    route: "POST /v1/can",
    does: "What a session may do now.",
    takes: { schema: CanBody },
    gives: { json: "CanResponse" },
  },
  {
    route: "POST /v1/policy/reload",
    does: "Reads the policy again; the one in force stays where it has errors.",
    gives: { json: "PolicyResponse" },
  },
  {
    route: "POST /v1/projects/ids",
    does: "Ids of project paths, for the lock file: from the CI's API, or from the first job of the path.",
    takes: { schema: ProjectsBody },
    gives: { json: "ProjectIdsResponse" },
  },
  ...rolloutRoutes,
  { route: "GET /v1/gateways", does: "What each gateway enforces.", gives: { json: "GatewaysResponse" } },
  { route: "GET /v1/keys", does: "Signing keys, by class.", gives: { json: "KeysResponse" } },
  {
    route: "POST /v1/keys/:class/prepare",
    does: "Publishes a next key.",
    path: { class: keyPath.class },
    takes: { schema: ReasonBody },
    gives: { json: "KeyResponse" },
  },
  {
    route: "POST /v1/keys/:class/activate",
    does: "Signs with it from here on.",
    path: { class: keyPath.class },
    takes: { schema: ReasonBody },
    gives: { json: "KeyResponse" },
  },
  {
    route: "POST /v1/keys/:class/:kid/retire",
    does: "Takes it out of the key set.",
    path: keyPath,
    gives: { json: "KeyResponse" },
  },
  {
    route: "POST /v1/keys/:class/:kid/revoke",
    does: "Makes its signatures worthless, at once.",
    path: keyPath,
    takes: { schema: ReasonBody },
    gives: { json: "KeyRevocationResponse" },
  },
  { route: "GET /v1/nats", does: "NATS servers and accounts.", gives: { json: "NatsStatusResponse" } },
  {
    route: "GET /v1/gateways/:name/nats",
    does: "A NATS server's own configuration, rendered.",
    path: { name: "gateway" },
    query: [
      RenderQuery,
      {
        data: "where the server keeps its streams",
        tls_cert: "its certificate",
        tls_key: "its key",
        fragments: "files to include instead of a whole configuration",
      },
    ],
    gives: { media: "application/json" },
  },
  {
    route: "POST /v1/gateways/:name/nats/admins",
    does: "Credentials for an account, for an hour at most.",
    path: { name: "gateway" },
    takes: { schema: AdminBody },
    gives: { json: "NatsAdminResponse" },
  },
  {
    route: "GET /v1/events",
    does: "Messages that wait to start a pipeline, and those given up.",
    gives: { json: "EventsResponse" },
  },
  {
    route: "POST /v1/events/retry",
    does: "Tries again what was given up.",
    takes: { schema: RetryBody },
    gives: { json: "EventSummary" },
  },
];
