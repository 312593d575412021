import { randomBytes } from "node:crypto";
import type { Config, EnvoyGatewayConfig, GatewayConfig } from "../config/config.ts";
import type { Clock } from "../core/clock.ts";
import type { AuditEvent, Recorder } from "../core/record.ts";
import { assertionLifeMs } from "../credential/assertion.ts";
import type { KeyRing } from "../credential/keys.ts";
import { createRefusalsDiscovery, type RefusalsDiscovery } from "../gateway/envoy/discovery.ts";
import { refusalsConfig } from "../gateway/envoy/refusals.ts";
import { secretHash } from "../gateway/gateway-guard.ts";
import type { GatewaySummary } from "../gateway/gateway-summary.ts";
import { watchRefused } from "../session/refused.ts";
import type { SessionTable } from "../session/table.ts";
import { createGatewayReports, type GatewayReports } from "./gateway-reports.ts";

/** What gateways that do not ask are told, and what they say of themselves. */
export interface GatewayFeed {
  readonly discovery: RefusalsDiscovery;
  readonly reports: GatewayReports;
  close(): void;
}

/** The most that `sessions.token_ttl` ever takes, ms: of tokens that were signed before a restart no less is known. */
const longestEverMs = 15 * 60_000;

/** Follows sessions, revocations and keys for every Envoy of the inventory. Call it once the table is replayed. */
export function connectGatewayFeed(deps: {
  readonly config: Config;
  readonly clock: Clock;
  readonly table: SessionTable;
  readonly recorder: Pick<Recorder, "note">;
  readonly keys: Readonly<Record<"accessToken" | "assertion", Pick<KeyRing, "liveKids" | "onChange">>>;
  /** Version of the policy in force. */
  policy(): string;
  /** What goes on at a gateway while the broker is away. */
  kept?(gateway: GatewayConfig): NonNullable<GatewaySummary["kept"]>;
  onFault(error: unknown): void;
}): GatewayFeed {
  const { config, clock, table, recorder } = deps;
  const note = (event: AuditEvent): void => {
    try {
      recorder.note(event);
    } catch (error) {
      deps.onFault(error); // an end must reach the gateways also while nothing can be recorded
    }
  };
  const longestTokenLifeMs = Math.max(config.sessions.tokenTtlMs, assertionLifeMs);
  const refused = watchRefused({ table, clock, longestTokenLifeMs, longestEverMs });
  const reports = createGatewayReports({
    gateways: config.gateways,
    clock,
    policy: deps.policy,
    ...(deps.kept === undefined ? {} : { kept: deps.kept }),
    note,
  });
  const discovery = createRefusalsDiscovery({
    gateways: config.gateways
      .filter((gateway) => gateway.kind === "envoy")
      .map((gateway) => ({
        name: gateway.name,
        secretHashes: [secretHash(gateway.secret)],
        ttlMs: gateway.revocationTtlMs,
        // The name says the policy, and each one that follows asks by the name it was rendered with.
        config: (validUntil) =>
          refusalsConfig({ ...refused.current(), kids: keysOf(deps.keys, gateway).liveKids(), validUntil }, ""),
      })),
    clock,
    after(ms, run) {
      const timer = setTimeout(run, ms);
      return () => clearTimeout(timer);
    },
    run: randomBytes(6).toString("hex"),
    watch: reports.watch,
    note,
  });
  const unfollow = [
    refused.onChange(discovery.changed),
    deps.keys.accessToken.onChange(discovery.changed),
    deps.keys.assertion.onChange(discovery.changed),
  ];
  return {
    discovery,
    reports,
    close() {
      for (const stop of unfollow) stop();
      refused.close();
      discovery.close();
    },
  };
}

/** Of what a gateway verifies: behind another one it is the assertion, never an access token. */
function keysOf<K>(keys: Readonly<Record<"accessToken" | "assertion", K>>, gateway: EnvoyGatewayConfig): K {
  return gateway.behind.length > 0 ? keys.assertion : keys.accessToken;
}
