import { createHash } from "node:crypto";
import { create, fromBinary, type JsonObject, type MessageInitShape } from "@bufbuild/protobuf";
import type { Any } from "@bufbuild/protobuf/wkt";
import type { AuditEvent } from "../../core/record.ts";
import type { GrpcCall, StreamMethod } from "../../grpc/method.ts";
import { TypedExtensionConfigSchema } from "../../proto/envoy/config/core/v3/extension_pb.ts";
import { RBACSchema } from "../../proto/envoy/extensions/filters/http/rbac/v3/rbac_pb.ts";
import {
  type DeltaDiscoveryRequest,
  DeltaDiscoveryRequestSchema,
  type DeltaDiscoveryResponse,
  type DiscoveryRequest,
  DiscoveryRequestSchema,
  type DiscoveryResponse,
} from "../../proto/envoy/service/discovery/v3/discovery_pb.ts";
import { createRefusalsDiscovery } from "./discovery.ts";
import { refusalsConfig, refusalsName } from "./refusals.ts";

const service = "/envoy.service.extension.v3.ExtensionConfigDiscoveryService";
export const resourceName = refusalsName("p1");
export const ttlMs = 15_000;
const start = Date.parse("2026-11-24T09:30:00Z");

/** The sessions that an encoded filter refuses. */
export function refusedBy(any: Any | undefined): readonly string[] {
  const { typedConfig } = fromBinary(TypedExtensionConfigSchema, any?.value ?? new Uint8Array());
  const { matcher } = fromBinary(RBACSchema, typedConfig?.value ?? new Uint8Array());
  const next = matcher?.onNoMatch?.onMatch;
  if (next?.case !== "matcher" || next.value.matcherType.case !== "matcherTree") return [];
  return Object.keys(next.value.matcherType.value.treeType.value?.map ?? {});
}

/** Timers that fire when time is moved. */
class ManualTime {
  #now = 0;
  readonly #due = new Set<{ readonly at: number; readonly run: () => void }>();
  now = (): number => start + this.#now;
  monotonic = (): number => this.#now;
  after = (ms: number, run: () => void): (() => void) => {
    const timer = { at: this.#now + ms, run };
    this.#due.add(timer);
    return () => this.#due.delete(timer);
  };
  get waiting(): number {
    return this.#due.size;
  }
  /** Passes so much time, and lets what waits for it run. */
  async pass(ms: number): Promise<void> {
    const end = this.#now + ms;
    for (;;) {
      const [next] = [...this.#due].filter(({ at }) => at <= end).sort((a, b) => a.at - b.at);
      if (next === undefined) break;
      this.#due.delete(next);
      this.#now = Math.max(this.#now, next.at);
      next.run();
      await settle();
    }
    this.#now = end;
    await settle();
  }
}

/** Lets everything that is ready run. */
export function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** One open stream, as its client sees it. */
export interface OpenStream<In, Out> {
  /** Everything that came so far. */
  readonly got: Out[];
  readonly last: Out;
  send(request: In): Promise<void>;
  /** The client takes nothing more until told. */
  stall(on: boolean): Promise<void>;
  /** The client goes away. */
  drop(): Promise<void>;
  /** Code of the error that ended it; undefined while it is open or where it ended well. */
  failure(): unknown;
  readonly ended: boolean;
}

/** Discovery over fakes: one gateway `inner` (and `other`), whose refused sessions are a set. */
export function discoveryWorld() {
  const time = new ManualTime();
  const refused = new Set<string>();
  const events: AuditEvent[] = [];
  const seen: string[] = [];
  let broken = false;
  const config = (validUntil: number): JsonObject => {
    if (broken) throw new TypeError("broken");
    return refusalsConfig({ sessions: [...refused], tokens: [], kids: ["kid-1"], validUntil }, "");
  };
  const gateway = (name: string) => ({ name, secretHashes: [sha256(`secret of ${name}`)], ttlMs, config });
  const discovery = createRefusalsDiscovery({
    gateways: [gateway("inner"), gateway("other")],
    clock: time,
    after: time.after,
    run: "run",
    note: (event) => events.push(event),
    watch: {
      connected(node) {
        seen.push(`+ ${node.gateway} ${node.id} ${node.policy ?? "?"}`);
        return () => seen.push(`- ${node.gateway} ${node.id}`);
      },
      heard: (node, taken) => seen.push(`heard ${node.id} ${taken?.version ?? "nothing"}`),
      refused: (node, version, detail) => seen.push(`refused ${node.id} ${version.version} ${detail}`),
    },
  });

  const open = <In, Out>(method: string, metadata: Readonly<Record<string, string>>): OpenStream<In, Out> => {
    const { handle } = discovery.grpc[`${service}/${method}`] as StreamMethod;
    return openStream<In, Out>(handle as never, new Map(Object.entries(metadata)));
  };
  return {
    time,
    discovery,
    events,
    seen,
    end(session: string) {
      refused.add(session);
      discovery.changed();
    },
    break: (on: boolean) => {
      broken = on;
    },
    delta: (metadata = proof("inner")) =>
      open<DeltaDiscoveryRequest, DeltaDiscoveryResponse>("DeltaExtensionConfigs", metadata),
    sotw: (metadata = proof("inner")) => open<DiscoveryRequest, DiscoveryResponse>("StreamExtensionConfigs", metadata),
  };
}

export const proof = (name: string): Readonly<Record<string, string>> => ({
  "x-wayleave-gateway": name,
  "x-wayleave-gateway-secret": `secret of ${name}`,
});

export const deltaRequest = (init: MessageInitShape<typeof DeltaDiscoveryRequestSchema>) =>
  create(DeltaDiscoveryRequestSchema, init);
export const sotwRequest = (init: MessageInitShape<typeof DiscoveryRequestSchema>) =>
  create(DiscoveryRequestSchema, init);

function openStream<In, Out>(
  handle: (requests: AsyncIterable<In>, call: GrpcCall) => AsyncIterable<Out>,
  metadata: ReadonlyMap<string, string>,
): OpenStream<In, Out> {
  const abort = new AbortController();
  const got: Out[] = [];
  const waiting: In[] = [];
  let arrived: () => void = () => undefined;
  let resumed: () => void = () => undefined;
  let stalled = false;
  let failure: unknown;
  let ended = false;
  async function* requests(): AsyncGenerator<In> {
    while (!abort.signal.aborted) {
      const next = waiting.shift();
      if (next !== undefined) yield next;
      else
        await new Promise<void>((resolve) => {
          arrived = resolve;
        });
    }
  }
  const read = async (): Promise<void> => {
    for await (const out of handle(requests(), { metadata, peer: "unix", signal: abort.signal })) {
      got.push(out);
      if (stalled)
        await new Promise<void>((resolve) => {
          resumed = resolve;
        });
    }
  };
  void read()
    .catch((error: unknown) => {
      failure = error;
    })
    .then(() => {
      ended = true;
    });
  return {
    got,
    get last() {
      return got.at(-1)!;
    },
    get ended() {
      return ended;
    },
    failure: () => (failure as { code?: unknown } | undefined)?.code ?? failure,
    async send(request) {
      waiting.push(request);
      arrived();
      await settle();
    },
    async stall(on) {
      stalled = on;
      if (!on) resumed();
      await settle();
    },
    async drop() {
      abort.abort();
      arrived();
      resumed();
      await settle();
    },
  };
}

function sha256(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}
