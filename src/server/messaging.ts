import type { FastifyInstance } from "fastify";
import { emitRoutes, eventRoutes } from "../api/events.ts";
import type { HookRouteDeps } from "../api/hooks.ts";
import { natsRoutes } from "../api/nats.ts";
import { natsGatewayRoutes } from "../api/nats-gateway.ts";
import { natsOperatorRoutes } from "../api/nats-operator.ts";
import type { CallerDeps } from "../api/session-caller.ts";
import type { NatsKeys } from "../credential/nats-keys.ts";
import { connectEvents, type EventsDeps } from "./events.ts";
import { connectNats } from "./nats.ts";
import type { NatsDeps } from "./nats-broker.ts";

/** Everything about messages: NATS gateways, the events that start pipelines, and what the broker publishes itself. */
export interface Messaging {
  /** For jobs and gateways. */
  readonly routes: readonly Routes[];
  /** For operators. */
  readonly operatorRoutes: readonly Routes[];
  readonly publish: HookRouteDeps["publish"];
  /** Takes connections, and follows the events of the policy in force. */
  listen(): Promise<void>;
  /** Another policy is in force. */
  reconcile(): Promise<void>;
  close(): Promise<void>;
}

type Routes = (app: FastifyInstance) => Promise<void>;

export interface MessagingDeps extends Omit<NatsDeps, "natsKeys" | "policy">, Omit<EventsDeps, "connections"> {
  /** Absent where the inventory has no NATS gateway: then nothing of this exists. */
  readonly natsKeys: NatsKeys | undefined;
  /** How a job proves which session is its own. */
  readonly caller: CallerDeps;
  onUnauthenticated(detail: string): void;
}

const nothing: Messaging = {
  routes: [],
  operatorRoutes: [],
  publish: () => undefined,
  listen: async () => undefined,
  reconcile: async () => undefined,
  close: async () => undefined,
};

export function connectMessaging(deps: MessagingDeps): Messaging {
  const { natsKeys, caller } = deps;
  if (natsKeys === undefined) return nothing;
  const nats = connectNats({ ...deps, natsKeys });
  const events = connectEvents({ ...deps, connections: nats.connections });
  return {
    routes: [
      natsRoutes({ ...caller, natsCredential: nats.credential }),
      natsGatewayRoutes({ gateway: nats.desk, onUnauthenticated: deps.onUnauthenticated }),
      emitRoutes({ ...caller, emitter: events.emitter }),
    ],
    operatorRoutes: [natsOperatorRoutes(nats), eventRoutes(events.consumers)],
    publish: events.publish,
    async listen() {
      await nats.listen();
      await events.consumers.reconcile();
    },
    reconcile: events.consumers.reconcile,
    async close() {
      await events.close();
      await nats.close();
    },
  };
}
