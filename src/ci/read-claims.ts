import { z } from "zod";
import { WayleaveError } from "../core/errors.ts";

/** Text from a claim that people may choose: non-empty, bounded, well-formed Unicode without control characters. */
export const claimText = z
  .string("must be a string")
  .min(1, "must not be empty")
  .max(1024, "must not be longer than 1024 characters")
  .refine((text) => text.isWellFormed() && !/\p{Cc}/u.test(text), "must be plain text without control characters");

/** A commit hash, SHA-1 or SHA-256. */
export const commitSha = z.string("must be a string").regex(/^[0-9a-f]{40}(?:[0-9a-f]{24})?$/, "must be a commit hash");

/**
 * The claims of a verified payload, or `identity_refused` naming the first claim that is missing or of another type.
 * Claims the schema does not name are left out.
 */
export function readClaims<Claims>(schema: z.ZodType<Claims>, payload: Readonly<Record<string, unknown>>): Claims {
  const read = schema.safeParse(payload);
  if (read.success) return read.data;
  const [issue] = read.error.issues;
  const claim = String(issue?.path[0] ?? "");
  const value = payload[claim];
  const found = value === undefined ? "is missing" : `${issue?.message ?? "is refused"} (it is ${kindOf(value)})`;
  throw new WayleaveError(
    "identity_refused",
    `The token's claim "${claim}" ${found}; only an unchanged token of the CI is taken.`,
  );
}

function kindOf(value: unknown): string {
  if (value === null) return "null";
  if (Array.isArray(value)) return "a list";
  return typeof value === "object" ? "an object" : `a ${typeof value}`;
}
