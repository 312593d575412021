import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { FastifyInstance } from "fastify";
import type { Logger } from "pino";
import { createApp } from "./api/app.ts";
import { authzHandler } from "./api/authz.ts";
import { clientRoutes } from "./api/client.ts";
import type { StatusResponse } from "./api/contract.ts";
import { discoveryRoutes } from "./api/discovery.ts";
import { healthRoutes } from "./api/health.ts";
import { hookRoutes } from "./api/hooks.ts";
import { operatorRoutes } from "./api/operator.ts";
import { sessionRoutes } from "./api/session.ts";
import { tokenRoutes } from "./api/token.ts";
import type { Config } from "./config/config.ts";
import type { Clock } from "./core/clock.ts";
import { WayleaveError } from "./core/errors.ts";
import { createProofVerifier } from "./credential/proof.ts";
import { connectGateways } from "./server/gateways.ts";
import { connectIssuers } from "./server/issuers.ts";
import { type BrokerKeys, openBrokerKeys } from "./server/keys.ts";
import { listenOnSocket } from "./server/listen.ts";
import { openPolicySource, type PolicySource } from "./server/policy-source.ts";
import { connectSessions } from "./server/sessions.ts";
import { type BrokerState, openState } from "./server/state.ts";
import { brokerStatus } from "./server/status.ts";
import { connectSurface } from "./server/surface.ts";
import { startTimers } from "./server/timers.ts";
import { defaultTimings, type SessionTimings } from "./session/ports.ts";

export interface ServerOptions {
  readonly log: Logger;
  /** For tests that cannot wait: how long leases, facts and sessions last. */
  readonly timings?: Partial<SessionTimings>;
}

/** A running broker. */
export interface RunningServer {
  /** Where the public listener is. */
  readonly url: string;
  /** Path of the operator's Unix socket. */
  readonly adminSocket: string;
  status(): StatusResponse;
  /** Throws `policy_invalid`; the policy in force stays. */
  reloadPolicy(): Promise<string>;
  /** Stops listening, makes everything durable, closes. */
  close(): Promise<void>;
}

const clock: Clock = { now: () => Date.now(), monotonic: () => performance.now() };

/**
 * Builds and starts the broker: the only place that constructs and connects. What was durable is replayed before the
 * first listener opens; whatever cannot be opened (policy, keys, journal) stops the start with its own error.
 */
export async function startServer(config: Config, options: ServerOptions): Promise<RunningServer> {
  const { log } = options;
  const policies = await openPolicySource({ path: config.policyPath, issuers: config.issuers, now: clock.now });
  refuseUnknownTargets(config, policies);
  const keys = await openBrokerKeys(config);
  const state = await openState(config.dataDir, clock);
  try {
    return await serve(config, options, policies, keys, state);
  } catch (error) {
    await state.close();
    throw error;
  } finally {
    log.flush();
  }
}

async function serve(
  config: Config,
  { log, timings: scaled }: ServerOptions,
  policies: PolicySource,
  keys: BrokerKeys,
  state: BrokerState,
): Promise<RunningServer> {
  const timings: SessionTimings = {
    ...defaultTimings,
    maxSessionMs: config.sessions.maxMs,
    tokenTtlMs: config.sessions.tokenTtlMs,
    ...scaled,
  };
  const { table, recorder } = state;
  const policy = () => policies.current().policy;
  const { issuers, verifier } = connectIssuers(config, clock, (issuer, id) => table.pathOf(issuer, id));
  const shared = { config, clock, timings, recorder, table, keys, issuers, policies, policy, log };
  const sessions = connectSessions({ ...shared, verify: verifier.verify });
  const onRefused = (detail: string) => log.warn({ detail }, "a gateway's question was refused");
  const onFault = (error: unknown) => log.error({ err: error }, "a decision failed, so it was refused as an outage");
  const gateways = connectGateways({ ...shared, onRefused, onFault });
  const status = () => brokerStatus({ config, policies, issuers, table, version });
  const surface = connectSurface({
    ...shared,
    sessions,
    status,
    records: state.records,
    limits: gateways.limits,
    proofs: createProofVerifier(),
  });
  const open = await publicApp(config, log, surface, keys, gateways, state);
  const operator = createApp({ log, behindProxy: false, routes: [operatorRoutes(surface.operator)] });
  await recorder.append([...keys.created, { kind: "broker.started", data: { version, policy: policy().version } }]);
  const adminSocket = join(config.dataDir, "admin.sock");
  await listenOnSocket(operator, adminSocket);
  await open.listen({ host: config.listen.host, port: config.listen.port });
  const stopTimers = startTimers({ sessions, timings, policies, recorder, log });
  return {
    url: addressOf(open, config),
    adminSocket,
    status,
    reloadPolicy: surface.operator.reload,
    async close() {
      stopTimers();
      await Promise.all([stopListening(open), stopListening(operator)]);
      await recorder.append([{ kind: "broker.stopped", data: {} }]);
      await state.close();
    },
  };
}

/** A gateway that fronts what policy does not have would refuse everything there, and say it enforces it. */
function refuseUnknownTargets(config: Config, policies: PolicySource): void {
  const { targets } = policies.current().policy;
  for (const gateway of config.gateways) {
    const unknown = gateway.targets.find((name) => !targets.has(name));
    if (unknown === undefined) continue;
    const known = [...targets.keys()].join(", ");
    throw new WayleaveError(
      "config_invalid",
      `Gateway ${gateway.name} fronts target ${JSON.stringify(unknown)}, which the policy does not have; it has: ${known}.`,
    );
  }
}

/** Requests under way get a moment to finish; long polls and streams end with it. */
const drainMs = 500;

async function stopListening(app: FastifyInstance): Promise<void> {
  const cut = setTimeout(() => app.server.closeAllConnections(), drainMs);
  await app.close();
  clearTimeout(cut);
}

async function publicApp(
  config: Config,
  log: Logger,
  surface: ReturnType<typeof connectSurface>,
  keys: BrokerKeys,
  gateways: ReturnType<typeof connectGateways>,
  state: BrokerState,
): Promise<FastifyInstance> {
  const clientScript = await readFile(new URL("../packaging/client/wayleave.sh", import.meta.url), "utf8");
  const { jwks: accessTokenJwks } = keys.accessToken;
  const { jwks: assertionJwks } = keys.assertion;
  return createApp({
    log,
    behindProxy: config.listen.behindTlsProxy,
    ...(config.listen.tls === undefined ? {} : { tls: config.listen.tls }),
    first: authzHandler(gateways.dialects),
    routes: [
      tokenRoutes(surface.token),
      sessionRoutes(surface.session),
      hookRoutes(surface.hooks),
      discoveryRoutes({ issuerUrl: config.issuer, accessTokenJwks, assertionJwks }),
      clientRoutes(clientScript),
      healthRoutes(state.health),
    ],
  });
}

/** Of `package.json`, so that there is one version. */
const { version } = JSON.parse(await readFile(new URL("../package.json", import.meta.url), "utf8")) as {
  version: string;
};

function addressOf(app: FastifyInstance, config: Config): string {
  const address = app.server.address();
  const port = typeof address === "object" && address !== null ? address.port : config.listen.port;
  const host = config.listen.host.includes(":") ? `[${config.listen.host}]` : config.listen.host;
  return `${config.listen.tls === undefined ? "http" : "https"}://${host}:${port}`;
}
