import { createHmac, hkdfSync } from "node:crypto";
import { join } from "node:path";
import type { Config } from "../config/config.ts";
import type { AuditEvent } from "../core/record.ts";
import { fingerprint, fingerprintKey } from "../credential/fingerprint.ts";
import { type KeyRing, openKeyRing } from "../credential/keys.ts";

/** Everything the broker signs or derives with, from the operator's key. */
export interface BrokerKeys {
  readonly accessToken: KeyRing;
  readonly assertion: KeyRing;
  /** Records of the keys that were made just now. */
  readonly created: readonly AuditEvent[];
  fingerprint(token: string): string;
  /** The refresh token of a session and generation: derived, so that a retry gets the same one, also after a restart. */
  refreshToken(sessionId: string, generation: number): string;
}

/** Throws `key_unavailable`. */
export async function openBrokerKeys(config: Config): Promise<BrokerKeys> {
  const operatorKey = Buffer.from(config.keys.encryptionKey, "base64");
  const dir = join(config.dataDir, "keys");
  const accessToken = await openKeyRing(dir, "access-token", operatorKey);
  const assertion = await openKeyRing(dir, "assertion", operatorKey);
  const marks = fingerprintKey(operatorKey);
  const refreshKey = new Uint8Array(hkdfSync("sha256", operatorKey, "", "wayleave refresh token v1", 32));
  const created = [accessToken, assertion].filter((opened) => opened.created);
  return {
    accessToken: accessToken.ring,
    assertion: assertion.ring,
    created: created.map(({ ring }) => ({ kind: "key.created", data: { class: ring.class, kid: ring.kid } })),
    fingerprint: (token) => fingerprint(marks, token),
    refreshToken: (sessionId, generation) =>
      `wlr_${createHmac("sha256", refreshKey).update(`${sessionId} ${generation}`).digest("base64url")}`,
  };
}
