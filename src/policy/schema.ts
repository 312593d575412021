import { z } from "zod";
import { durationPattern, ratePattern } from "./parse-duration.ts";
import { defaultVariables } from "./parse-template.ts";

/**
 * The shape of a policy file: the one source for its types and for the JSON Schema that editors use. What a string may hold
 * (paths, templates, conditions) is checked by the parsers, which can point into it.
 */

export const namePattern = "^[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?$";

const text = (description: string, ...examples: string[]) =>
  z.string().meta({ description, ...(examples.length > 0 ? { examples } : {}) });

const duration = (description: string, example: string) =>
  z.string().meta({ description, examples: [example], pattern: durationPattern });

const Mode = (what: string) =>
  z.enum(["enforce", "observe"]).meta({ description: `observe lets ${what} through and records would_deny` });

const Kind = z.enum(["job", "agent", "person"]).meta({
  description: "Who acts: a job, an AI agent inside a job, or a person. Without it: a job, and in a deny anybody",
});
const Fork = z.boolean().meta({
  description:
    "true also matches jobs that run a fork's code, or may; without it they match nothing (a deny matches them)",
});
const CausedBy = z.union([z.string(), z.array(z.string()).min(1)]).meta({
  description:
    "Matches pipelines started by a Wayleave event: its name, a list of names, or * for any; without it they match nothing (a deny matches them)",
});

const scalar = z.union([z.string(), z.boolean()]);
const FieldValue = z.union([scalar, z.array(scalar).min(1)]).meta({
  description:
    "A value or a list of alternatives. Text is exact, or a glob where it holds *: * within a segment, ** across",
  examples: ["acme/shop", "acme/**", true],
});
const IssuerFields = z
  .record(z.string(), FieldValue)
  .meta({ description: "Claims by field name, all of which must match; ref means a branch unless ref_type: tag" });

export const Selector = z
  .object({ kind: Kind.optional(), fork: Fork.optional(), caused_by: CausedBy.optional() })
  .catchall(IssuerFields)
  .meta({
    description:
      "Which jobs: an issuer's name or type, and what its claims must say. In `for` it must name a project, group, pipeline or organization",
    examples: [{ gitlab: { project: "acme/shop", ref: "main", ref_protected: true } }],
  });
export type Selector = z.infer<typeof Selector>;

const Operation = z
  .union([
    z.string(),
    z.strictObject({
      op: text("The operation, as in the short form", "GET /v1/events"),
      stream: z
        .boolean()
        .meta({ description: "true lets WebSockets, gRPC streams and long uploads through" })
        .optional(),
    }),
    z.strictObject({
      grpc: z
        .array(text("Service and method; * for every method of the service", "acme.billing.Invoices/Get"))
        .min(1)
        .meta({ description: "gRPC methods, which are POST /package.Service/Method" }),
      stream: z.boolean().meta({ description: "true lets streams through, and calls that last" }).optional(),
    }),
  ])
  .meta({
    description:
      "http, mesh: METHOD /path with * (in a segment), ** (across), :name and ${…}. nats: pub|req|sub subject [queue], pull stream.consumer; a deny of pub or req is of both. tcp: connect. kubernetes: login. cloud: assume. secret: read",
    examples: ["GET /v1/invoices/**", "pub build.status.${job.project_id}.*", "pull ORDERS.worker", "read"],
  });
const Operations = z.array(Operation).min(1).meta({ description: "Operations on this target" });
export type OperationEntry = z.infer<typeof Operation>;

const Route = z.strictObject({
  match: text("Method and path pattern, without templates", "GET /healthz"),
  unidentified: z
    .enum(["deny", "pass"])
    .meta({ description: "pass lets requests without an identity through, for routes that people and probes share" })
    .optional(),
  mode: Mode("this route's requests").optional(),
});

const http = z
  .strictObject({
    hosts: z
      .array(text("Host name without port; ${…} may stand for whole labels", "billing.internal"))
      .min(1)
      .meta({ description: "Host names the service answers to; no two targets share one" }),
    encoded_slash: z
      .enum(["refuse", "segment"])
      .meta({ description: "segment keeps %2F inside its path segment; such a target is served by call-out only" })
      .optional(),
  })
  .meta({ description: "An HTTP or gRPC service behind a gateway" });

const cloud = z
  .strictObject({
    aws: text("Role ARN", "arn:aws:iam::111122223333:role/shop-deploy").optional(),
    gcp: text("Service account", "deploy@shop.iam.gserviceaccount.com").optional(),
    azure: text("Client id of the application (a UUID)").optional(),
  })
  .meta({ description: "A cloud role; exactly one of aws, gcp, azure" });

