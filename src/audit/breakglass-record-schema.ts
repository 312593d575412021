import { z } from "zod";
import type { BreakglassRecordData } from "../core/breakglass-record.ts";

const text = z.string().max(600);
const names = z.array(z.string().max(63)).max(20);
const ms = z.int().min(0).describe("ms since the Unix epoch");

/** The data of records about break-glass; also what a responder may send. */
export const breakglassDataSchemas = {
  "breakglass.used": z.strictObject({
    use: z.string().regex(/^use_[0-9a-hjkmnp-tv-z]{16}$/),
    gateway: z.string().max(63),
    target: z.string().max(200),
    operation: text,
    host: text,
    at: ms.describe("by the clock of the responder beside the gateway, ms since the Unix epoch"),
    outcome: z.enum(["allow", "deny"]),
    reason: z.string().regex(/^[a-z_]{1,60}$/),
    request: z
      .strictObject({
        id: z.string().max(40),
        targets: names,
        gateways: names,
        reason: text,
        starts_at: ms,
        ends_at: ms,
      })
      .describe("what two people signed")
      .exactOptional(),
    approvers: names.describe("who signed, verified by the responder").exactOptional(),
    token: z
      .string()
      .regex(/^[0-9a-f]{16}$/)
      .describe("start of the token's SHA-256"),
    detail: text.exactOptional(),
  }),
} satisfies { readonly [K in keyof BreakglassRecordData]: z.ZodType<BreakglassRecordData[K]> };
