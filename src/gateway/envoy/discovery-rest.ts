import { fromJson, type JsonObject, type JsonValue } from "@bufbuild/protobuf";
import { WayleaveError } from "../../core/errors.ts";
import { type DiscoveryRequest, DiscoveryRequestSchema } from "../../proto/envoy/service/discovery/v3/discovery_pb.ts";
import { typeUrl } from "./discovery-content.ts";
import { discoveryNode, maxDetail, type NodeWatch, plain, refuseForeign, servedPolicy } from "./discovery-node.ts";
import type { Publication, Publisher } from "./discovery-publisher.ts";

/** What REST polls and files hold: a `DiscoveryResponse` as proto JSON. */
export interface DiscoveryDocument {
  readonly version_info: string;
  readonly type_url: string;
  readonly resources: readonly JsonObject[];
}

export interface RestReply {
  /** 304: nothing newer than what the request says it has. */
  readonly status: 200 | 304;
  readonly body?: DiscoveryDocument;
}

/** The document for these names; a name that is not served is left out. */
function discoveryDocument(publication: Publication, names: readonly string[]): DiscoveryDocument {
  const resources = names
    .filter((name) => servedPolicy(name) !== undefined)
    .map((name) => publication.content.json(name));
  return { version_info: publication.version, type_url: typeUrl, resources };
}

/**
 * Answers one poll of a gateway that proved itself. The version a poll says it has is its acknowledgement. Throws
 * `invalid_request` for a body that is no DiscoveryRequest, `gateway_unauthenticated` for a node of another gateway.
 */
export function answerPoll(
  { gateway, publisher, watch }: { readonly gateway: string; readonly publisher: Publisher; readonly watch: NodeWatch },
  body: unknown,
): RestReply {
  const request = parse(body);
  const names = [...new Set(request.resourceNames)];
  refuseForeign(request.typeUrl, names);
  const node = discoveryNode(gateway, request.node, names);
  const publication = publisher.current();
  watch.heard(node, publisher.known(request.versionInfo));
  if (request.errorDetail !== undefined) {
    watch.refused(node, publication, plain(request.errorDetail.message, maxDetail));
  }
  if (request.versionInfo === publication.version) return { status: 304 };
  return { status: 200, body: discoveryDocument(publication, names) };
}

function parse(body: unknown): DiscoveryRequest {
  try {
    return fromJson(DiscoveryRequestSchema, body as JsonValue, { ignoreUnknownFields: true });
  } catch (cause) {
    throw new WayleaveError("invalid_request", "The body is no DiscoveryRequest in proto JSON.", { cause });
  }
}