const nats = z
  .strictObject({
    account: text(
      "Account name; ${…} fills it for each job, so that every project can have its own",
      "CI",
      "P_${job.project_id}",
    ),
    records: z
      .enum(["durable", "fast"])
      .meta({
        description:
          "durable: a message is on disk in the records before it is forwarded; fast: at most 50 ms behind (default durable)",
      })
      .optional(),
    deliveries: z
      .enum(["counted", "full"])
      .meta({
        description:
          "full: each delivered message has its line in the records; counted: their number (default counted)",
      })
      .optional(),
  })
  .meta({ description: "A NATS account" });

export const Target = z
  .strictObject({
    http: http.optional(),
    mesh: z
      .strictObject({ spiffe_id: text("The service's SPIFFE ID", "spiffe://acme.example/ns/bank/sa/ledger") })
      .meta({ description: "A service of the mesh" })
      .optional(),
    tcp: z
      .strictObject({ address: text("host:port", "db.internal:5432") })
      .meta({ description: "A TCP service" })
      .optional(),
    nats: nats.optional(),
    kubernetes: z
      .strictObject({
        cluster: text("Cluster name", "staging"),
        groups: z
          .array(text("Group name, not system:…", "ci-deployers"))
          .min(1)
          .meta({ description: "Groups a job gets there" }),
      })
      .meta({ description: "A Kubernetes cluster" })
      .optional(),
    cloud: cloud.optional(),
    secret: z
      .strictObject({
        vault: text("Path in the vault; segments may hold ${…}", "kv/data/shop/db"),
        fields: z.array(text("Field name", "password")).min(1).meta({ description: "Fields that may be read" }),
      })
      .meta({ description: "A leased secret" })
      .optional(),
    mode: Mode("the target's requests").optional(),
    assertion: z
      .enum(["off", "required"])
      .meta({ description: "required: the upstream gets a signed assertion of the caller (default off)" })
      .optional(),
    proof: z
      .enum(["off", "required"])
      .meta({ description: "required: only tokens bound to a key, with their proof (default off)" })
      .optional(),
    on_outage: z
      .union([z.literal("deny"), z.strictObject({ keep: duration("How long, at most 5m", "60s") })])
      .meta({ description: "deny (default), or keep: what was already allowed to active sessions goes on that long" })
      .optional(),
    routes: z
      .array(Route)
      .min(1)
      .meta({ description: "Exceptions by route, http and mesh only; their order does not matter" })
      .optional(),
  })
  .meta({ description: "Something jobs may reach: exactly one of http, mesh, tcp, nats, kubernetes, cloud, secret" });
export type Target = z.infer<typeof Target>;

const Audience = z
  .union([z.string(), Selector, z.array(z.union([z.string(), Selector])).min(1)])
  .meta({ description: "For whom: a name from who, a selector, or a list of them", examples: [["shop", "smoke"]] });
export type Audience = z.infer<typeof Audience>;

const Condition = text(
  "CEL over job, change, environment, approval, request and now; at most 4 KiB. A missing fact: a role does not apply, a deny does",
  "change.merged && change.approvals >= 1",
);

export const Role = z
  .strictObject({
    id: text("Stable id that survives renaming; the name where there is none", "release").optional(),
    for: Audience,
    when: Condition.optional(),
    ttl: duration("Longest life of a credential, at most 15m (1h with until: pipeline)", "10m").optional(),
    until: z
      .enum(["job", "pipeline"])
      .meta({
        description: "pipeline: the credential may outlive its job until the pipeline ends, at most 1h (default job)",
      })
      .optional(),
    limit: z
      .strictObject({
        rate: z.string().meta({ description: "Uses per s, min or h", examples: ["30/min"], pattern: ratePattern }),
        per: z.enum(["session", "project", "role"]).meta({ description: "What is counted together" }),
        scope: z
          .enum(["gateway", "global"])
          .meta({
            description: "gateway: each gateway counts for itself; global: all of them together (default global)",
          })
          .optional(),
      })
      .meta({ description: "How often the role may be used" })
      .optional(),
    spiffe_id: text(
      "Mesh identity of its certificates, under the prefixes the configuration lists; spiffe://<trust domain>/role/<id> where there is none",
      "spiffe://acme.example/ns/ci/sa/release",
    ).optional(),
    mode: Mode("what only this role's condition, limit or template refuses").optional(),
    allow: z.record(z.string(), Operations).meta({ description: "Operations by target name" }),
  })
  .meta({ description: "A named set of operations on targets: for whom, when, how long" });
export type Role = z.infer<typeof Role>;

export const Deny = z
  .strictObject({
    id: text("Stable id; deny-1, deny-2, … where there is none").optional(),
    for: Audience,
    targets: z
      .array(text("Target name", "db"))
      .min(1)
      .meta({ description: "Targets denied whole; without targets and operations: every target" })
      .optional(),
    operations: z.record(z.string(), Operations).meta({ description: "Operations denied, by target name" }).optional(),
    when: Condition.optional(),
    because: text("The reason, shown to whoever is refused", "agents get results, not credentials"),
  })
  .meta({ description: "Wins over every role" });
export type Deny = z.infer<typeof Deny>;

