import { WayleaveError } from "../core/errors.ts";
import type { AuditEvent, AuditRecord, RecordJob } from "../core/record.ts";
import { createEvidenceIntake } from "./evidence-intake.ts";

export const session = "ses_0123456789abcdef";
export const trace = "4bf92f3577b34da6a3ce929d0e0e4736";
export const now = Date.parse("2026-11-24T09:30:12.114Z");
export const job: RecordJob = {
  issuer: "gitlab",
  project_id: "1042",
  project: "acme/shop",
  pipeline_id: "88123",
  job_id: "7712",
};
export const edge = { name: "edge-1", hop: "nginx", targets: ["billing"] } as const;

/** A line as NGINX writes it; every value is text. */
export function nginxLine(more: Readonly<Record<string, unknown>> = {}): string {
  return JSON.stringify({
    gateway: "edge-1",
    time: "2026-11-24T09:30:12+00:00",
    method: "POST",
    host: "billing.internal",
    path: "/v1/releases",
    protocol: "HTTP/1.1",
    status: "201",
    upstream_status: "201",
    seconds: "0.004",
    target: "billing",
    decision: "allow",
    reason: "allowed",
    record: "rec_000000000001",
    session,
    subject: "spiffe://acme.example/ci/gitlab/1042",
    job: "acme/shop#7712",
    role: "release",
    trace,
    cache: "",
    ...more,
  });
}

/** An intake over a recorder in memory; `fail()` makes it refuse after so many more records. */
export function fakeIntake(before: readonly AuditRecord[] = []) {
  const events: AuditEvent[] = [];
  let room = Number.POSITIVE_INFINITY;
  let settles = 0;
  const intake = createEvidenceIntake({
    clock: { now: () => now },
    recorder: {
      note(event) {
        if (room-- <= 0) throw new WayleaveError("journal_unavailable", "full");
        events.push(event);
        return "rec_00000000000z";
      },
      settled: async () => {
        settles++;
      },
    },
    job: (id) => (id === session ? job : undefined),
    recorded: async (gateway) =>
      before.filter((record) => record.kind === "gateway.request" && record.data.gateway === gateway),
  });
  return {
    intake,
    events,
    requests: () => events.filter((event) => event.kind === "gateway.request"),
    refusals: () => events.filter((event) => event.kind === "gateway.refused"),
    settles: () => settles,
    room: (records: number) => {
      room = records;
    },
  };
}

/** Lines as the bytes of a file. */
export function bytesOf(lines: readonly string[]): Buffer {
  return Buffer.from(lines.map((line) => `${line}\n`).join(""));
}

/** Events as they come back from the journal. */
export function recordsOf(events: readonly AuditEvent[]): readonly AuditRecord[] {
  return events.map((event, at) => ({
    ...event,
    v: 1 as const,
    id: `rec_${String(at).padStart(12, "0")}`,
    seq: at + 1,
    time: new Date(now).toISOString(),
  }));
}
