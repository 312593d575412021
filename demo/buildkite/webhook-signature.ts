import { createHmac } from "node:crypto";

/** The value of `X-Buildkite-Signature`: the dispatch time and the hex HMAC-SHA256 over `<timestamp>.<body>`. */
export function webhookSignature(token: string, timestampSeconds: number, body: string): string {
  const signature = createHmac("sha256", token).update(`${timestampSeconds}.${body}`).digest("hex");
  return `timestamp=${timestampSeconds},signature=${signature}`;
}
