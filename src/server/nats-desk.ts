import type { NatsGatewayDesk, NatsGatewaySettings } from "../api/nats-gateway.ts";
import { natsGatewayProtocol } from "../api/nats-gateway.ts";
import { WayleaveError } from "../core/errors.ts";
import type { ServerControl } from "../gateway/nats/ports.ts";
import type { BrokerNatsAuthority } from "./nats-authority.ts";
import type { NatsFeed } from "./nats-feed.ts";
import type { NatsIntake } from "./nats-intake.ts";

/** What the broker gives a gateway of its own process: its authority, the feed, the way of its records, and the servers. */
export function createNatsDesk(deps: {
  readonly gateway: { readonly name: string } & Omit<NatsGatewaySettings, "protocol">;
  readonly authority: BrokerNatsAuthority;
  readonly feed: Pick<NatsFeed, "follow">;
  readonly intake: NatsIntake;
  readonly control: ServerControl;
}): NatsGatewayDesk {
  const { authority, control, gateway } = deps;
  const { listen, servers, serverCa } = gateway;
  return {
    settings: () => ({
      protocol: natsGatewayProtocol,
      listen,
      servers,
      ...(serverCa === undefined ? {} : { serverCa }),
    }),
    admit: (request) => authority.admit({ ...request, gateway: gateway.name }),
    async attach(connection, upstream) {
      const admission = authority.admissionOf(connection);
      if (admission === undefined) {
        throw new WayleaveError("credential_invalid", "this connection was not admitted here; connect again");
      }
      return authority.attach(admission, upstream);
    },
    take: deps.intake.take,
    follow: deps.feed.follow,
    kick: control.kick,
    totals: control.totals,
  };
}
