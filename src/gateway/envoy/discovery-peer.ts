import type { JsonObject } from "@bufbuild/protobuf";
import type { Any } from "@bufbuild/protobuf/wkt";
import type { Clock } from "../../core/clock.ts";
import { type DiscoveryNode, discoveryNode, maxDetail, type NodeWatch, plain, servedPolicy } from "./discovery-node.ts";
import type { Publication, PublishedVersion, Publisher } from "./discovery-publisher.ts";

export interface StreamDeps {
  /** The gateway that opened the stream, proven. */
  readonly gateway: string;
  readonly publisher: Publisher;
  readonly clock: Clock;
  readonly ttlMs: number;
  readonly watch: NodeWatch;
}

/** What every discovery request says beside its names. */
interface Said {
  readonly node?: { readonly id: string; readonly metadata?: JsonObject | undefined } | undefined;
  readonly responseNonce: string;
  readonly errorDetail?: { readonly message: string } | undefined;
}

/** The other end of one stream: who it is, what is on its way to it, and what it made of that. */
export class DiscoveryPeer {
  readonly #deps: StreamDeps;
  #node: DiscoveryNode | undefined;
  #disconnect: (() => void) | undefined;
  #sent: { readonly nonce: string; readonly publication: Publication; readonly at: number } | undefined;
  #answered = true;
  #nonces = 0;

  constructor(deps: StreamDeps) {
    this.#deps = deps;
  }

  /** True before the first request. */
  get unknown(): boolean {
    return this.#node === undefined;
  }

  /**
   * Takes in who asks and what became of the last response. `kept` is what a first request still holds of this run.
   * Throws `gateway_unauthenticated` for a node that is somebody else's.
   */
  heard(said: Said, names: readonly string[], kept?: PublishedVersion): void {
    const { watch, gateway } = this.#deps;
    if (this.#node === undefined) {
      this.#node = discoveryNode(gateway, said.node, names);
      this.#disconnect = watch.connected(this.#node);
      watch.heard(this.#node, kept);
      return;
    }
    // An answer to an older response says nothing about the newest.
    if (said.responseNonce === "" || said.responseNonce !== this.#sent?.nonce || this.#answered) return;
    this.#answered = true;
    const { publication } = this.#sent;
    if (said.errorDetail === undefined) watch.heard(this.#node, publication);
    else watch.refused(this.#node, publication, plain(said.errorDetail.message, maxDetail));
  }

  /** True while a response is on its way: one at a time, so that nothing but the newest ever waits. */
  get busy(): boolean {
    if (this.#answered || this.#sent === undefined) return false;
    // One that never answers is told again at the next beat.
    return this.#deps.clock.monotonic() - this.#sent.at < this.#deps.ttlMs / 3;
  }

  /** Nonce of the last response; empty before the first. */
  get nonce(): string {
    return this.#sent?.nonce ?? "";
  }

  /** The nonce for a response that goes out now. */
  sends(publication: Publication): string {
    const nonce = String(++this.#nonces);
    this.#sent = { nonce, publication, at: this.#deps.clock.monotonic() };
    this.#answered = false;
    return nonce;
  }

  over(): void {
    this.#disconnect?.();
  }
}

/** The resource of a name; undefined for one that is not served. */
export function resourceOf(publication: Publication, name: string): Any | undefined {
  return servedPolicy(name) === undefined ? undefined : publication.content.any(name);
}

/** What is left of a publication's life as `google.protobuf.Duration`: the longest a client may believe it from now on. */
export function timeToLive(
  publication: Publication,
  now: number,
): { readonly seconds: bigint; readonly nanos: number } {
  const left = Math.max(1, publication.validUntil - now);
  return { seconds: BigInt(Math.floor(left / 1000)), nanos: Math.round(left % 1000) * 1_000_000 };
}
