import type { GatewayConfig } from "../config/config.ts";
import type { Clock } from "../core/clock.ts";
import type { AuditEvent } from "../core/record.ts";
import type { DiscoveryNode, NodeWatch } from "../gateway/envoy/discovery-node.ts";
import type { PublishedVersion } from "../gateway/envoy/discovery-publisher.ts";
import type { GatewayNodeSummary, GatewaySummary } from "../gateway/gateway-summary.ts";

/** What each gateway of the inventory says it enforces. In memory: a gateway that lives tells it again within seconds. */
export interface GatewayReports {
  /** For gateways that follow the refusals. */
  readonly watch: NodeWatch;
  /** A gateway asked for a decision. */
  asked(gateway: string): void;
  /** When it asked or followed last, ms since the epoch. */
  aliveAt(gateway: string): number | undefined;
  /** In the order of the inventory. */
  list(): readonly GatewaySummary[];
}

interface NodeState {
  readonly id: string;
  policy: string | undefined;
  streams: number;
  heardAt: number;
  acknowledged: PublishedVersion | undefined;
  refused: string | undefined;
  /** What its last record said, so that only a change makes another. */
  recorded: string | undefined;
}

/** Of one gateway; where it claims to be more, those that were silent longest are forgotten. */
const maxNodes = 1024;

/** An Envoy that came and went is spoken of this long. */
const forgetAfterMs = 24 * 3_600_000;

export function createGatewayReports(deps: {
  readonly gateways: readonly GatewayConfig[];
  readonly clock: Clock;
  /** Version of the policy in force. */
  policy(): string;
  /** What goes on at it while the broker is away. */
  kept?(gateway: GatewayConfig): NonNullable<GatewaySummary["kept"]>;
  /** Must not throw. */
  note(event: AuditEvent): void;
}): GatewayReports {
  const { clock } = deps;
  const nodes = new Map(deps.gateways.map(({ name }) => [name, new Map<string, NodeState>()]));
  const askedAt = new Map<string, number>();

  const find = ({ gateway, id, policy }: DiscoveryNode): NodeState => {
    const known = nodes.get(gateway) ?? new Map<string, NodeState>();
    const now = clock.now();
    const node = known.get(id) ?? fresh(id, now);
    known.delete(id); // the one heard of last is the last to be forgotten
    known.set(id, node);
    if (known.size > maxNodes) forgetOne(known);
    node.policy = policy;
    node.heardAt = now;
    return node;
  };

  /** What it enforces, where it said that and says something new. */
  const record = (gateway: string, node: NodeState): void => {
    const { id, policy, refused } = node;
    const said = JSON.stringify([policy, refused]);
    if (said === node.recorded) return;
    node.recorded = said;
    const detail = refused === undefined ? {} : { detail: refused };
    const data = { gateway, node: id, policy: policy ?? "unknown", accepted: refused === undefined, ...detail };
    deps.note({ kind: "gateway.reported", data });
  };

  return {
    watch: {
      connected(at) {
        const node = find(at);
        node.streams++;
        return () => {
          node.streams--;
          node.heardAt = clock.now();
        };
      },
      heard(at, taken) {
        const node = find(at);
        // A poll repeats what it took before a version it refused; only a newer one takes the refusal back.
        if (taken !== undefined && taken.version !== node.acknowledged?.version) {
          node.acknowledged = taken;
          node.refused = undefined;
        }
        if (taken !== undefined) record(at.gateway, node);
      },
      refused(at, _version, detail) {
        const node = find(at);
        node.refused = detail;
        record(at.gateway, node);
      },
    },
    asked: (gateway) => void askedAt.set(gateway, clock.now()),
    aliveAt(gateway) {
      const known = [...(nodes.get(gateway)?.values() ?? [])];
      const at = known.map((node) => (node.streams > 0 ? clock.now() : node.heardAt));
      const last = Math.max(askedAt.get(gateway) ?? 0, ...at);
      return last === 0 ? undefined : last;
    },
    list() {
      const now = clock.now();
      return deps.gateways.map((gateway) => {
        const known = nodes.get(gateway.name) ?? new Map<string, NodeState>();
        for (const [id, node] of known) {
          if (node.streams === 0 && node.heardAt < now - forgetAfterMs) known.delete(id);
        }
        const summary = summarize(gateway, [...known.values()], askedAt.get(gateway.name), deps.policy(), now);
        return withKept(summary, deps.kept?.(gateway) ?? []);
      });
    },
  };
}

function fresh(id: string, now: number): NodeState {
  return {
    id,
    policy: undefined,
    streams: 0,
    heardAt: now,
    acknowledged: undefined,
    refused: undefined,
    recorded: undefined,
  };
}

