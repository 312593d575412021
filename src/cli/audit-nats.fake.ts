import type { NatsCount, NatsEventData } from "../core/nats-record.ts";
import type { AuditEvent, AuditRecord } from "../core/record.ts";

export const session = "ses_8f2k8f2k8f2k8f2k";
export const place = { gateway: "nats-1", connection: "nc_aaaaaaaaaaaaaaaa", target: "events", account: "CI" } as const;
export const job = {
  issuer: "gitlab",
  project_id: "1042",
  project: "acme/shop",
  pipeline_id: "88123",
  job_id: "7712",
  job_name: "release",
} as const;

const none: NatsCount = { messages: 0, bytes: 0 };

/** Texts as the gateway writes them: `publish-status build.status.1042.<number> - 0 128`. */
export function messages(first: number, count: number, subject?: string): readonly string[] {
  return Array.from(
    { length: count },
    (_, at) => `publish-status ${subject ?? `build.status.1042.${first + at}`} - 0 128`,
  );
}

/** Data of each kind, as a connection without anything special has it. */
export const natsData = {
  connected: {
    ...place,
    mode: "gateway",
    server_id: "NDQ2TYV5SPIJRVMZ4B6EY3FTGXJ4JGZTD6TOF4U2Z3VTZ3TL6EXAMPLE",
    cid: 17,
    server_version: "2.15.1",
    client: { name: "builder", lang: "nats.js", version: "3.4.0" },
    from: "10.0.0.5",
    roles: ["publish-status", "read-deploys"],
    policy: "41c0aa",
    records: "durable",
    expires_at: 0,
  },
  disconnected: { ...place, reason: "client_closed", published: none, delivered: none, denied: 0 },
  subscribed: { ...place, sid: "1", subject: "deploy.events.>", rule: "read-deploys", policy: "41c0aa" },
} as const satisfies Partial<Record<string, object>>;

export function published(first: number, texts: readonly string[]): NatsEventData["nats.published"] {
  return { ...place, first, messages: texts, bytes: texts.length * 128, policy: "41c0aa" };
}

export function disconnected(sent: NatsCount, more: Partial<NatsEventData["nats.disconnected"]> = {}) {
  return { ...natsData.disconnected, published: sent, ...more };
}

export const denied = {
  gateway: "nats-1",
  target: "events",
  operation: "pub deploy.events.prod",
  effect: "deny",
  outcome: "deny",
  reason: "no_role",
  policy: "41c0aa",
} as const;

/** Events of one session as records, 10 ms apart. */
export function recordsOf(
  events: readonly (Pick<AuditEvent, "kind"> & { readonly data: object })[],
): readonly AuditRecord[] {
  const start = Date.parse("2026-11-24T09:30:13.000Z");
  return events.map((event, at) => {
    const seq = at + 1;
    const id = `rec_abcd${String(seq).padStart(8, "0")}`;
    const record = { ...event, session, job, v: 1, id, seq, time: new Date(start + at * 10).toISOString() };
    return record as unknown as AuditRecord;
  });
}
