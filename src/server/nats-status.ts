import type { NatsGatewayConfig } from "../config/config.ts";
import type { Clock } from "../core/clock.ts";
import type { NatsKeys } from "../credential/nats-keys.ts";
import { accountOf, namedAccounts } from "../gateway/nats/settings.ts";
import { type NatsStatus, type NatsStatusAccount, type NatsStatusServer, natsStatus } from "../gateway/nats/status.ts";
import type { PolicyModel } from "../policy/model.ts";
import type { NatsServers } from "./nats-servers.ts";

export interface NatsStatusDeps {
  readonly gateway: NatsGatewayConfig;
  readonly servers: NatsServers;
  readonly natsKeys: NatsKeys;
  readonly clock: Pick<Clock, "now">;
  model(): PolicyModel;
}

/** What is known of one gateway's servers at this moment; they are asked. Never rejects: what they do not answer is left out. */
export async function statusOfNats(deps: NatsStatusDeps): Promise<NatsStatus> {
  const { gateway, servers } = deps;
  const { callout, counts, system } = servers.health();
  const answering = system.connected ? await servers.system.servers().catch(() => undefined) : undefined;
  const told: readonly NatsStatusServer[] | undefined = answering?.map(({ id, name, version }) => ({
    id,
    name,
    version,
  }));
  return natsStatus({
    gateway: gateway.name,
    direct: gateway.direct,
    callout,
    counts,
    system,
    servers: told,
    accounts: await Promise.all(
      namedAccounts(gateway.targets, deps.model()).map((account) =>
        accountStatus(deps, account, answering !== undefined),
      ),
    ),
  });
}

async function accountStatus(
  { gateway, servers, natsKeys, model }: NatsStatusDeps,
  account: string,
  asks: boolean,
): Promise<NatsStatusAccount> {
  const targets = model().targets.filter(
    (target) => target.kind === "nats" && gateway.targets.includes(target.name) && accountOf(target) === account,
  );
  const fast = targets.every(({ settings }) => settings.records === "fast");
  const key = natsKeys.find(account)?.publicKey;
  const there =
    asks && gateway.authentication === "operator" && key !== undefined
      ? await servers.system.lookUp(key).catch(() => undefined)
      : undefined;
  return {
    account,
    targets: targets.map(({ name }) => name),
    records: fast ? "fast" : "durable",
    ...(there === undefined ? {} : { known: there.length > 0 && there.every((jwt) => jwt !== "") }),
  };
}
