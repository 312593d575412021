import type { AccessRequest, Counts, Decision } from "../core/decision.ts";
import { noCounts } from "../core/decision.ts";
import { noFacts } from "../core/fact.ts";
import type { NatsOperation, Operation } from "../core/target.ts";
import { compile } from "./compile.ts";
import type { PolicyModel } from "./model.ts";
import { deny, openedAt, policyModel, role, selector, session, target } from "./policy.fake.ts";
import { fakeVocabulary } from "./vocabulary.fake.ts";

const targets = [
  target("billing"),
  target("review", "http", { hosts: ["${environment.slug}.review.acme.example"] }),
  target("ledger", "mesh"),
  target("events", "nats"),
  target("db", "secret"),
  target("soft", "http", { mode: "observe", enforce: ["* /admin/**"] }),
  target("partly", "http", { observe: ["GET /old/**"] }),
  target("slashed", "http", { encodedSlash: "segment" }),
];

/** One of everything that a decision can meet. */
export const shopPolicy = policyModel({
  targets,
  roles: [
    role("read", { billing: ["GET /v1/invoices/**", "GET /v1/health"], review: ["GET /**"], ledger: ["GET /**"] }),
    role(
      "release",
      { billing: ["POST /v1/releases"], db: ["read"] },
      { when: "change.merged && change.approvals >= 1" },
    ),
    role(
      "limited",
      { billing: ["POST /v1/runs"] },
      { limit: { max: 2, windowMs: 60_000, per: "project", scope: "global" } },
    ),
    role("own", { billing: ["GET /v1/projects/${job.project_id}/**", "GET /v1/refs/${job.ref_slug}"] }),
    role("watch", { billing: ["GET /v1/stream stream"] }),
    role("publish", {
      events: [
        "pub build.status.${job.project_id}.*",
        "sub deploy.events.* workers",
        "sub secret.>",
        "pub ask.*",
        "pull DEPLOY.worker",
      ],
    }),
    role("other", { billing: ["GET /v1/other"] }, { for: [selector({ project: "acme/other" })] }),
    role("prod", { billing: ["DELETE /v1/runs"] }, { for: [selector({ project: "acme/shop", ref: "release" })] }),
    role("slashes", { slashed: ["GET /v1/*/x"] }),
    role("trial", { billing: ["POST /v1/trial"] }, { when: "change.merged", mode: "observe" }),
  ],
  deny: [
    deny("no-secret", { operations: { events: ["sub secret.x"] } }),
    deny("no-asking", { operations: { events: ["req ask.x"] } }),
    deny("no-legal", { operations: { billing: ["* /v1/invoices/legal"] } }),
    deny("no-draft", { operations: { billing: ["GET /v1/invoices/draft"] }, when: "change.draft" }),
  ],
});

export const http = (text: string, host = "billing.internal", stream = false): Operation => {
  const [method = "", path = ""] = text.split(" ");
  return { kind: "http", method, host, path, stream };
};

/** A question about the NATS target. */
export const nats = (verb: NatsOperation["verb"], subject: string, queue?: string): Question => ({
  target: "events",
  operation: { kind: "nats", verb, subject, ...(queue === undefined ? {} : { queue }) },
});

export interface Question {
  readonly target?: string;
  readonly operation: Operation;
  readonly parts?: Partial<AccessRequest>;
  readonly counts?: Counts;
  readonly policy?: PolicyModel;
}

export function decide({
  target: name = "billing",
  operation,
  parts = {},
  counts = noCounts,
  policy = shopPolicy,
}: Question): Decision {
  const request = { session: session(), narrowing: {}, target: name, operation, facts: noFacts, now: openedAt + 1000 };
  return compile(policy, fakeVocabulary).decide({ ...request, ...parts }, counts);
}
