import { setTimeout as pause } from "node:timers/promises";
import {
  type ConnectionOptions,
  connect,
  jwtAuthenticator,
  type NatsConnection,
  nkeyAuthenticator,
} from "@nats-io/transport-node";
import type { NatsGatewayConfig } from "../config/config.ts";
import type { Clock } from "../core/clock.ts";
import { WayleaveError } from "../core/errors.ts";
import { encodeNatsJwt } from "../credential/nats-jwt.ts";
import type { NatsKeys } from "../credential/nats-keys.ts";
import type { Nkey } from "../credential/nats-nkey.ts";
import type { Callout } from "../gateway/nats/callout.ts";
import {
  type CalloutCounts,
  type CalloutHealth,
  type CalloutResponder,
  calloutConnectionOptions,
  startCalloutResponder,
} from "../gateway/nats/callout-responder.ts";
import { authAccountName, systemAccountName } from "../gateway/nats/settings.ts";
import { createSystemAccount, type SystemAccount, type SystemAccountOptions } from "../gateway/nats/system-account.ts";

/** The broker's own two connections to the nats-servers behind one gateway. Both are tried for ever. */
export interface NatsServers {
  /** While there is no connection: `kick` says false, `totals` nothing, nobody is announced, and the rest rejects `nats_unavailable`. */
  readonly system: SystemAccount;
  health(): NatsServersHealth;
  /** Resolves when this broker answers the callout, and at the latest after so many ms. */
  answering(timeoutMs: number): Promise<void>;
  close(): Promise<void>;
}

/** Times are ms since the epoch. */
export interface NatsServersHealth {
  readonly callout: CalloutHealth;
  readonly counts: CalloutCounts | undefined;
  /** Whether connections can be closed at the server, and its totals heard. */
  readonly system: { readonly connected: boolean; readonly since: number };
}

export interface NatsServersOptions {
  readonly gateway: NatsGatewayConfig;
  readonly keys: NatsKeys;
  readonly clock: Clock;
  readonly callout: Callout;
  readonly onStranger: SystemAccountOptions["onStranger"];
  readonly onRefused: SystemAccountOptions["onRefused"];
  /** The system account came to the servers, or came back: they may be others than before. */
  onConnected(): void;
  onFault(error: unknown): void;
}

/** How often it is looked whether the callout is answered, while somebody waits for that. */
const lookMs = 50;

/** Begins to connect and returns at once: a broker starts before its nats-servers, and outlives them. */
export function connectNatsServers(options: NatsServersOptions): NatsServers {
  const { gateway, keys, clock, onFault } = options;
  const own = gateway.authentication === "operator" ? keys : undefined;
  const ownAccounts =
    own === undefined
      ? [authAccountName, systemAccountName]
      : [own.auth.account.publicKey, own.system.account.publicKey];
  const auth = holdConnection(options, {
    account: keys.auth.account,
    user: keys.auth.service,
    name: "wayleave-callout",
  });
  const sys = holdConnection(options, {
    account: keys.system.account,
    user: keys.system.user,
    name: "wayleave-system",
  });
  let responder: CalloutResponder | undefined;
  let system: SystemAccount | undefined;
  const startedAt = clock.now();

  auth.first
    .then((connection) => {
      if (connection === undefined) return;
      responder = startCalloutResponder({ connection, callout: options.callout, now: clock.now, onFault });
    })
    .catch(onFault);
  sys.first
    .then((connection) => {
      if (connection === undefined) return;
      system = createSystemAccount({
        connection,
        now: clock.monotonic,
        ownAccounts,
        onStranger: options.onStranger,
        onRefused: options.onRefused,
        onFault,
      });
      sys.onUp(options.onConnected);
      options.onConnected();
    })
    .catch(onFault);

  return {
    system: {
      announce: (serverId, cid) => system?.announce(serverId, cid),
      servers: async () => connected(system, gateway).servers(),
      push: async (jwt) => connected(system, gateway).push(jwt),
      lookUp: async (key) => connected(system, gateway).lookUp(key),
      kick: async (serverId, cid) => (await system?.kick(serverId, cid)) ?? false,
      totals: async (serverId, cid, timeoutMs) => system?.totals(serverId, cid, timeoutMs),
      close: () => system?.close(),
    },
    health: () => ({
      callout: responder?.health() ?? { answering: false, since: startedAt, why: "nats-server was never reached" },
      counts: responder?.counts(),
      system: sys.state(),
    }),
    async answering(timeoutMs) {
      const until = clock.monotonic() + timeoutMs;
      while (responder?.health().answering !== true && clock.monotonic() < until) await pause(lookMs);
    },
    async close() {
      await responder?.stop();
      system?.close();
      await Promise.all([auth.close(), sys.close()]);
    },
  };
}

