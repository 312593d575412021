import type { Clock } from "../../core/clock.ts";
import { WayleaveError } from "../../core/errors.ts";
import type { GrpcMethods } from "../../grpc/method.ts";
import type { GatewayGuard, GuardedGateway } from "../gateway-guard.ts";
import { type After, Renewing } from "../renewing.ts";
import { type SecretSource, secretDiscovery } from "./sds.ts";
import type { SecretSvid, Secrets } from "./sds-secret.ts";

export interface GatewaySecretsDeps<G extends GuardedGateway> {
  readonly clock: Clock;
  readonly after: After;
  readonly trustDomain: string;
  readonly guard: GatewayGuard<G>;
  /** A new key and its SVID, recorded. */
  mint(gateway: string): Promise<SecretSvid & { readonly expiresAt: number }>;
  /** By trust domain, its own included: roots as PEM. */
  bundles(): ReadonlyMap<string, string>;
  /** Calls back when `bundles` would say something else. Returns how to stop. */
  onBundles(listener: () => void): () => void;
  /** Told of callers that proved nothing: for a record. Must not throw. */
  onRefused(detail: string): void;
  /** Told of names nobody has and of secrets an Envoy refused: for the log. Must not throw. */
  onTrouble(gateway: string, detail: string): void;
}

/**
 * SDS on the broker's own listener: each gateway of the inventory gets its own SVID, with a key made here, and the bundles. Its
 * name and secret say which one; what it asks for never does. All Envoys of one gateway share its SVID.
 */
export function gatewaySecrets<G extends GuardedGateway>(deps: GatewaySecretsDeps<G>): GrpcMethods {
  const sources = new Map<string, SecretSource>();
  const proven = (metadata: ReadonlyMap<string, string>): string => {
    const gateway = deps.guard(metadata.get("x-wayleave-gateway"), metadata.get("x-wayleave-gateway-secret"));
    if (gateway !== undefined) return gateway.name;
    deps.onRefused("secrets were asked for by nobody we know");
    throw new WayleaveError(
      "gateway_unauthenticated",
      "No gateway of this name has this secret; send x-wayleave-gateway and x-wayleave-gateway-secret as rendered.",
    );
  };
  return secretDiscovery({
    admit({ metadata }) {
      const name = proven(metadata);
      const source = sources.get(name) ?? sourceOf(deps, name);
      sources.set(name, source);
      return source;
    },
    watch({ metadata }) {
      const name = metadata.get("x-wayleave-gateway") ?? "";
      return {
        unknown: (secret) =>
          deps.onTrouble(name, `it asks for the secret ${JSON.stringify(secret)}, which it does not have`),
        rejected: (detail) => deps.onTrouble(name, `its Envoy refused a secret: ${detail}`),
      };
    },
  });
}

function sourceOf<G extends GuardedGateway>(deps: GatewaySecretsDeps<G>, gateway: string): SecretSource {
  const { clock, after, trustDomain } = deps;
  const svid = new Renewing({
    clock,
    after,
    get: () => deps.mint(gateway),
    goodUntil: ({ expiresAt }) => expiresAt,
    // A gateway of the inventory stays one while this process runs: whatever went wrong may pass.
    passes: () => true,
  });
  const secrets = (held: SecretSvid): Secrets => ({ svids: [held], trustDomain, bundles: deps.bundles() });
  return {
    latest() {
      const held = svid.latest();
      return held === undefined ? undefined : secrets(held);
    },
    current: async () => secrets(await svid.current()),
    follow(listener) {
      const stops = [svid.follow(listener), deps.onBundles(listener)];
      return () => {
        for (const stop of stops) stop();
      };
    },
  };
}
