import { randomBytes } from "node:crypto";
import type { NatsConnection } from "@nats-io/transport-node";
import type { NatsGatewayConfig } from "../config/config.ts";
import { WayleaveError } from "../core/errors.ts";
import type { NatsKeys } from "../credential/nats-keys.ts";
import { createNkey } from "../credential/nats-nkey.ts";
import type { NatsBroker } from "./nats-broker.ts";
import { connectAs } from "./nats-servers.ts";

/** The broker's own connections in accounts where jobs work: for events and for what it publishes itself. */
export interface AccountConnections {
  /** One for each account at each gateway's servers. Rejects `nats_unavailable`, and `config_invalid` where no server can know the broker's user. */
  get(target: string, account: string): Promise<NatsConnection>;
  close(): Promise<void>;
}

export interface AccountGateway {
  readonly config: NatsGatewayConfig;
  readonly broker: Pick<NatsBroker, "ensure">;
}

export function createAccountConnections(deps: {
  readonly gateways: readonly AccountGateway[];
  readonly natsKeys: NatsKeys;
  /** Whoever hears of this user knows that it is the broker. */
  own(user: string): void;
}): AccountConnections {
  const held = new Map<string, Promise<NatsConnection>>();

  const open = async (gateway: AccountGateway, target: string, account: string): Promise<NatsConnection> => {
    await gateway.broker.ensure(account);
    const { identity } = await deps.natsKeys.account(account);
    const user = createNkey("user", (bytes) => randomBytes(bytes));
    deps.own(user.publicKey);
    try {
      return await connectAs(gateway.config, { account: identity, user, name: "wayleave" });
    } catch (cause) {
      throw new WayleaveError("nats_unavailable", `The nats-servers of target ${target} cannot be reached.`, { cause });
    }
  };

  return {
    async get(target, account) {
      const gateway = gatewayOf(deps.gateways, target);
      // Other servers have another account of that name.
      const key = JSON.stringify([gateway.config.name, account]);
      const known = held.get(key);
      if (known !== undefined) return known;
      const opening = open(gateway, target, account);
      held.set(key, opening);
      const forget = () => {
        if (held.get(key) === opening) held.delete(key);
      };
      opening.then((connection) => connection.closed().then(forget, forget), forget);
      return opening;
    },
    async close() {
      const all = [...held.values()];
      held.clear();
      await Promise.all(all.map((opening) => opening.then((connection) => connection.close()).catch(() => undefined)));
    },
  };
}

/** In config mode a server knows the users of its file and those the callout makes; in direct mode anybody may have published. */
function gatewayOf(gateways: readonly AccountGateway[], target: string): AccountGateway {
  const fronting = gateways.filter(({ config }) => config.targets.includes(target));
  const found = fronting.find(({ config }) => config.authentication === "operator" && !config.direct);
  if (found !== undefined) return found;
  const why = fronting.length === 0 ? "no NATS gateway fronts it" : "its gateway is direct, or in config mode";
  throw new WayleaveError(
    "config_invalid",
    `Events and emit need target ${target} behind a gateway with authentication: operator; ${why}.`,
  );
}
