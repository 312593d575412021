import { type GrpcCall, type GrpcMethods, stream, unary } from "../../grpc/method.ts";
import { GrpcError, grpcStatus } from "../../grpc/status.ts";
import {
  DeltaDiscoveryRequestSchema,
  DeltaDiscoveryResponseSchema,
  DiscoveryRequestSchema,
  DiscoveryResponseSchema,
} from "../../proto/envoy/service/discovery/v3/discovery_pb.ts";
import { discoveryStream } from "./discovery-stream.ts";
import type { Secrets } from "./sds-secret.ts";
import { deltaSecretsSession, type SecretWatch, secretsSession } from "./sds-session.ts";

/** Where one client's secrets come from. */
export interface SecretSource {
  /** The newest; undefined while the first are on their way. Throws for a client that has none, or no longer. */
  latest(): Secrets | undefined;
  /** As `latest`, waiting for the first. */
  current(): Promise<Secrets>;
  /** Calls back whenever `latest` would say something else. Returns how to stop. */
  follow(listener: () => void): () => void;
}

export interface SecretDiscoveryDeps {
  /** The secrets of who calls. Throws for who has no identity, and has that recorded. */
  admit(call: GrpcCall): SecretSource;
  /** Told what a client does, by the source it was given. Must not throw. */
  watch(call: GrpcCall): SecretWatch;
}

const service = "/envoy.service.secret.v3.SecretDiscoveryService";
/** Of a request: names, and a node with whatever its operator put into it. */
const limits = { maxBytes: 262_144 };

/**
 * Envoy's secret discovery: certificates with their keys and trust bundles, pushed when they change. What a client may see is
 * decided by who it proved to be, never by the names it asks for.
 *
 * @see https://www.envoyproxy.io/docs/envoy/latest/configuration/security/secret
 */
export function secretDiscovery({ admit, watch }: SecretDiscoveryDeps): GrpcMethods {
  return {
    [`${service}/StreamSecrets`]: stream(
      DiscoveryRequestSchema,
      DiscoveryResponseSchema,
      (requests, call) => {
        const source = admit(call);
        const session = secretsSession({ latest: () => source.latest(), watch: watch(call) });
        return discoveryStream(requests, session, (wake) => source.follow(wake), call.signal);
      },
      limits,
    ),
    [`${service}/DeltaSecrets`]: stream(
      DeltaDiscoveryRequestSchema,
      DeltaDiscoveryResponseSchema,
      (requests, call) => {
        const source = admit(call);
        const session = deltaSecretsSession({ latest: () => source.latest(), watch: watch(call) });
        return discoveryStream(requests, session, (wake) => source.follow(wake), call.signal);
      },
      limits,
    ),
    [`${service}/FetchSecrets`]: unary(
      DiscoveryRequestSchema,
      DiscoveryResponseSchema,
      async (request, call) => {
        const secrets = await admit(call).current();
        const session = secretsSession({ latest: () => secrets, watch: watch(call) });
        session.received({ ...request, responseNonce: "", versionInfo: "" });
        const response = session.next();
        if (response === undefined) throw new GrpcError(grpcStatus.notFound, "there is no secret of these names");
        return response;
      },
      limits,
    ),
  };
}
