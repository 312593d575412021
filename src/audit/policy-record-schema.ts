import { z } from "zod";
import { type ReasonCode, reasonCodes } from "../core/decision.ts";
import type { PolicyRecordData } from "../core/policy-record.ts";

const text = z.string();
const version = text.describe("policy version");
const by = text.describe("who did it");

export const outcome = z.enum(["allow", "deny", "would_deny", "pass"]);
export const reason = z.enum(Object.keys(reasonCodes) as [ReasonCode, ...ReasonCode[]]);

export const beside = z
  .strictObject({ policy: version, outcome, reason, rule: text.exactOptional() })
  .meta({ id: "beside", description: "what the other policy says, where a candidate is tried and they differ" });

const change = z.strictObject({
  policy: version,
  replaces: version,
  disk: text.describe("version the files made then"),
  by,
});

/** The data of every kind about policy roll-out. */
export const policyDataSchemas = {
  "policy.candidate": z.strictObject({ policy: version, files: z.array(text), roles: z.int().min(0), by }),
  "policy.candidate_withdrawn": z.strictObject({ policy: version, by, detail: text.exactOptional() }),
  "policy.canary": z.strictObject({
    policy: version,
    projects: z.array(text),
    share: z.number().min(0).max(100).describe("percent of all other projects"),
    by,
  }),
  "policy.promoted": change,
  "policy.rolled_back": change,
  "policy.disagreed": z.strictObject({
    gateway: text,
    target: text,
    operation: text,
    outcome,
    reason,
    rule: text.exactOptional(),
    policy: version,
    canary: z.literal(true).exactOptional(),
    beside,
    count: z.int().min(1),
  }),
} satisfies { readonly [K in keyof PolicyRecordData]: z.ZodType<PolicyRecordData[K]> };
