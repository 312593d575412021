import { randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { FastifyInstance, FastifyPluginAsync } from "fastify";
import type { Logger } from "pino";
import packageJson from "../package.json" with { type: "json" };
import { createApp } from "./api/app.ts";
import { authzHandler } from "./api/authz.ts";
import { evaluationRoutes } from "./api/authzen.ts";
import { breakglassRoutes } from "./api/breakglass.ts";
import { clientRoutes } from "./api/client.ts";
import type { StatusResponse } from "./api/contract.ts";
import { discoveryRoutes } from "./api/discovery.ts";
import { gatewayLogRoutes } from "./api/gateway-log.ts";
import { gatewayDiscoveryRoutes, gatewayListRoutes } from "./api/gateways.ts";
import { healthRoutes } from "./api/health.ts";
import { hookRoutes } from "./api/hooks.ts";
import { introspectionRoutes } from "./api/introspection.ts";
import { keyRoutes } from "./api/keys.ts";
import { operatorRoutes } from "./api/operator.ts";
import { policyRoutes } from "./api/policy.ts";
import { projectIdRoutes } from "./api/project-ids.ts";
import { sessionRoutes } from "./api/session.ts";
import { svidRoutes } from "./api/svid.ts";
import { tokenRoutes } from "./api/token.ts";
import { verifyRoutes } from "./api/verify.ts";
import type { Config, GatewayConfig } from "./config/config.ts";
import type { Clock } from "./core/clock.ts";
import { createProofVerifier } from "./credential/proof.ts";
import { createProofNonces } from "./credential/proof-nonce.ts";
import { keptAt } from "./gateway/keep.ts";
import { createLimits } from "./gateway/limits.ts";
import type { Policy } from "./policy/policy.ts";
import { acceptPolicy } from "./server/accept-policy.ts";
import { type BreakglassServices, connectBreakglass } from "./server/breakglass.ts";
import { connectCauses } from "./server/events.ts";
import { connectEvidence } from "./server/evidence.ts";
import { connectGatewayFeed } from "./server/gateway-feed.ts";
import { connectGateways } from "./server/gateways.ts";
import { listenGrpc, secretMethods } from "./server/grpc.ts";
import { connectIntrospection } from "./server/introspection.ts";
import { connectIssuers } from "./server/issuers.ts";
import { openKeptPolicies } from "./server/kept-policies.ts";
import { type BrokerKeys, keyOperation, openBrokerKeys } from "./server/keys.ts";
import { listenAt, listenOnSocket } from "./server/listen.ts";
import { connectMessaging } from "./server/messaging.ts";
import { noting, refusing } from "./server/noting.ts";
import { connectPeople } from "./server/people.ts";
import { policyOperation } from "./server/policy-overview.ts";
import { openPolicyRollout, type PolicyRollout } from "./server/policy-rollout.ts";
import { buildPolicy, openPolicySource } from "./server/policy-source.ts";
import { openPolicySources } from "./server/policy-sources.ts";
import { openPostgresState } from "./server/postgres-state.ts";
import { listenProxies } from "./server/proxies.ts";
import { connectSessions } from "./server/sessions.ts";
import { connectSpiffe } from "./server/spiffe.ts";
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
  /** Port of the gRPC listener, where there is one. */
  readonly grpcPort?: number;
  /** Port of each gateway of kind `proxy`, by name. */
  readonly proxyPorts: Readonly<Record<string, number>>;
  /** Path of the operator's Unix socket. */
  readonly adminSocket: string;
  /** Path of the bootstrap token, while nobody has signed in. */
  readonly bootstrapFile?: string;
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
  const { trustDomain, issuers, policyPath, policySources, spiffe } = config;
  const sources =
    policySources === undefined
      ? undefined
      : openPolicySources({ sources: policySources, issuers, folder: join(config.dataDir, "policy-sources") });
  const sourceOptions = {
    path: policyPath,
    ...(sources === undefined ? {} : { sources }),
    issuers,
    spiffe: { trustDomain, prefixes: spiffe.prefixes },
    now: clock.now,
  };
  const disk = await openPolicySource(sourceOptions);
  acceptPolicy(config, disk.current());
  const { store, dataDir } = config;
  const state =
    store === undefined ? await openState(dataDir, clock) : await openPostgresState(store, { dataDir, clock, log });
  try {
    const policies = await openPolicyRollout({
      disk,
      history: state.policyHistory,
      kept: openKeptPolicies(join(config.dataDir, "policies"), clock.now),
      recorder: state.recorder,
      clock,
      shadow: createLimits(clock),
      build: (texts) => buildPolicy(texts, sourceOptions),
      accept: (policy) => acceptPolicy(config, policy),
      onFault: (error) => log.error({ err: error }, "the candidate policy fails; the active one is not touched by it"),
      warn: (text) => log.warn(text),
    });
    const keys = await openKeys(config, state, log);
    return await serve(config, options, policies, keys, state);
  } catch (error) {
    await state.close();
    throw error;
  } finally {
    log.flush();
  }
}