const EventStart = z.strictObject({
  project: text("GitLab: path or id of the one project", "acme/deploy").optional(),
  ref: text("GitLab: branch or tag", "main").optional(),
  organization: text("Buildkite: slug of the organization", "acme").optional(),
  pipeline: text("Buildkite: slug of the pipeline", "deploy").optional(),
  branch: text("Buildkite: branch", "main").optional(),
});

export const Event = z
  .strictObject({
    for: Audience,
    on: z
      .strictObject({
        target: text("NATS target, its account written out", "events"),
        stream: text("JetStream stream", "IMAGES"),
        subject: text("Subject of the messages, with * and > but no template", "image.pushed.*"),
      })
      .meta({
        description: "Which messages",
        examples: [{ target: "events", stream: "IMAGES", subject: "image.pushed.*" }],
      }),
    start: z.record(z.string(), EventStart).meta({
      description:
        "The one pipeline to start, by issuer name or type: gitlab: project and ref; buildkite: organization, pipeline and branch",
      examples: [{ gitlab: { project: "acme/deploy", ref: "main" } }],
    }),
    variables: z
      .record(z.string(), text("JSON Pointer (RFC 6901) into the message", "/image/name"))
      .meta({
        description: "Variables of the pipeline, by name; none that a CI, a shell or a tool reads by itself",
        examples: [{ IMAGE: "/image/name" }],
      })
      .optional(),
    limit: z
      .string()
      .meta({
        description: "Pipelines it may start per s, min or h (default 10/min)",
        examples: ["10/min"],
        pattern: ratePattern,
      })
      .optional(),
    depth: z
      .number()
      .meta({
        description:
          "Longest chain of pipelines started by events, 1 to 8 (default 1: what an event started starts nothing)",
      })
      .optional(),
    when: Condition.optional(),
  })
  .meta({ description: "A message of a job that starts a pipeline" });
export type Event = z.infer<typeof Event>;

const TestLines = (description: string) =>
  z
    .array(text("VERB target object", "POST billing /v1/releases", "sub events deploy.events.* workers"))
    .min(1)
    .meta({ description })
    .optional();

export const Test = z
  .strictObject({
    name: text("A sentence that says what is tested"),
    as: z
      .object({
        kind: Kind.optional(),
        fork: Fork.optional(),
        caused_by: z.string().meta({ description: "Name of the event that started the pipeline" }).optional(),
      })
      .catchall(
        z
          .record(z.string(), scalar.meta({ description: "The claim's value" }))
          .meta({ description: "Claims of the job, by field name" }),
      )
      .meta({ description: "The job: one issuer's name or type, and its claims" }),
    with: z
      .record(z.string(), z.union([z.string(), z.number(), z.boolean()]).meta({ description: "The fact's value" }))
      .meta({ description: "Facts, by full name; a fact not named is missing", examples: [{ "change.merged": false }] })
      .optional(),
    can: TestLines("What must be allowed"),
    cannot: TestLines("What must be denied"),
  })
  .meta({ description: "Runs on every load; a policy whose tests fail is not loaded" });
export type Test = z.infer<typeof Test>;

const section = {
  version: z.literal(1).meta({ description: "Version of the language: 1" }),
  mode: Mode("everything")
    .meta({ description: "Default mode of this file's targets and roles (default enforce)" })
    .optional(),
};

const PolicyFile = z
  .strictObject({
    ...section,
    targets: z.record(z.string(), Target).meta({ description: "What jobs may reach, by name" }).optional(),
    who: z.record(z.string(), Selector).meta({ description: "Selectors, by name" }).optional(),
    roles: z.record(z.string(), Role).meta({ description: "Rights, by name" }).optional(),
    deny: z.array(Deny).meta({ description: "What is refused whatever the roles say" }).optional(),
    events: z
      .record(z.string(), Event)
      .meta({
        description:
          "Messages that start pipelines, by name; the jobs they start match only selectors that say caused_by",
      })
      .optional(),
    tests: z.array(Test).meta({ description: "What must hold for the policy to be loaded" }).optional(),
  })
  .meta({
    title: "Wayleave policy",
    description: `Policy of Wayleave. Templates know ${defaultVariables.map((name) => `\${${name}}`).join(", ")}`,
  });

/** The file with its entries unread: each is checked by itself, so that one mistake hides no other. */
export const FileOutline = z.strictObject({
  ...section,
  targets: z.record(z.string(), z.unknown()).nullish(),
  who: z.record(z.string(), z.unknown()).nullish(),
  roles: z.record(z.string(), z.unknown()).nullish(),
  deny: z.array(z.unknown()).nullish(),
  events: z.record(z.string(), z.unknown()).nullish(),
  tests: z.array(z.unknown()).nullish(),
});

/** JSON Schema (2020-12) of a policy file, for editors. */
export function policyJsonSchema(): Record<string, unknown> {
  return { ...z.toJSONSchema(PolicyFile, { io: "input" }) };
}
