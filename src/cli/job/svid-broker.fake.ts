import { WayleaveError } from "../../core/errors.ts";
import { type FakeAuthority, fakeAuthority } from "./svid-authority.fake.ts";
import type { SvidBroker } from "./svid-source.ts";

/** A broker that mints with a CA of its own, and fails as it is told to. */
export interface FakeSvidBroker extends SvidBroker {
  authority: FakeAuthority;
  roles: string[];
  /** By trust domain. */
  readonly federated: Map<string, FakeAuthority>;
  /** Thrown by everything, while it is set. */
  failure: WayleaveError | undefined;
  ttlMs: number;
  /** Calls so far, by what was asked for. */
  readonly asked: { ground: number; x509: number; jwt: number };
}

export const outage = () => new WayleaveError("broker_unreachable", "The broker did not answer.");
export const sessionEnded = () => new WayleaveError("session_ended", "Session ended (client_end).");

export async function fakeSvidBroker(
  trustDomain = "acme.example",
  now: () => number = Date.now,
): Promise<FakeSvidBroker> {
  const spiffeId = (role: string) => `spiffe://${trustDomain}/role/${role}`;
  const broker: FakeSvidBroker = {
    authority: await fakeAuthority(trustDomain),
    roles: ["release", "read-billing"],
    federated: new Map(),
    failure: undefined,
    ttlMs: 3_600_000,
    asked: { ground: 0, x509: 0, jwt: 0 },
    async ground() {
      broker.asked.ground += 1;
      if (broker.failure !== undefined) throw broker.failure;
      const all = [broker.authority, ...broker.federated.values()];
      return {
        identities: broker.roles.map((role) => ({ spiffeId: spiffeId(role), role })),
        withheld: [],
        x509Bundles: new Map(all.map((each) => [each.trustDomain, [each.root]])),
        jwtBundles: new Map(all.map((each) => [each.trustDomain, JSON.stringify(each.bundle)])),
      };
    },
    async x509(csr, role) {
      broker.asked.x509 += 1;
      if (broker.failure !== undefined) throw broker.failure;
      const expiresAt = now() + broker.ttlMs;
      const leaf = { uris: [spiffeId(role)], notAfter: new Date(expiresAt) };
      return {
        spiffeId: spiffeId(role),
        certificates: [await broker.authority.sign(csr, leaf)],
        bundles: new Map(
          [broker.authority, ...broker.federated.values()].map((each) => [each.trustDomain, [each.root]]),
        ),
        expiresAt,
      };
    },
    async jwt(audience, id) {
      broker.asked.jwt += 1;
      if (broker.failure !== undefined) throw broker.failure;
      const expiresAt = now() + broker.ttlMs;
      const claims = { sub: id, aud: [...audience], exp: Math.floor(expiresAt / 1000) };
      return { spiffeId: id, token: await broker.authority.token(claims), expiresAt };
    },
  };
  return broker;
}