/** After the journal, which knows what a key file from a backup does not. */
async function openKeys(config: Config, state: BrokerState, log: Logger): Promise<BrokerKeys> {
  const { recorder, keyHistory: history } = state;
  const onFault = (error: unknown) =>
    log.error({ err: error }, "a change of signing keys is incomplete; it is tried again");
  const keys = await openBrokerKeys(config, { recorder, history, clock, onFault });
  if (config.keys.previousEncryptionKey !== undefined)
    log.info(
      { encrypted_anew: keys.rewrapped },
      "no key in data/keys is encrypted with keys.previous_encryption_key any more: take it out of the configuration",
    );
  for (const [keyClass, { lost }] of Object.entries(keys.chains)) {
    if (lost.length > 0)
      log.warn(
        { class: keyClass, kids: lost },
        "the key file is older than the journal: these keys are gone, and refused",
      );
  }
  return keys;
}

async function serve(
  config: Config,
  options: ServerOptions,
  policies: PolicyRollout,
  keys: BrokerKeys,
  state: BrokerState,
): Promise<RunningServer> {
  const { log } = options;
  const parts = await connectParts(config, options, policies, keys, state);
  const { surface, gateways, feed, evidence, spiffe, messaging, onRefused, onFault } = parts;
  const { recorder } = state;
  const breakglass = connectBreakglass({ config, clock, recorder, records: state.records, onRefused, log });
  const people = await connectPeople({
    config,
    clock,
    recorder,
    log,
    signIns: state.signIns,
    note: noting(recorder, onFault),
  });
  const operatorSide = operatorRoutesOf(config, log, keys, state, policies, { ...parts, breakglass });
  const open = await publicApp(config, log, keys, state, { ...parts, breakglass }, people.remote(operatorSide));
  const operator = createApp({ log, behindProxy: false, routes: [people.local(operatorSide)] });
  await recorder.append([{ kind: "broker.started", data: { version, policy: parts.policy().version } }]);
  const adminSocket = join(config.dataDir, "admin.sock");
  await listenOnSocket(operator, adminSocket);
  const { host, port } = config.listen;
  await listenAt({ setting: "listen.address", host, port }, () => open.listen({ host, port }));
  const grpc = await listenGrpc(
    config,
    {
      ...gateways.grpc,
      ...feed.discovery.grpc,
      ...evidence.accessLog,
      ...secretMethods({ config, clock, spiffe, log, onRefused }),
    },
    { isServing: () => state.health.problems().length === 0, onFault },
  );
  await messaging.listen();
  const proxies = await listenProxies(config, {
    ...{ clock, table: state.table, note: noting(recorder, onFault) },
    ...parts,
  });
  const stopTimers = startTimers({ ...parts, keys, policies, recorder, log });
  return {
    url: addressOf(open, config),
    ...(grpc === undefined ? {} : { grpcPort: grpc.port }),
    proxyPorts: proxies.ports,
    adminSocket,
    ...(people.bootstrapFile === undefined ? {} : { bootstrapFile: people.bootstrapFile }),
    status: parts.status,
    reloadPolicy: surface.operator.reload,
    async close() {
      stopTimers();
      feed.close();
      await proxies.close(); // while everything that its open requests need is still there
      await Promise.all([grpc?.close(), stopListening(open), stopListening(operator)]);
      await messaging.close();
      await spiffe.close();
      await recorder.append([{ kind: "broker.stopped", data: {} }]);
      await state.close();
    },
  };
}

function operatorRoutesOf(
  config: Config,
  log: Logger,
  keys: BrokerKeys,
  { table, records }: BrokerState,
  policies: PolicyRollout,
  parts: Awaited<ReturnType<typeof connectParts>> & { readonly breakglass: BreakglassServices },
): readonly FastifyPluginAsync[] {
  const { surface, sessions, messaging, evidence } = parts;
  const rollout = policyOperation({ rollout: policies, table, records, facts: sessions.facts, messaging, log });
  return [
    operatorRoutes(surface.operator),
    policyRoutes(rollout),
    keyRoutes(keyOperation(keys, config, clock)),
    gatewayListRoutes({ gateways: () => gatewaysResponse(parts) }),
    verifyRoutes(evidence.verify),
    projectIdRoutes(surface.projectId),
    ...messaging.operatorRoutes,
  ];
}

