import type { JsonObject } from "@bufbuild/protobuf";
import type { Clock } from "../../core/clock.ts";
import type { AuditEvent } from "../../core/record.ts";
import { type GrpcCall, type GrpcMethods, stream } from "../../grpc/method.ts";
import { GrpcError, grpcStatus } from "../../grpc/status.ts";
import {
  DeltaDiscoveryRequestSchema,
  DeltaDiscoveryResponseSchema,
  DiscoveryRequestSchema,
  DiscoveryResponseSchema,
} from "../../proto/envoy/service/discovery/v3/discovery_pb.ts";
import type { GuardedGateway } from "../gateway-guard.ts";
import { createAdmission, type Metadata } from "./discovery-admission.ts";
import { refusalsContent } from "./discovery-content.ts";
import { deltaSession } from "./discovery-delta.ts";
import type { NodeWatch } from "./discovery-node.ts";
import type { StreamDeps } from "./discovery-peer.ts";
import { type After, Publisher } from "./discovery-publisher.ts";
import { answerPoll, type RestReply } from "./discovery-rest.ts";
import { sotwSession } from "./discovery-sotw.ts";
import { type DiscoverySession, discoveryStream } from "./discovery-stream.ts";

export interface FollowingGateway extends GuardedGateway {
  /** How long it goes on without hearing more. */
  readonly ttlMs: number;
  /** Its refusals now as a `TypedExtensionConfig` in proto JSON; `validUntil` is ms since the epoch. */
  config(validUntil: number): JsonObject;
}

export interface RefusalsDiscoveryDeps {
  readonly gateways: readonly FollowingGateway[];
  readonly clock: Clock;
  readonly after: After;
  /** Names this run of the broker: versions of two runs never look alike. */
  readonly run: string;
  readonly watch: NodeWatch;
  /** Must not throw. */
  note(event: AuditEvent): void;
}

/** How the Envoys of the inventory learn whom to refuse. */
export interface RefusalsDiscovery {
  readonly grpc: GrpcMethods;
  /** `POST /v3/discovery:extension_configs`. Throws what the management API answers as a problem. */
  rest(metadata: Metadata, body: unknown): RestReply;
  /** Somebody is refused who was not, or no longer: who follows by gRPC hears within milliseconds. */
  changed(): void;
  /** Ends all streams. */
  close(): void;
}

const service = "/envoy.service.extension.v3.ExtensionConfigDiscoveryService";

/** Streams of one gateway, which may be many Envoys; more are refused. */
const maxStreams = 1024;

/** An Envoy introduces itself with the list of everything that was compiled into it. */
export const maxRequestBytes = 1024 * 1024;

interface Followed extends GuardedGateway {
  readonly ttlMs: number;
  readonly publisher: Publisher;
  streams: number;
}

/**
 * One publisher for each gateway, and every way to follow it. Who does not prove itself is refused before anything it says
 * is read. Throws `TypeError` for a gateway whose secret hash is none.
 */
export function createRefusalsDiscovery(deps: RefusalsDiscoveryDeps): RefusalsDiscovery {
  const { clock, watch } = deps;
  const followed = deps.gateways.map((gateway) => publish(deps, gateway));
  const admit = createAdmission(followed, deps);
  const closing = new AbortController();

  /** A stream of one of the two protocols, from the moment its gateway proved itself. */
  async function* serve<In, Out>(
    protocol: (deps: StreamDeps) => DiscoverySession<In, Out>,
    requests: AsyncIterable<In>,
    call: GrpcCall,
  ): AsyncGenerator<Out> {
    const gateway = admit(call.metadata);
    if (gateway.streams >= maxStreams) {
      throw new GrpcError(grpcStatus.resourceExhausted, `Gateway ${gateway.name} holds ${maxStreams} streams already.`);
    }
    const { name, ttlMs, publisher } = gateway;
    const session = protocol({ gateway: name, publisher, clock, ttlMs, watch });
    gateway.streams++;
    try {
      yield* discoveryStream(
        requests,
        session,
        (wake) => publisher.follow(wake),
        AbortSignal.any([call.signal, closing.signal]),
      );
    } finally {
      gateway.streams--;
    }
  }

  return {
    grpc: {
      [`${service}/DeltaExtensionConfigs`]: stream(
        DeltaDiscoveryRequestSchema,
        DeltaDiscoveryResponseSchema,
        (requests, call) => serve(deltaSession, requests, call),
        { maxBytes: maxRequestBytes },
      ),
      [`${service}/StreamExtensionConfigs`]: stream(
        DiscoveryRequestSchema,
        DiscoveryResponseSchema,
        (requests, call) => serve(sotwSession, requests, call),
        { maxBytes: maxRequestBytes },
      ),
    },
    rest(metadata, body) {
      const { name, publisher } = admit(metadata);
      return answerPoll({ gateway: name, publisher, watch }, body);
    },
    changed() {
      for (const { publisher } of followed) publisher.changed();
    },
    close() {
      closing.abort();
      for (const { publisher } of followed) publisher.close();
    },
  };
}

function publish(deps: RefusalsDiscoveryDeps, gateway: FollowingGateway): Followed {
  const { clock, after, run } = deps;
  const { name, secretHashes, ttlMs } = gateway;
  const make = (validUntil: number) => refusalsContent(gateway.config(validUntil));
  return { name, secretHashes, ttlMs, streams: 0, publisher: new Publisher({ clock, after, ttlMs, run, make }) };
}
