import { z } from "zod";
import { WayleaveError } from "../../core/errors.ts";

const Key = z.object({
  kty: z.literal("EC"),
  crv: z.literal("P-256"),
  kid: z.string().min(1),
  x: z.string().regex(/^[\w-]{43}$/),
  y: z.string().regex(/^[\w-]{43}$/),
  d: z.undefined({ error: "a private key" }).optional(),
});
const Jwks = z.object({ keys: z.array(Key).min(1) });

/**
 * The live public keys of access tokens as the text of `jwks`: sorted by kid, nothing in it but what verifies. Throws
 * `render_refused` for anything that is not a set of ES256 public keys, each with a kid of its own. The message holds no key.
 */
export function inlineJwks(document: unknown): string {
  const read = Jwks.safeParse(document);
  if (!read.success) {
    const where = read.error.issues[0]?.path.join(".") || "the document";
    throw new WayleaveError(
      "render_refused",
      `The keys are no set of ES256 public keys with kids (${where}); give what the broker serves at its jwks_uri.`,
    );
  }
  const keys = read.data.keys.map(({ kty, crv, kid, x, y }) => ({ kty, crv, kid, x, y, alg: "ES256", use: "sig" }));
  keys.sort((a, b) => (a.kid < b.kid ? -1 : 1));
  if (new Set(keys.map(({ kid }) => kid)).size < keys.length) {
    throw new WayleaveError(
      "render_refused",
      "Two of the keys have one kid; give what the broker serves at its jwks_uri.",
    );
  }
  return JSON.stringify({ keys });
}