/** Everything between the listeners and what is on disk. */
async function connectParts(
  config: Config,
  { log, timings: scaled }: ServerOptions,
  policies: PolicyRollout,
  keys: BrokerKeys,
  state: BrokerState,
) {
  const timings = timingsOf(config, scaled);
  const { table, recorder, records } = state;
  const policy = () => policies.current().policy;
  const { issuers, verifier } = connectIssuers(config, clock, (issuer, id) => table.pathOf(issuer, id));
  const shared = { config, clock, timings, recorder, records, table, keys, issuers, policies, policy, log };
  const onFault = (error: unknown) => log.error({ err: error }, "something failed, and was refused as an outage");
  const note = noting(recorder, onFault);
  const onRefused = refusing(log, clock, note);
  const causeOf = connectCauses({ recorder, causes: state.causes, issuers });
  const sessions = connectSessions({ ...shared, verify: verifier.verify, causeOf });
  const feed = connectGatewayFeed({ ...shared, ...policyForGateways(policy), onFault });
  const gateways = connectGateways({ ...shared, onAsked: feed.reports.asked, onRefused, onFault });
  const status = () => brokerStatus({ config, policies, issuers, table, version });
  const nonces = createProofNonces(randomBytes(32));
  const surface = connectSurface({
    ...shared,
    sessions,
    status,
    limits: gateways.limits,
    publish: (...said) => messaging.publish(...said),
    proofs: createProofVerifier({ nonces }),
    runner: async (svid) => (await spiffe.verifyRunnerSvid(svid)).spiffeId,
  });
  const evidence = connectEvidence({ ...shared, aliveAt: feed.reports.aliveAt, onRefused });
  const spiffe = await connectSpiffe({
    ...shared,
    jwtKeys: keys.jwtSvid,
    caller: surface.session,
    roles: (identity, facts, now) => policy().standings(identity, facts, now),
    targets: () => policy().targets.keys(),
    onRefused,
    onFault,
  });
  const messaging = connectMessaging({
    ...shared,
    natsKeys: keys.nats,
    causes: state.causes,
    sessions,
    limits: gateways.limits,
    caller: surface.session,
    note,
    onAsked: feed.reports.asked,
    onUnauthenticated: onRefused,
    onFault,
  });
  const introspection = connectIntrospection({ ...shared, note, onUnauthenticated: onRefused });
  return {
    introspection,
    proofNonce: () => nonces.current(clock.now()),
    timings,
    policy,
    sessions,
    feed,
    gateways,
    status,
    surface,
    evidence,
    spiffe,
    messaging,
    onRefused,
    onFault,
  };
}

type Parts = Awaited<ReturnType<typeof connectParts>> & { readonly breakglass: BreakglassServices };

async function gatewaysResponse({ policy, feed, breakglass }: Pick<Parts, "policy" | "feed" | "breakglass">) {
  return { policy: policy().version, gateways: feed.reports.list(), breakglass: await breakglass.inForce() };
}

function policyForGateways(policy: () => Policy) {
  return {
    policy: () => policy().version,
    kept: (gateway: GatewayConfig) => keptAt(gateway, policy().targets),
  };
}

function timingsOf({ sessions }: Config, scaled: Partial<SessionTimings> = {}): SessionTimings {
  return { ...defaultTimings, maxSessionMs: sessions.maxMs, tokenTtlMs: sessions.tokenTtlMs, ...scaled };
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
  keys: BrokerKeys,
  state: BrokerState,
  { surface, gateways, feed, evidence, introspection, breakglass, spiffe, messaging, proofNonce }: Parts,
  operatorSide: FastifyPluginAsync,
): Promise<FastifyInstance> {
  const clientScript = await readFile(new URL("../packaging/client/wayleave.sh", import.meta.url), "utf8");
  const { accessToken, assertion, jwtSvid, windows } = keys;
  const { problems, warnings } = state.health;
  return createApp({
    log,
    behindProxy: config.listen.behindTlsProxy,
    ...(config.listen.tls === undefined ? {} : { tls: config.listen.tls }),
    first: authzHandler(gateways.dialects),
    proofNonce,
    routes: [
      tokenRoutes(surface.token),
      introspectionRoutes(introspection),
      sessionRoutes(surface.session),
      hookRoutes(surface.hooks),
      svidRoutes(spiffe.routes),
      ...messaging.routes,
      gatewayDiscoveryRoutes(feed),
      evaluationRoutes(gateways.evaluation),
      gatewayLogRoutes(evidence.gatewayLog),
      breakglassRoutes(breakglass.routes),
      discoveryRoutes({
        issuerUrl: config.issuer,
        accessTokenJwks: accessToken.jwks,
        assertionJwks: assertion.jwks,
        jwtSvidJwks: jwtSvid.jwks,
        maxAgeSeconds: windows["access-token"].maxAgeMs / 1000,
      }),
      operatorSide,
      clientRoutes(clientScript),
      healthRoutes({ problems, warnings: () => [...warnings(), ...spiffe.warnings()] }),
    ],
  });
}

const { version } = packageJson;

function addressOf(app: FastifyInstance, config: Config): string {
  const address = app.server.address();
  const port = typeof address === "object" && address !== null ? address.port : config.listen.port;
  const host = config.listen.host.includes(":") ? `[${config.listen.host}]` : config.listen.host;
  return `${config.listen.tls === undefined ? "http" : "https"}://${host}:${port}`;
}
