import { hash, timingSafeEqual } from "node:crypto";

/** Who may speak as a gateway. */
export interface GuardedGateway {
  readonly name: string;
  /** SHA-256 of each accepted secret, 64 hex digits; two while one is being replaced. */
  readonly secretHashes: readonly string[];
}

/** What is kept of a configured secret: `GuardedGateway.secretHashes` holds these. */
export function secretHash(secret: string): string {
  return hash("sha256", secret);
}

/** The gateway that a name and a secret prove, or undefined. An unknown name costs the same comparison as a known one. */
export type GatewayGuard<G extends GuardedGateway> = (
  name: string | undefined,
  secret: string | undefined,
) => G | undefined;

const noHashes: readonly Uint8Array[] = [new Uint8Array(32)];
const longestSecret = 4096;

/** Compares hashes in constant time. Throws `TypeError` for a hash that is no SHA-256. */
export function createGatewayGuard<G extends GuardedGateway>(gateways: readonly G[]): GatewayGuard<G> {
  const known = new Map(
    gateways.map((gateway) => [gateway.name, { gateway, hashes: gateway.secretHashes.map(bytes) }]),
  );
  return (name, secret) => {
    const found = known.get(name ?? "");
    const presented = hash("sha256", (secret ?? "").slice(0, longestSecret), "buffer");
    let same = false;
    for (const expected of found?.hashes ?? noHashes) same = timingSafeEqual(expected, presented) || same;
    return same && secret !== undefined && secret !== "" ? found?.gateway : undefined;
  };
}

function bytes(hex: string): Uint8Array {
  if (!/^[0-9a-f]{64}$/i.test(hex)) throw new TypeError("a secret hash is 64 hex digits");
  return Buffer.from(hex, "hex");
}
