import { z } from "zod";
import type { EventRecordData } from "../core/event-record.ts";

const text = z.string();
const maybe = text.exactOptional();
const ms = z.int().describe("ms since the Unix epoch");
const count = z.int().min(0);
const policy = text.describe("policy version");
const cause = text.regex(/^evt_[0-9a-hjkmnp-tv-z]{16}$/).describe("what the pipeline is found again by");
const message = { event: text, stream: text, sequence: z.int().min(1), stored_at: ms, subject: text };

/** The data of records about events that start pipelines, and of events the broker publishes. */
export const eventDataSchemas = {
  "event.pending": z.strictObject({
    ...message,
    cause,
    attempt: z.int().min(1),
    issuer: text,
    project: text,
    project_id: text.describe("the id that policy pins the project's path to").exactOptional(),
    ref: text,
    variables: z.array(text).describe("names; values are not kept"),
    depth: z.int().min(1),
    parent: cause.exactOptional(),
    policy,
  }),
  "event.started": z.strictObject({
    cause,
    issuer: text,
    project_id: text,
    pipeline_id: text,
    by: z.enum(["answer", "look_up", "exchange"]),
  }),
  "event.refused": z.strictObject({ ...message, code: text, detail: text }),
  "event.dead": z.strictObject({
    ...message,
    code: text,
    detail: text,
    cause: cause.exactOptional(),
    uncertain: z.boolean().describe("there may be a pipeline all the same"),
  }),
  "event.retried": z.strictObject({ ...message, by: text }),
  "emit.published": z.strictObject({
    target: text,
    account: text,
    subject: text,
    message: text.describe("the CloudEvent's id"),
    type: text,
    bytes: count,
    rule: maybe,
    policy,
    webhook: text.describe("issuer whose webhook it comes from").exactOptional(),
  }),
} satisfies { readonly [K in keyof EventRecordData]: z.ZodType<EventRecordData[K]> };
