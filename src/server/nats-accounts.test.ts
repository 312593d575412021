import { expect, test } from "vitest";
import type { NatsGatewayConfig } from "../config/config.ts";
import type { NatsKeys } from "../credential/nats-keys.ts";
import { type AccountGateway, createAccountConnections } from "./nats-accounts.ts";

/** A gateway whose servers never get to know an account: what is asked of it is seen, and nothing is connected. */
function gatewayOf(name: string, more: Partial<NatsGatewayConfig> = {}) {
  const asked: string[] = [];
  const config = { name, targets: [name], authentication: "operator", direct: false, ...more } as NatsGatewayConfig;
  const gateway: AccountGateway = {
    config,
    broker: {
      ensure(account) {
        asked.push(account);
        return Promise.reject(new Error(`${name} has no ${account}`));
      },
    },
  };
  return { gateway, asked };
}

function connectionsOf(...gateways: readonly AccountGateway[]) {
  return createAccountConnections({ gateways, natsKeys: {} as NatsKeys, own: () => undefined });
}

test("an account of one name at two gateways' servers is two accounts", async () => {
  const [one, other] = [gatewayOf("one"), gatewayOf("other")];
  const connections = connectionsOf(one.gateway, other.gateway);
  const [first, second] = await Promise.allSettled([connections.get("one", "CI"), connections.get("other", "CI")]);
  expect(first).toMatchObject({ reason: { message: "one has no CI" } });
  expect(second).toMatchObject({ reason: { message: "other has no CI" } });
});

test("whoever asks while it is being opened waits for the same one; a failure is tried anew", async () => {
  const { gateway, asked } = gatewayOf("one", { targets: ["events", "more"] });
  const connections = connectionsOf(gateway);
  await Promise.allSettled([connections.get("events", "CI"), connections.get("more", "CI")]);
  expect(asked).toEqual(["CI"]);
  await expect(connections.get("events", "CI")).rejects.toThrow("one has no CI");
  expect(asked).toEqual(["CI", "CI"]);
});

test.each<{ what: string; more: Partial<NatsGatewayConfig>; says: RegExp }>([
  { what: "no gateway fronts", more: { targets: ["other"] }, says: /no NATS gateway fronts it/ },
  { what: "only a direct gateway fronts", more: { direct: true }, says: /direct, or in config mode/ },
  { what: "only config mode knows", more: { authentication: "config" }, says: /direct, or in config mode/ },
])("a target that $what is refused, and nobody is asked", async ({ more, says }) => {
  const { gateway, asked } = gatewayOf("one", more);
  await expect(connectionsOf(gateway).get("one", "CI")).rejects.toMatchObject({
    code: "config_invalid",
    message: expect.stringMatching(says),
  });
  expect(asked).toEqual([]);
});
