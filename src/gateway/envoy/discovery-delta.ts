import { create, type MessageInitShape } from "@bufbuild/protobuf";
import type {
  DeltaDiscoveryRequest,
  DeltaDiscoveryResponse,
  ResourceSchema,
} from "../../proto/envoy/service/discovery/v3/discovery_pb.ts";
import { DeltaDiscoveryResponseSchema } from "../../proto/envoy/service/discovery/v3/discovery_pb.ts";
import { typeUrl } from "./discovery-content.ts";
import { refuseForeign } from "./discovery-node.ts";
import { DiscoveryPeer, resourceOf, type StreamDeps, timeToLive } from "./discovery-peer.ts";
import type { DiscoverySession } from "./discovery-stream.ts";

/**
 * The incremental protocol on one stream. One response is on its way at a time; the next goes out when that one was
 * acknowledged or refused, or at the next beat. What a client kept from an earlier stream is not sent again unchanged.
 * A name that is not served is answered as removed, so that nobody waits for it.
 *
 * @see https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#incremental-xds
 */
export function deltaSession(deps: StreamDeps): DiscoverySession<DeltaDiscoveryRequest, DeltaDiscoveryResponse> {
  const { publisher } = deps;
  const peer = new DiscoveryPeer(deps);
  /** Version last sent, or kept by the client, of each name; undefined: due whatever the version. */
  const versions = new Map<string, string | undefined>();

  const subscribe = (request: DeltaDiscoveryRequest, kept: Readonly<Record<string, string>>): void => {
    for (const name of request.resourceNamesUnsubscribe) versions.delete(name);
    for (const name of request.resourceNamesSubscribe) versions.set(name, kept[name]);
    refuseForeign(request.typeUrl, [...versions.keys()]);
  };

  return {
    received(request) {
      refuseForeign(request.typeUrl, request.resourceNamesSubscribe);
      const kept = peer.unknown ? request.initialResourceVersions : {};
      peer.heard(request, request.resourceNamesSubscribe, publisher.known(Object.values(kept)[0] ?? ""));
      subscribe(request, kept);
    },

    next() {
      if (peer.busy || versions.size === 0) return undefined;
      const publication = publisher.current();
      const due = [...versions].filter(([, version]) => version !== publication.version);
      const ttl = timeToLive(publication, deps.clock.now());
      const resources: MessageInitShape<typeof ResourceSchema>[] = [];
      const removedResources: string[] = [];
      for (const [name, version] of due) {
        const resource = resourceOf(publication, name);
        if (resource !== undefined) resources.push({ name, version: publication.version, resource, ttl });
        else if (version === undefined) removedResources.push(name);
        versions.set(name, publication.version);
      }
      if (resources.length + removedResources.length === 0) return undefined;
      const nonce = peer.sends(publication);
      const systemVersionInfo = publication.version;
      return create(DeltaDiscoveryResponseSchema, { systemVersionInfo, typeUrl, nonce, resources, removedResources });
    },

    over: () => peer.over(),
  };
}