function connected(system: SystemAccount | undefined, { name }: NatsGatewayConfig): SystemAccount {
  if (system !== undefined) return system;
  throw new WayleaveError(
    "nats_unavailable",
    `The nats-servers behind gateway ${name} were not reached yet; see \`wayleave doctor\`.`,
  );
}

interface HeldConnection {
  /** Resolves once it is there; undefined where it was closed before. Never rejects. */
  readonly first: Promise<NatsConnection | undefined>;
  state(): { readonly connected: boolean; readonly since: number };
  /** Called each time it is back. */
  onUp(listener: () => void): void;
  close(): Promise<void>;
}

/** How long until the next attempt where nats.js itself gave up, such as for a server that refuses these keys. */
const againMs = 1_000;

function holdConnection({ gateway, clock, onFault }: NatsServersOptions, as: OwnUser): HeldConnection {
  let state = { connected: false, since: clock.now() };
  let closing = false;
  let current: NatsConnection | undefined;
  let wake: () => void = () => undefined;
  const ups: (() => void)[] = [];
  const turn = (connected: boolean) => {
    if (state.connected !== connected) state = { connected, since: clock.now() };
  };

  const reach = async (): Promise<NatsConnection | undefined> => {
    while (!closing) {
      try {
        // Not nats.js's own waiting for the first connection: that one could not be stopped.
        const connection = await connectAs(gateway, as);
        if (closing) {
          await connection.close();
          return undefined;
        }
        return connection;
      } catch {
        // Reported by `state`: a server that is not there yet is no fault.
        await new Promise<void>((resolve) => {
          const timer = setTimeout(resolve, againMs);
          wake = () => {
            clearTimeout(timer);
            resolve();
          };
        });
      }
    }
    return undefined;
  };
  const follow = async (connection: NatsConnection) => {
    for await (const { type } of connection.status()) {
      if (type === "disconnect" || type === "staleConnection") turn(false);
      if (type !== "reconnect") continue;
      turn(true);
      for (const listener of ups) listener();
    }
  };
  const first = reach().then((connection) => {
    if (connection === undefined) return undefined;
    current = connection;
    turn(true);
    follow(connection).catch(onFault);
    void connection.closed().then(() => turn(false));
    return connection;
  });
  return {
    first,
    state: () => state,
    onUp: (listener) => void ups.push(listener),
    async close() {
      closing = true;
      wake();
      await first;
      await current?.close();
    },
  };
}

/** One connection as one of the broker's own users, tried for as long as nats.js does. */
export function connectAs(gateway: NatsGatewayConfig, as: OwnUser): Promise<NatsConnection> {
  return connect({ ...connectionOptions(gateway, as), waitOnFirstConnect: false });
}

/** A user of the broker: its account signs for it. */
export interface OwnUser {
  readonly account: Nkey;
  readonly user: Nkey;
  readonly name: string;
}

const unlimited = { subs: -1, data: -1, payload: -1, pub: { allow: [">"] }, sub: { allow: [">"] } };

function connectionOptions(
  { servers, serverCa, authentication }: NatsGatewayConfig,
  { account, user, name }: OwnUser,
): ConnectionOptions {
  const seed = new TextEncoder().encode(user.seed);
  const tls = servers.some((server) => server.tls);
  // The broker's own users are everything within their accounts, and jobs are never in those.
  const jwt = () =>
    encodeNatsJwt({ sub: user.publicKey, name, nats: { type: "user", ...unlimited } }, account, Date.now());
  return {
    ...calloutConnectionOptions,
    name,
    servers: servers.map(({ host, port }) => `${host.includes(":") ? `[${host}]` : host}:${port}`),
    authenticator: authentication === "operator" ? jwtAuthenticator(jwt, seed) : nkeyAuthenticator(seed),
    ...(tls ? { tls: serverCa === undefined ? {} : { ca: serverCa } } : {}),
  };
}
