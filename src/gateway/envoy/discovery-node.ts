import type { JsonObject, JsonValue } from "@bufbuild/protobuf";
import { WayleaveError } from "../../core/errors.ts";
import { typeUrl } from "./discovery-content.ts";
import type { PublishedVersion } from "./discovery-publisher.ts";
import { refusalsName } from "./refusals.ts";

/** One Envoy that asks: a gateway of the inventory may be many of them. */
export interface DiscoveryNode {
  /** Name of the gateway it proved to be. */
  readonly gateway: string;
  /** What it calls itself; not proven. */
  readonly id: string;
  /** Version of the policy its configuration was rendered from, where it says so. */
  readonly policy: string | undefined;
}

/** Told what the Envoys of the inventory say they enforce. Must not throw. */
export interface NodeWatch {
  /** It holds a stream; returns how to say that the stream is over. */
  connected(node: DiscoveryNode): () => void;
  /** It asked, and this is the last publication it says it took; undefined where it has taken none of this run's. */
  heard(node: DiscoveryNode, taken: PublishedVersion | undefined): void;
  /** It refused what it was sent, and stays with what it has until that runs out. */
  refused(node: DiscoveryNode, version: PublishedVersion, detail: string): void;
}

const maxNames = 16;
const maxNameLength = 200;
/** Of what a peer says was wrong, so much is kept. */
export const maxDetail = 300;

/**
 * Who asks, from the node of a request and the names it asks for. Throws `gateway_unauthenticated` where the configuration of the
 * one that asks was rendered for another gateway than it proved to be: then nothing it says of itself holds.
 */
export function discoveryNode(
  gateway: string,
  node: { readonly id: string; readonly metadata?: JsonObject | undefined } | undefined,
  names: readonly string[],
): DiscoveryNode {
  const own = node?.metadata?.wayleave;
  const said: JsonObject = isObject(own) ? own : {};
  if (said.gateway !== undefined && said.gateway !== gateway) {
    throw new WayleaveError(
      "gateway_unauthenticated",
      "The node's metadata names another gateway than the one that proved itself; render its configuration again.",
    );
  }
  const policy = typeof said.policy === "string" && policyPattern.test(said.policy) ? said.policy : undefined;
  return {
    gateway,
    id: plain(node?.id ?? "", maxNameLength),
    // What it asks for is what its filters were rendered with; the metadata may be of its whole machine.
    policy: names.map(servedPolicy).find((named) => named !== undefined) ?? policy,
  };
}

/** Versions of a policy are short words; anything else a node says is not one. */
const policyPattern = /^[\w.:+-]{1,128}$/;
const namePrefix = refusalsName("");

/** The policy version in the name of a resource; undefined for a name that is not served. */
export function servedPolicy(name: string): string | undefined {
  const policy = name.startsWith(namePrefix) ? name.slice(namePrefix.length) : "";
  return policyPattern.test(policy) ? policy : undefined;
}

/** Text of a peer, for a record or a table: bounded, and nothing that would steer a terminal. */
export function plain(text: string, most: number): string {
  return text
    .slice(0, most)
    .replaceAll(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, "\ufffd")
    .toWellFormed();
}

/** Throws `invalid_request` for a request of another type, or with more or longer names than anybody needs. */
export function refuseForeign(type: string, names: readonly string[]): void {
  if (type !== "" && type !== typeUrl) {
    throw new WayleaveError("invalid_request", "Only envoy.config.core.v3.TypedExtensionConfig is served here.");
  }
  if (names.length > maxNames || names.some((name) => name.length > maxNameLength)) {
    throw new WayleaveError("invalid_request", `At most ${maxNames} names of at most ${maxNameLength} characters.`);
  }
}

function isObject(value: JsonValue | undefined): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