function forgetOne(known: Map<string, NodeState>): void {
  const [silent] = [...known.values()].filter((node) => node.streams === 0);
  const [oldest] = known.values();
  known.delete((silent ?? oldest)?.id ?? "");
}

function summarize(
  gateway: GatewayConfig,
  nodes: readonly NodeState[],
  askedAt: number | undefined,
  policy: string,
  now: number,
): GatewaySummary {
  const mode = modeOf(gateway);
  const follows = gateway.kind === "envoy" && mode === "native";
  const living = nodes.filter((node) => node.streams > 0 || node.heardAt >= now - silentAfterMs(gateway));
  const heardAt = Math.max(askedAt ?? 0, ...nodes.map((node) => (node.streams > 0 ? now : node.heardAt)));
  const taken = living.map((node) => node.acknowledged?.madeAt ?? 0);
  const standing = mode === "native" ? policyOf(living, policy) : askedAt === undefined ? "unknown" : "current";
  return {
    name: gateway.name,
    kind: gateway.kind,
    ...(gateway.environment === undefined ? {} : { environment: gateway.environment }),
    mode,
    targets: gateway.targets,
    policy: standing,
    ...(heardAt === 0 ? {} : { last_heard: new Date(heardAt).toISOString() }),
    ...(taken.length === 0 || taken.includes(0)
      ? {}
      : { acknowledged_seconds: Math.max(0, Math.round((now - Math.min(...taken)) / 1000)) }),
    nodes: nodes.map(nodeSummary),
    notes: follows ? followerNotes(living, nodes, policy) : quietNotes(gateway, mode, heardAt),
  };
}

function withKept(summary: GatewaySummary, kept: NonNullable<GatewaySummary["kept"]>): GatewaySummary {
  if (kept.length === 0) return summary;
  const each = kept.map(({ target, seconds }) => `${target} ${seconds} s`).join(", ");
  const note = `while Wayleave is away, what it allowed goes on for at most: ${each} (on_outage: keep)`;
  return { ...summary, kept, notes: [...summary.notes, note] };
}

function modeOf(gateway: GatewayConfig): "native" | "call_out" {
  if (gateway.kind === "nginx" || gateway.kind === "nats" || gateway.kind === "proxy") return "call_out";
  return gateway.kind === "linkerd" ? "native" : gateway.mode;
}

/** One that has been silent for so long has run out of what it may believe. */
function silentAfterMs(gateway: GatewayConfig): number {
  return gateway.kind === "envoy" ? gateway.revocationTtlMs : 0;
}

function policyOf(living: readonly NodeState[], policy: string): GatewaySummary["policy"] {
  const known = living.flatMap((node) => node.policy ?? []);
  if (known.some((version) => version !== policy)) return "older";
  return known.length === 0 || known.length < living.length ? "unknown" : "current";
}

function nodeSummary({ id, policy, streams, heardAt, acknowledged, refused }: NodeState): GatewayNodeSummary {
  return {
    id,
    ...(policy === undefined ? {} : { policy }),
    connected: streams > 0,
    last_heard: new Date(heardAt).toISOString(),
    ...(acknowledged === undefined
      ? {}
      : { acknowledged: { version: acknowledged.version, made_at: new Date(acknowledged.madeAt).toISOString() } }),
    ...(refused === undefined ? {} : { refused }),
  };
}

function followerNotes(living: readonly NodeState[], nodes: readonly NodeState[], policy: string): readonly string[] {
  if (living.length === 0) {
    return nodes.length === 0
      ? ["has not asked which sessions ended since the broker started; until it does it refuses everything"]
      : [
          "no longer asks which sessions ended, so it refuses everything; see its log and whether it reaches the broker",
        ];
  }
  const older = living.filter((node) => node.policy !== undefined && node.policy !== policy);
  const refusing = living.filter((node) => node.refused !== undefined);
  const some = (part: readonly NodeState[]) => (living.length === 1 ? "" : `${part.length} of ${living.length}: `);
  return [
    ...(older.length === 0 ? [] : [`${some(older)}rendered from an older policy; render it again`]),
    ...(refusing.length === 0 ? [] : [`${some(refusing)}refuses what it is sent: ${refusing[0]?.refused}`]),
  ];
}

function quietNotes(gateway: GatewayConfig, mode: "native" | "call_out", heardAt: number): readonly string[] {
  if (mode === "native") return [`${gateway.kind} does not report; what was applied to it is what it enforces`];
  return heardAt === 0 ? ["has not asked since the broker started"] : [];
}
