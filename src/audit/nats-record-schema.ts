import { z } from "zod";
import type { NatsEventData } from "../core/nats-record.ts";

const text = z.string();
const ms = z.int().describe("ms since the Unix epoch");
const count = z.int().min(0);
const maybe = text.exactOptional();
const texts = z.array(text);
const policy = text.describe("policy version");
const from = text.describe("network address the client came from").exactOptional();

const place = { gateway: text, connection: text, target: text, account: text };
const natsCount = { messages: count, bytes: count };
const totals = { received: z.strictObject(natsCount), sent: z.strictObject(natsCount) };
const ours = { published: z.strictObject(natsCount), delivered: z.strictObject(natsCount) };

/** The data of every kind of record about NATS. The compiler holds it against `NatsEventData` in both directions. */
export const natsDataSchemas = {
  "nats.credential_minted": z.strictObject({
    class: z.enum(["password", "creds"]),
    gateway: text,
    target: text,
    expires_at: ms,
    token: text.describe("keyed fingerprint of it"),
  }),
  "nats.admin_minted": z.strictObject({ gateway: text, account: text, key: text, expires_at: ms, by: text }),
  "nats.account_pushed": z.strictObject({ gateway: text, account: text, key: text, signing_keys: texts }),
  "nats.connected": z.strictObject({
    ...place,
    mode: z.enum(["gateway", "direct"]),
    server_id: text,
    cid: count,
    server_version: text,
    client: z.strictObject({ name: maybe, lang: maybe, version: maybe }).exactOptional(),
    from,
    roles: texts,
    policy,
    records: z.enum(["durable", "fast"]),
    expires_at: ms,
  }),
  "nats.refused": z.strictObject({
    gateway: text,
    code: text,
    detail: text,
    connection: maybe,
    from,
    token: text.describe("keyed fingerprint of what it presented").exactOptional(),
  }),
  "nats.published": z.strictObject({
    ...place,
    first: z.int().min(1).describe("number of the first message on its connection"),
    messages: z
      .array(text)
      .describe("one text a message: rule, subject, reply or -, header bytes, payload bytes; a space between"),
    bytes: count,
    policy,
  }),
  "nats.subscribed": z.strictObject({ ...place, sid: text, subject: text, queue: maybe, rule: text, policy }),
  "nats.unsubscribed": z.strictObject({ ...place, sid: text, max: count.exactOptional() }),
  "nats.delivered": z.strictObject({
    ...place,
    ...natsCount,
    sid: text,
    subject: text,
    first_at: ms,
    last_at: ms,
    each: z
      .array(text)
      .describe("one text a message: subject, reply or -, header bytes, payload bytes; a space between")
      .exactOptional(),
  }),
  "nats.disconnected": z.strictObject({
    ...place,
    reason: text,
    detail: maybe,
    ...ours,
    denied: count,
    arrived: z.strictObject(natsCount).exactOptional(),
    unanswered: z.strictObject(natsCount).exactOptional(),
    cut: z.literal(true).exactOptional(),
    server: z.strictObject(totals).exactOptional(),
  }),
  "nats.mismatch": z.strictObject({
    ...place,
    gateway_counts: z.strictObject(ours),
    server_counts: z.strictObject(totals),
  }),
} satisfies { readonly [K in keyof NatsEventData]: z.ZodType<NatsEventData[K]> };
