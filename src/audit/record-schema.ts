import { z } from "zod";
import { issuerTypes } from "../core/identity.ts";
import { recordIdPattern } from "../core/ids.ts";
import type { AuditRecord, EventData, RecordKind } from "../core/record.ts";
import { endReasons } from "../core/session.ts";
import { breakglassDataSchemas } from "./breakglass-record-schema.ts";
import { eventDataSchemas } from "./event-record-schema.ts";
import { natsDataSchemas } from "./nats-record-schema.ts";
import { operatorDataSchemas } from "./operator-record-schema.ts";
import { beside, outcome, policyDataSchemas, reason } from "./policy-record-schema.ts";
import { recordMeanings } from "./record-meanings.ts";

const text = z.string();
const ms = z.int().describe("ms since the Unix epoch");
const count = z.int().min(0);
const maybe = text.exactOptional();
const texts = z.array(text);
const policy = text.describe("policy version");
const from = text.describe("network address the request came from").exactOptional();
const suspendReason = z.enum(["lease_missed", "policy_withdrawn"]);
const factValue = z.union([text, z.number(), z.boolean()]);

const job = z
  .strictObject({
    issuer: text,
    project_id: text,
    project: text,
    pipeline_id: text,
    job_id: text,
    job_name: maybe,
    ref: maybe,
  })
  .meta({ id: "job", description: "who is meant, repeated so that one record can be read alone" });

const identity = z
  .strictObject({
    issuer: text,
    issuerType: z.enum(issuerTypes),
    kind: z.enum(["job", "agent", "person"]),
    project: z.strictObject({ id: text, path: text }),
    pipelineId: text,
    job: z.strictObject({
      id: text,
      name: maybe,
      ofRun: z.literal(true).describe("the id is its run's, which other jobs share").exactOptional(),
    }),
    ref: maybe,
    refType: z.enum(["branch", "tag"]).exactOptional(),
    sha: maybe,
    environment: maybe,
    triggeredBy: z.strictObject({ id: text, login: maybe }).exactOptional(),
    runner: z
      .strictObject({
        id: maybe,
        environment: maybe,
        spiffeId: text.describe("proven by an SVID of its own").exactOptional(),
      })
      .exactOptional(),
    fork: z.enum(["yes", "no", "unknown"]),
    cause: z
      .strictObject({ event: text, session: text, job: text, project: text, depth: count })
      .describe("the message that started its pipeline")
      .exactOptional(),
    attributes: z.record(text, z.union([text, z.boolean(), texts])),
    variables: z.record(text, text),
  })
  .meta({ id: "identity", description: "the verified, normalised claims of one job" });

const narrowing = z.strictObject({ targets: texts.exactOptional(), roles: texts.exactOptional() });
const claimed = z.literal(true).describe("only the job's token says so; absent: the CI's API did").exactOptional();
const fact = z.strictObject({ value: factValue, observedAt: ms, staleAt: ms, claimed });
const factUse = z.strictObject({ name: text, value: factValue, ageMs: z.number(), claimed });
const closest = z.strictObject({
  role: text,
  file: text,
  line: count,
  met: count,
  of: count,
  failed: text,
  found: maybe,
});

const decision = z.strictObject({
  gateway: text,
  target: text,
  operation: text,
  host: maybe,
  effect: z.enum(["allow", "deny"]).describe("what policy says"),
  outcome: outcome.describe("what the gateway was told"),
  reason,
  rule: maybe,
  policy,
  facts: z.array(factUse).exactOptional(),
  closest: closest.exactOptional(),
  missing: maybe,
  narrowed: texts.describe("role ids the token was narrowed to").exactOptional(),
  stream: z.literal(true).exactOptional(),
  counted: z.literal(true).describe("a gateway in front had allowed and counted it").exactOptional(),
  canary: z.literal(true).describe("the candidate decided").exactOptional(),
  beside: beside.exactOptional(),
  token: text.describe("keyed fingerprint of the presented token").exactOptional(),
  detail: maybe,
});

const opened = z.strictObject({
  identity,
  hard_end_at: ms,
  replay_key: text,
  replay_until: ms,
  jkt: text.describe("RFC 7638 thumbprint").exactOptional(),
  refresh_hash: text,
  idempotency_hash: maybe,
  presented: z
    .strictObject({ gateway: text, token_hash: text.describe("hex SHA-256 of the subject token") })
    .describe("the subject token itself is a password at this gateway, and nothing else")
    .exactOptional(),
  facts: z.record(text, fact).exactOptional(),
  missing: texts.describe("facts that were asked for and have no value").exactOptional(),
  parent: maybe,
  roles: texts,
  policy,
  token: text.describe("keyed fingerprint of the subject token"),
  kid: maybe,
  from,
});

const minted = z.strictObject({
  class: z.literal("access_token"),
  jti: text,
  kid: text,
  audience: texts,
  roles: texts,
  narrowing,
  jkt: text.describe("RFC 7638 thumbprint of the key it is bound to; absent for a bearer token").exactOptional(),
  expires_at: ms,
  token: text.describe("keyed fingerprint of the minted token"),
});

const svid = z.strictObject({
  type: z.enum(["x509", "jwt"]),
  spiffe_id: text,
  serial: text.describe("lower-case hex").exactOptional(),
  jti: maybe,
  audience: texts.exactOptional(),
  role: maybe,
  gateway: maybe,
  signer: text.describe("key id of the CA certificate, or kid of the signing key"),
  expires_at: ms,
});

