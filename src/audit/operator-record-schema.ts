import { z } from "zod";
import type { OperatorRecordData } from "../core/operator-record.ts";
import { operatorRoles } from "../core/person.ts";

const text = z.string();
const maybe = text.exactOptional();
const ms = z.int().describe("ms since the Unix epoch");
const role = z.enum(operatorRoles);
const from = text.describe("network address the request came from").exactOptional();
const signIn = text.describe("id of a person's sign-in");
const hash = text.describe("hex SHA-256");

const who = z
  .discriminatedUnion("by", [
    z.strictObject({ by: z.literal("person"), iss: text, sub: text, name: maybe }),
    z.strictObject({ by: z.literal("bootstrap") }),
    z.strictObject({ by: z.literal("local") }).describe("whoever could open the operators' socket"),
  ])
  .meta({ id: "actor", description: "who operates the broker; a person is known by iss and sub" });

/** The data of every kind about people; part of `dataSchemas`. */
export const operatorDataSchemas = {
  "operator.signed_in": z.strictObject({
    sign_in: signIn,
    who,
    roles: z.array(role),
    token_hash: hash,
    jkt: text.describe("RFC 7638 thumbprint"),
    expires_at: ms,
    basis: text.describe("fingerprint of the configuration that gave the roles"),
    replay_key: text.describe("the ID token, hashed").exactOptional(),
    replay_until: ms.exactOptional(),
    from,
  }),
  "operator.signed_out": z.strictObject({ sign_in: signIn, who, by: text, until: ms }),
  "operator.refused": z.strictObject({ code: text, detail: text, who: who.exactOptional(), action: maybe, from }),
  "operator.action": z.strictObject({
    who,
    sign_in: signIn.exactOptional(),
    action: text.describe("as a command says it"),
    request: text.describe("method and path"),
    role: role.describe("the role it needs").exactOptional(),
    outcome: z.enum(["done", "refused", "failed"]),
    code: maybe,
    detail: maybe,
    from,
  }),
  "operator.bootstrap_made": z.strictObject({ token_hash: hash, expires_at: ms }),
  "operator.bootstrap_ended": z.strictObject({ reason: z.enum(["person_signed_in", "expired"]) }),
} satisfies { readonly [K in keyof OperatorRecordData]: z.ZodType<OperatorRecordData[K]> };
