import type { Config, ProxyGatewayConfig } from "../config/config.ts";
import type { Clock } from "../core/clock.ts";
import { WayleaveError } from "../core/errors.ts";
import { type AuditEvent, recordJob } from "../core/record.ts";
import type { StandingPoint } from "../gateway/decision-point.ts";
import type { ExchangeEnd } from "../gateway/proxy/exchange.ts";
import { createProxyGateway, type ProxyGateway } from "../gateway/proxy/gateway.ts";
import type { ProxyHttpTarget, ProxySettings, ProxyTcpTarget } from "../gateway/proxy/settings.ts";
import type { Policy } from "../policy/policy.ts";
import type { SessionTable } from "../session/table.ts";
import { listenAt } from "./listen.ts";

/** Every gateway of kind `proxy`, running. */
export interface Proxies {
  /** By name. */
  readonly ports: Readonly<Record<string, number>>;
  close(): Promise<void>;
}

export interface ProxiesDeps {
  readonly table: Pick<SessionTable, "find" | "watch">;
  readonly gateways: { readonly decisionPoint: StandingPoint };
  readonly clock: Clock;
  policy(): Policy;
  /** Must not throw. */
  note(event: AuditEvent): void;
  onFault(error: unknown): void;
}

/** Throws `config_invalid` for a proxy whose upstreams do not fit its targets, or whose address cannot be had. */
export async function listenProxies(config: Config, deps: ProxiesDeps): Promise<Proxies> {
  const proxies = config.gateways.filter((gateway) => gateway.kind === "proxy");
  const made = proxies.map((gateway) => ({ gateway, proxy: createProxy(gateway, deps) }));
  const close = async () => void (await Promise.all(made.map(({ proxy }) => proxy.close())));
  const ports: Record<string, number> = {};
  try {
    for (const { gateway, proxy } of made) {
      const { name, listen } = gateway;
      ports[name] = await listenAt({ setting: `listen of gateway ${name}`, ...listen }, proxy.listen);
    }
  } catch (error) {
    await close();
    throw error;
  }
  return { ports, close };
}

function createProxy(gateway: ProxyGatewayConfig, deps: ProxiesDeps): ProxyGateway {
  const { table } = deps;
  return createProxyGateway({
    ...deps,
    closed: (end) => deps.note(closedEvent(deps, gateway.name, end)),
    point: deps.gateways.decisionPoint,
    settings: settingsOf(gateway, deps.policy()),
    hardEndAt: (session) => table.find(session)?.view.hardEndAt,
    watch: (listener) =>
      table.watch((change) =>
        listener("session" in change ? { session: change.session.id } : { revoked: change.revoked.jti }),
      ),
  });
}

function closedEvent({ clock, table }: ProxiesDeps, gateway: string, end: ExchangeEnd): AuditEvent {
  const { open, answer, transport, by, reason } = end;
  const session = open.holder?.sessionId;
  const identity = session === undefined ? undefined : table.find(session)?.view.identity;
  return {
    kind: "stream.closed",
    ...(session === undefined || identity === undefined ? {} : { session, job: recordJob(identity) }),
    trace: answer.traceparent.slice(3, 35),
    data: {
      gateway,
      target: open.question.target,
      decision_record: answer.record,
      transport,
      bytes_in: open.bytesIn,
      bytes_out: open.bytesOut,
      ms: Math.round(clock.monotonic() - open.openedAt),
      ended_by: by,
      ...(reason === undefined ? {} : { reason }),
    },
  };
}

function settingsOf(gateway: ProxyGatewayConfig, { targets }: Policy): ProxySettings {
  const { name, listen, tls, limits } = gateway;
  return {
    name,
    listen,
    limits,
    ...(tls === undefined ? {} : { tls }),
    targets: gateway.targets.map((target) =>
      targets.get(target)?.kind === "tcp" ? tcpTarget(gateway, target) : httpTarget(gateway, target, targets),
    ),
  };
}

function tcpTarget(gateway: ProxyGatewayConfig, name: string): ProxyTcpTarget {
  if (gateway.upstreams[name] === undefined) return { kind: "tcp", name };
  throw invalid(gateway, `${name} is a tcp target, whose address is in policy: leave it out of \`upstreams\``);
}

function httpTarget(gateway: ProxyGatewayConfig, name: string, targets: Policy["targets"]): ProxyHttpTarget {
  const kind = targets.get(name)?.kind;
  if (kind !== "http" && kind !== "mesh") throw invalid(gateway, `it cannot front ${name}, a target of kind ${kind}`);
  const found = gateway.upstreams[name];
  if (found === undefined)
    throw invalid(gateway, `${name} has no upstream: say where the service is under \`upstreams\``);
  if (kind === "mesh" && found.name === undefined) {
    throw invalid(gateway, `${name} is a mesh target without hosts: say under which \`host\` jobs ask for it`);
  }
  const { host, port, protocol, tls, credentialHeader, auth } = found;
  return {
    kind: "http",
    name,
    ...(found.name === undefined ? {} : { host: found.name }),
    upstream: { protocol, host, port, ...(tls === undefined ? {} : { tls }) },
    credentialHeader,
    ...(auth === undefined ? {} : { upstreamAuth: auth }),
  };
}

const invalid = ({ name }: ProxyGatewayConfig, problem: string) =>
  new WayleaveError("config_invalid", `Gateway ${name}: ${problem}.`);
