import { randomBytes } from "node:crypto";
import type { NatsGatewayDesk } from "../api/nats-gateway.ts";
import type { NatsOperatorRouteDeps } from "../api/nats-operator.ts";
import type { NatsGatewayConfig } from "../config/config.ts";
import { WayleaveError } from "../core/errors.ts";
import { createNatsCreds } from "../credential/nats-creds.ts";
import { createNatsPasswords } from "../credential/nats-password.ts";
import { createGatewayGuard, secretHash } from "../gateway/gateway-guard.ts";
import { createNatsGateway, type NatsGateway } from "../gateway/nats/gateway.ts";
import type { RenderedNats } from "../gateway/nats/render.ts";
import type { NatsStatusResponse } from "../gateway/nats/status.ts";
import type { Session } from "../session/table.ts";
import { listenAt } from "./listen.ts";
import { type AccountConnections, createAccountConnections } from "./nats-accounts.ts";
import { mintNatsAdmin } from "./nats-admin.ts";
import {
  type NatsBroker,
  type NatsBrokerDeps,
  type NatsDeps,
  type NatsSecrets,
  openNatsBroker,
} from "./nats-broker.ts";
import { createNatsCredentials, type NatsCredential, type NatsCredentialRequest } from "./nats-credentials.ts";
import { createNatsDesk } from "./nats-desk.ts";
import { createNatsFeed, type PolicyTexts } from "./nats-feed.ts";
import { createNatsIntake } from "./nats-intake.ts";
import { closeLostConnections } from "./nats-lost.ts";
import { createOpenConnections, type OpenConnections } from "./nats-open.ts";
import { type NatsRenderRequest, renderNatsGateway } from "./nats-render.ts";
import { statusOfNats } from "./nats-status.ts";
import type { LoadedPolicy } from "./policy-source.ts";

/** Every NATS gateway of the inventory, those of this process and those that are processes of their own. */
export interface NatsServices {
  /** Takes connections, where this process is the gateway. */
  listen(): Promise<void>;
  /** A password or credentials file for a session. */
  credential(session: Session, asked: NatsCredentialRequest): Promise<NatsCredential>;
  /** For gateways that are processes of their own. */
  desk(name: string | undefined, secret: string | undefined): NatsGatewayDesk | undefined;
  /** What `wayleave render nats` writes. Throws `not_found` and `render_refused`. */
  render(gateway: string, request: NatsRenderRequest): Promise<RenderedNats>;
  /** The broker's own connections in jobs' accounts. */
  readonly connections: AccountConnections;
  status(): Promise<NatsStatusResponse>;
  /** A way into an account for an operator, past the gateway: to make streams, or to look. */
  admin: NatsOperatorRouteDeps["admin"];
  close(): Promise<void>;
}

/** How long a client waits for the callout to be there. */
const answeringMs = 5_000;

/** How often another policy is looked for: what it takes away, it takes away at once where it is asked. */
const policyLookMs = 200;

/** How often connections whose end nobody told are forgotten. */
const pruneMs = 60_000;

interface Running {
  readonly config: NatsGatewayConfig;
  readonly broker: NatsBroker;
  /** Absent where the gateway is a process of its own, or jobs connect to the servers themselves. */
  readonly gateway?: NatsGateway;
  readonly desk?: NatsGatewayDesk;
  url(): string;
  close(): Promise<void>;
}

/** Opens nothing that listens; the servers are tried at once, and for ever. */
export function connectNats(deps: NatsDeps): NatsServices {
  const { config, keys, natsKeys } = deps;
  const secrets = {
    passwords: createNatsPasswords(keys.root),
    creds: createNatsCreds(keys.root, (bytes) => randomBytes(bytes)),
  };
  const ports = new Map<string, number>();
  // Several gateways may have the same servers behind them: each system account hears of every connection there.
  const announce = (serverId: string, cid: number) => {
    for (const { broker } of running) broker.servers.system.announce(serverId, cid);
  };
  const open = createOpenConnections();
  const ownUsers = new Set<string>();
  const running: readonly Running[] = config.gateways.flatMap((gateway) =>
    gateway.kind === "nats" ? [start({ ...deps, announce, open, ownUsers }, gateway, secrets, ports)] : [],
  );
  const guard = createGatewayGuard(
    running.flatMap(({ config: { name, secret }, desk }) =>
      desk === undefined ? [] : [{ name, secretHashes: [secretHash(secret)], desk }],
    ),
  );
  const connections = createAccountConnections({
    gateways: running,
    natsKeys,
    own: (user) => void ownUsers.add(user),
  });
  const stopLooking = lookNowAndThen(running, open, deps.onFault);
  return {
    async listen() {
      for (const { config: at, gateway } of running) {
        if (gateway === undefined) continue;
        await closeLostConnections({ ...deps, gateway: at.name, now: deps.clock.now() });
        const { host, port: wanted } = at.listen;
        const where = { setting: `listen of gateway ${at.name},`, host, port: wanted };
        const { port } = await listenAt(where, () => gateway.listen(host, wanted));
        ports.set(at.name, port);
      }
    },
    credential: createNatsCredentials({
      ...deps,
      ...secrets,
      fingerprint: keys.fingerprint,
      gateways: running.map(({ config: { name, targets }, url }) => ({ name, targets, url })),
    }),
    desk: (name, secret) => guard(name, secret)?.desk,
    connections,
    async status() {
      const gateways = running.map(({ config: gateway, broker }) =>
        statusOfNats({ ...deps, gateway, servers: broker.servers, model: () => deps.policies.current().model }),
      );
      return { gateways: await Promise.all(gateways) };
    },
    async admin(name, request) {
      const { config: gateway, broker } = gatewayOf(running, name);
      const minted = await mintNatsAdmin({ ...deps, ensure: broker.ensure }, gateway, request);
      ownUsers.add(minted.key);
      return minted;
    },
    async render(name, request) {
      const found = gatewayOf(running, name);
      return renderNatsGateway({ config, keys: natsKeys, model: deps.policies.current().model }, found.config, request);
    },
    async close() {
      stopLooking();
      await connections.close();
      await Promise.all(running.map((each) => each.close()));
    },
  };
}