const gatewayRequest = z.strictObject({
  gateway: text,
  hop: z.enum(["nginx", "envoy", "istio", "linkerd"]),
  at: ms,
  method: text,
  host: text,
  path: text,
  status: count,
  target: maybe,
  enforced: z.enum(["native", "call_out", "cached", "kept"]).exactOptional(),
  decision: maybe,
  reason: maybe,
  decision_record: text.describe("id of the decision's record").exactOptional(),
  subject: maybe,
  role: maybe,
  policy: maybe,
  peer: text.describe("URI SAN of the verified client certificate").exactOptional(),
  upstream_status: count.exactOptional(),
  seconds: z.number().exactOptional(),
  detail: maybe,
});

/** The data of every kind. The compiler holds it against `EventData` in both directions. */
export const dataSchemas = {
  "broker.started": z.strictObject({ version: text, policy }),
  "broker.stopped": z.strictObject({}),
  "policy.loaded": z.strictObject({
    policy,
    files: texts,
    roles: count,
    replaces: text.describe("version in force until then").exactOptional(),
    disk: text.describe("version the files make, where an operator set it aside").exactOptional(),
  }),
  "policy.refused": z.strictObject({ problems: count, first: text }),
  "key.created": z.strictObject({ class: text, kid: text }),
  "key.prepared": z.strictObject({ class: text, kid: text, usable_at: ms, because: maybe }),
  "key.activated": z.strictObject({ class: text, kid: text, replaces: maybe, because: maybe }),
  "key.retired": z.strictObject({ class: text, kid: text }),
  "key.revoked": z.strictObject({ class: text, kid: text, by: maybe, because: maybe }),
  "keys.rewrapped": z.strictObject({ files: texts }),
  "ca.created": z.strictObject({
    level: z.enum(["root", "intermediate"]),
    serial: text,
    key_id: text,
    expires_at: ms,
  }),
  "project.pinned": z.strictObject({ issuer: text, path: text, id: text }),
  "exchange.refused": z.strictObject({ code: text, detail: text, issuer: maybe, token: maybe, from }),
  "refresh.refused": z.strictObject({
    code: text,
    detail: text,
    token: text.describe("keyed fingerprint of the presented token"),
    from,
  }),
  "session.opened": opened,
  "session.renewed": z.strictObject({ hard_end_at: ms, replay_key: text, replay_until: ms, from }),
  "session.refreshed": z.strictObject({ generation: count, refresh_hash: text }),
  "credential.minted": minted,
  "svid.minted": svid,
  "svid.refused": z.strictObject({ code: text, detail: text, gateway: maybe }),
  "bundle.read": z.strictObject({ trust_domain: text, sequence: z.number().exactOptional(), problem: maybe }),
  "credential.revoked": z.strictObject({ jti: text, until: ms }),
  "session.suspended": z.strictObject({ reason: suspendReason }),
  "session.resumed": z.strictObject({ reason: suspendReason }),
  "session.ended": z.strictObject({ reason: z.enum(endReasons), detail: maybe, by: maybe }),
  "lease.held": z.strictObject({ lease: text }),
  "lease.released": z.strictObject({ lease: text }),
  "job.over": z.strictObject({ issuer: text, project_id: text, job_id: text, status: text, until: ms }),
  "facts.read": z.strictObject({ facts: z.record(text, fact), missing: texts.exactOptional() }),
  "webhook.accepted": z.strictObject({ issuer: text, event: text, delivery: maybe, effect: text }),
  "webhook.refused": z.strictObject({ issuer: text, code: text, detail: text }),
  decision,
  "gateway.request": gatewayRequest,
  "gateway.reported": z.strictObject({
    gateway: text,
    node: text,
    policy,
    accepted: z.boolean(),
    detail: maybe,
  }),
  "gateway.refused": z.strictObject({ code: text, detail: text, gateway: maybe }),
  "stream.closed": z.strictObject({
    gateway: text,
    target: text,
    decision_record: text,
    transport: z.enum(["http", "grpc", "websocket", "tcp"]),
    bytes_in: count,
    bytes_out: count,
    ms: count,
    ended_by: z.enum(["client", "upstream", "wayleave"]),
    reason: reason.exactOptional(),
  }),
  ...natsDataSchemas,
  ...eventDataSchemas,
  ...operatorDataSchemas,
  ...breakglassDataSchemas,
  ...policyDataSchemas,
  "audit.reserved": z.strictObject({ upto: count }),
  "audit.gap": z.strictObject({ after_seq: count, at_most: count }),
} satisfies { readonly [K in RecordKind]: z.ZodType<EventData[K]> };

const kinds = Object.keys(dataSchemas) as RecordKind[];

function ofKind(kind: RecordKind) {
  const shape = z.strictObject({
    v: z.literal(1).describe("schema version"),
    id: text.regex(recordIdPattern).describe("made from `seq`, for people to pass on"),
    seq: z.int().min(1).describe("grows by one; a hole is explained by an audit.gap"),
    time: z.iso.datetime({ precision: 3 }).describe("UTC, to the millisecond"),
    kind: z.literal(kind),
    data: dataSchemas[kind],
    session: text.describe("the session it is about").exactOptional(),
    job: job.exactOptional(),
    trace: text
      .regex(/^[0-9a-f]{32}$/)
      .describe("W3C trace id")
      .exactOptional(),
  });
  return shape.describe(recordMeanings[kind]);
}

const [first, ...others] = kinds.map(ofKind);
if (first === undefined) throw new TypeError("no kinds of records");
const schema = z.discriminatedUnion("kind", [first, ...others]);

/** One entry of the audit log, checked strictly: an unknown member or kind is refused. */
export const recordSchema: z.ZodType<AuditRecord> = schema as unknown as z.ZodType<AuditRecord>;

/** The schema to publish. @see https://json-schema.org/draft/2020-12 */
export function recordJsonSchema(): object {
  return {
    title: "Wayleave audit record",
    description: "One line of the journal, without its checksum. Canonical JSON (RFC 8785).",
    ...z.toJSONSchema(schema),
  };
}
