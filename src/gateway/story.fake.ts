import type { AuditEvent, AuditRecord, DecisionData, GatewayRequestData } from "../core/record.ts";
import { job, session, trace } from "./evidence.fake.ts";
import type { StoryFacts, StoryGateway } from "./story-facts.ts";

export const openedAt = Date.parse("2026-11-24T09:30:12.114Z");
export const endedAt = openedAt + 88_788;
const subject = "spiffe://acme.example/ci/gitlab/1042";
const policy = "41c0aa";

export const nginx: StoryGateway = {
  name: "edge-1",
  kind: "nginx",
  targets: ["billing", "review"],
  behind: [],
  asks: true,
  ships: "follow",
  heardAt: openedAt + 80_000,
  boundMs: 0,
};
export const sidecar: StoryGateway = {
  name: "billing-sidecar",
  kind: "envoy",
  targets: ["billing"],
  behind: ["edge-1"],
  asks: false,
  ships: "grpc",
  heardAt: openedAt + 80_000,
  boundMs: 1_000,
};
export const native: StoryGateway = { ...sidecar, name: "edge-2", targets: ["ledger"], behind: [] };

/** One request of the fake story. */
export interface FakeRequest {
  readonly kind: "through" | "edge only" | "denied" | "cached" | "native";
  readonly atMs: number;
  readonly path: string;
  /** Jobs may send one trace for everything. */
  readonly sharedTrace: boolean;
  /** Whether the sidecar asks as well. */
  readonly innerAsks: boolean;
}

/** Records in which every hop says the same. */
export function fakeFacts(requests: readonly FakeRequest[], more: Partial<StoryFacts> = {}): StoryFacts {
  const records: AuditRecord[] = [];
  const add = (at: number, event: AuditEvent): string => {
    const seq = records.length + 1;
    const id = `rec_${String(seq).padStart(12, "0")}`;
    records.push({ ...event, v: 1, id, seq, time: new Date(at).toISOString() });
    return id;
  };
  const mine = { session, job };
  add(openedAt, { kind: "session.opened", ...mine, data: opened });
  add(openedAt, { kind: "credential.minted", ...mine, data: minted });
  for (const [at, request] of requests.entries()) addRequest(add, request, at);
  add(endedAt, { kind: "session.ended", ...mine, data: { reason: "job_finished" } });
  return {
    session: {
      id: session,
      subject,
      issuer: "gitlab",
      project: "acme/shop",
      jobId: "7712",
      jobName: "release",
      state: "ended",
      openedAt,
      endedAt,
      endReason: "job_finished",
    },
    trustDomain: "acme.example",
    gateways: [nginx, sidecar, native],
    records,
    policies: [],
    jobLog: { state: "found", detail: "the GitLab trace" },
    cut: false,
    now: endedAt + 10_000,
    ...more,
  };
}

type Add = (at: number, event: AuditEvent) => string;

function addRequest(add: Add, { kind, atMs, path, sharedTrace, innerAsks }: FakeRequest, number: number): void {
  const at = openedAt + 1_000 + atMs;
  const mine = { session, job, trace: sharedTrace ? trace : number.toString(16).padStart(32, "a") };
  const line = { at: at + 2, method: "POST", host: "billing.internal", path, subject, seconds: 0.004 };
  if (kind === "native") {
    const data: GatewayRequestData = { ...line, gateway: "edge-2", hop: "envoy", status: 200, target: "ledger" };
    const said = { enforced: "native", decision: "allow", role: "release", policy, upstream_status: 200 } as const;
    add(at + 3, { kind: "gateway.request", ...mine, data: { ...data, ...said } });
    return;
  }
  const target = kind === "through" || kind === "denied" ? "billing" : "review";
  const decide = (gateway: string, more: Partial<DecisionData>) =>
    add(at, {
      kind: "decision",
      ...mine,
      data: {
        gateway,
        target,
        operation: `POST ${path}`,
        host: "billing.internal",
        effect: "allow",
        outcome: "allow",
        reason: "allowed",
        rule: "release",
        policy,
        ...more,
      },
    });
  const log = (data: Partial<GatewayRequestData>) =>
    add(at + 3, {
      kind: "gateway.request",
      ...mine,
      data: { ...line, gateway: "edge-1", hop: "nginx", status: 201, target, enforced: "call_out", ...data },
    });
  if (kind === "denied") {
    const decision_record = decide("edge-1", { effect: "deny", outcome: "deny", reason: "condition_failed" });
    log({ status: 403, decision: "deny", reason: "condition_failed", decision_record });
    return;
  }
  const decision_record = decide("edge-1", {});
  log({ decision: "allow", role: "release", decision_record, upstream_status: 201 });
  if (kind === "cached") log({ decision: "allow", role: "release", decision_record, enforced: "cached", at: at + 50 });
  if (kind !== "through") return;
  const own = innerAsks ? decide("billing-sidecar", {}) : decision_record;
  log({
    gateway: "billing-sidecar",
    hop: "envoy",
    enforced: innerAsks ? "call_out" : "native",
    decision: "allow",
    role: "release",
    policy,
    decision_record: own,
    peer: "spiffe://acme.example/gateway/edge-1",
    upstream_status: 201,
  });
}

const opened = {
  identity: {
    issuer: "gitlab",
    issuerType: "gitlab",
    kind: "job",
    project: { id: "1042", path: "acme/shop" },
    pipelineId: "88123",
    job: { id: "7712", name: "release" },
    fork: "no",
    attributes: {},
    variables: {},
  },
  hard_end_at: openedAt + 3_600_000,
  replay_key: "replay",
  replay_until: openedAt + 3_600_000,
  refresh_hash: "hash",
  roles: ["release"],
  policy,
  token: "fingerprint",
  kid: "5c1f",
} as const;

const minted = {
  class: "access_token",
  jti: "jti-1",
  kid: "kid-1",
  audience: ["billing", "review", "ledger"],
  roles: ["release"],
  narrowing: {},
  expires_at: openedAt + 300_000,
  token: "fingerprint",
} as const;
