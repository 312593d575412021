import { create } from "@bufbuild/protobuf";
import { anyPack } from "@bufbuild/protobuf/wkt";
import type { DiscoveryRequest, DiscoveryResponse } from "../../proto/envoy/service/discovery/v3/discovery_pb.ts";
import { DiscoveryResponseSchema, ResourceSchema } from "../../proto/envoy/service/discovery/v3/discovery_pb.ts";
import { typeUrl } from "./discovery-content.ts";
import { refuseForeign } from "./discovery-node.ts";
import { DiscoveryPeer, resourceOf, type StreamDeps, timeToLive } from "./discovery-peer.ts";
import type { DiscoverySession } from "./discovery-stream.ts";

/**
 * The state-of-the-world protocol on one stream: every response holds all that was asked for, each resource wrapped so
 * that it carries its time to live. Otherwise as the incremental one.
 *
 * @see https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#basic-protocol-overview
 */
export function sotwSession(deps: StreamDeps): DiscoverySession<DiscoveryRequest, DiscoveryResponse> {
  const { publisher } = deps;
  const peer = new DiscoveryPeer(deps);
  let names: readonly string[] = [];
  let version: string | undefined;

  return {
    received(request) {
      refuseForeign(request.typeUrl, request.resourceNames);
      const first = peer.unknown;
      peer.heard(request, request.resourceNames, publisher.known(request.versionInfo));
      // A request that answers an older response was written before the client saw the newest: its names are old too.
      if (!first && request.responseNonce !== peer.nonce) return;
      const asked = [...new Set(request.resourceNames)];
      if (first) version = request.versionInfo === "" ? undefined : request.versionInfo;
      else if (asked.some((name) => !names.includes(name))) version = undefined;
      names = asked;
    },

    next() {
      if (peer.busy || names.length === 0) return undefined;
      const publication = publisher.current();
      if (version === publication.version) return undefined;
      version = publication.version;
      const ttl = timeToLive(publication, deps.clock.now());
      const resources = names.flatMap((name) => {
        const resource = resourceOf(publication, name);
        const wrapped = create(ResourceSchema, { name, version: publication.version, ttl });
        if (resource !== undefined) wrapped.resource = resource;
        return resource === undefined ? [] : [anyPack(ResourceSchema, wrapped)];
      });
      const nonce = peer.sends(publication);
      return create(DiscoveryResponseSchema, { versionInfo: publication.version, typeUrl, nonce, resources });
    },

    over: () => peer.over(),
  };
}
