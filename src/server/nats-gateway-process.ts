import { randomBytes } from "node:crypto";
import { isLoopback } from "../config/fields.ts";
import type { Clock } from "../core/clock.ts";
import { WayleaveError } from "../core/errors.ts";
import { createNatsGateway } from "../gateway/nats/gateway.ts";
import { listenAt } from "./listen.ts";
import { connectBroker, type RemoteBrokerOptions } from "./nats-standalone.ts";

export interface GatewayProcessOptions extends Omit<RemoteBrokerOptions, "clock"> {
  /** Where jobs connect; the broker's inventory says it where this is absent. */
  readonly listen?: { readonly host: string; readonly port: number };
  /** PEM texts. Absent: plain. */
  readonly tls?: { readonly cert: string; readonly key: string };
  /** The nats-servers behind; the broker's inventory says them where this is absent. */
  readonly servers?: readonly { readonly host: string; readonly port: number; readonly tls: boolean }[];
  /** Told of what failed and is nobody's refusal. Must not throw. */
  onFault(error: unknown): void;
}

/** A running NATS gateway of its own process. */
export interface GatewayProcess {
  readonly host: string;
  readonly port: number;
  /** Rejects when the broker refuses this gateway for good. */
  readonly followed: Promise<void>;
  /** Ends every connection, sends what waits to be recorded, and lets go of the broker. */
  close(): Promise<void>;
}

const clock: Clock = { now: () => Date.now(), monotonic: () => performance.now() };

/**
 * Connects to the broker, then listens: without a broker it does not start, and once the broker is away it refuses everything
 * within five seconds. It holds no key, journal or policy of its own. Rejects like `connectBroker`.
 */
export async function startGatewayProcess(options: GatewayProcessOptions): Promise<GatewayProcess> {
  const broker = await connectBroker({ ...options, clock });
  const { settings, authority, control, followed } = broker;
  const { serverCa } = settings;
  const { host, port } = options.listen ?? settings.listen;
  const gateway = createNatsGateway({
    name: options.name,
    authority,
    control,
    servers: (options.servers ?? settings.servers).map((server) =>
      server.tls
        ? { host: server.host, port: server.port, tls: serverCa === undefined ? {} : { ca: serverCa } }
        : { host: server.host, port: server.port },
    ),
    ...(options.tls === undefined ? {} : { tls: options.tls }),
    clock,
    random: (bytes) => randomBytes(bytes),
    log: { fault: options.onFault },
  });
  const close = async (): Promise<void> => {
    try {
      await gateway.close();
    } finally {
      await broker.close();
    }
  };
  try {
    refusePlain(host, options.tls !== undefined);
    const bound = await listenAt({ setting: "--listen", host, port }, () => gateway.listen(host, port));
    return { host, port: bound.port, followed, close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** Passwords and messages cross this socket. */
function refusePlain(host: string, tls: boolean): void {
  if (tls || isLoopback(host)) return;
  throw new WayleaveError(
    "config_invalid",
    `${host} can be reached from other machines without TLS; give a certificate, or listen on 127.0.0.1.`,
  );
}