/** For another policy, and for connections whose end nobody told. Returns how to stop. */
function lookNowAndThen(running: readonly Running[], open: OpenConnections, onFault: NatsDeps["onFault"]): () => void {
  const policies = setInterval(() => {
    try {
      for (const { broker } of running) broker.authority.policyChanged();
    } catch (error) {
      onFault(error); // a listener's fault must not end the process
    }
  }, policyLookMs);
  const pruning = setInterval(() => {
    open.prune((id) => running.some(({ broker }) => broker.authority.admissionOf(id) !== undefined));
  }, pruneMs);
  policies.unref();
  pruning.unref();
  return () => {
    clearInterval(policies);
    clearInterval(pruning);
  };
}

function gatewayOf(running: readonly Running[], name: string): Running {
  const found = running.find((each) => each.config.name === name);
  if (found !== undefined) return found;
  const known = running.map((each) => each.config.name).join(", ");
  throw new WayleaveError(
    "not_found",
    `There is no NATS gateway ${JSON.stringify(name.slice(0, 60))}; there is: ${known}.`,
  );
}

function start(
  deps: NatsBrokerDeps,
  gateway: NatsGatewayConfig,
  secrets: NatsSecrets,
  ports: ReadonlyMap<string, number>,
): Running {
  const broker = openNatsBroker(deps, gateway, secrets);
  const { name, listen, tls, publicUrl } = gateway;
  const url = () => {
    const host = listen.host.includes(":") ? `[${listen.host}]` : listen.host;
    return publicUrl ?? `${tls === undefined ? "nats" : "tls"}://${host}:${ports.get(name) ?? listen.port}`;
  };
  if (gateway.standalone) return { config: gateway, broker, url, ...standalone(deps, gateway, broker) };
  if (gateway.direct) return { config: gateway, broker, url, close: broker.close };
  const own = createNatsGateway({
    name,
    authority: asked(deps, name, broker),
    control: broker.servers.system,
    servers: natsServers(gateway),
    ...(tls === undefined ? {} : { tls }),
    clock: deps.clock,
    random: (bytes) => randomBytes(bytes),
    log: { fault: deps.onFault },
  });
  return {
    config: gateway,
    broker,
    gateway: own,
    url,
    async close() {
      try {
        await own.close();
      } finally {
        await broker.close();
      }
    },
  };
}

/** What `wayleave gateway list` says it last heard. */
function asked({ onAsked }: NatsDeps, name: string, { authority, servers }: NatsBroker): NatsBroker["authority"] {
  return {
    ...authority,
    async admit(request) {
      onAsked(name);
      // Clients are back sooner than the callout after a restart of the servers, which would refuse them after two seconds.
      await servers.answering(answeringMs);
      return authority.admit(request);
    },
  };
}

function natsServers({ servers, serverCa }: Pick<NatsGatewayConfig, "servers" | "serverCa">) {
  return servers.map(({ host, port, tls }) =>
    tls ? { host, port, tls: serverCa === undefined ? {} : { ca: serverCa } } : { host, port },
  );
}

function candidateOf({ beside }: LoadedPolicy): Pick<PolicyTexts, "candidate"> {
  if (beside === undefined) return {};
  const { loaded, canary } = beside;
  return { candidate: { version: loaded.policy.version, ...loaded.texts, canary } };
}

/** Its process follows a feed of sessions and policy, and sends its records. */
function standalone(deps: NatsDeps, gateway: NatsGatewayConfig, broker: NatsBroker): Pick<Running, "desk" | "close"> {
  const { clock, table, policy, policies, config, records } = deps;
  const feed = createNatsFeed({
    gateway,
    clock,
    table,
    policy,
    texts: () => ({
      version: policy().version,
      ...policies.current().texts,
      ...candidateOf(policies.current()),
      issuers: config.issuers.map(({ name, type }) => ({ name, type })),
    }),
    every(ms, run) {
      const timer = setInterval(run, ms);
      return () => clearInterval(timer);
    },
  });
  const intake = createNatsIntake({
    gateway,
    append: broker.authority.append,
    admissionOf: broker.authority.admissionOf,
    query: records.query,
  });
  return {
    desk: createNatsDesk({
      gateway,
      authority: asked(deps, gateway.name, broker),
      feed,
      intake,
      control: broker.servers.system,
    }),
    async close() {
      feed.close();
      await broker.close();
    },
  };
}
