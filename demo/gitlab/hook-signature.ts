import { createHmac } from "node:crypto";

/** The `webhook-signature` of a body: `v1,` and the base64 HMAC-SHA256 over `<id>.<timestamp>.<body>`.
 *  `signingToken` is `whsec_` and the base64 of 32 bytes; TypeError otherwise. @see Standard Webhooks 1.0 */
export function webhookSignature(signingToken: string, id: string, timestampSeconds: number, body: string): string {
  const key = Buffer.from(signingToken.replace(/^whsec_/, ""), "base64");
  if (!signingToken.startsWith("whsec_") || key.length !== 32) throw new TypeError("not a whsec_ token of 32 bytes");
  const mac = createHmac("sha256", key).update(`${id}.${timestampSeconds}.${body}`).digest("base64");
  return `v1,${mac}`;
}
