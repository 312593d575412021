import type { Config, NatsGatewayConfig } from "../config/config.ts";
import { encodeNatsJwt } from "../credential/nats-jwt.ts";
import type { NatsKeys } from "../credential/nats-keys.ts";
import { type RenderedNats, renderNats } from "../gateway/nats/render.ts";
import { natsTrust } from "../gateway/nats/render-jwts.ts";
import { namedAccounts } from "../gateway/nats/settings.ts";
import type { PolicyModel } from "../policy/model.ts";

/** What only the servers' machine knows. */
export interface NatsRenderRequest {
  /** Absolute, on the servers' machine. */
  readonly dataDirectory?: string;
  readonly certificate?: { readonly certFile: string; readonly keyFile: string };
  readonly fragments?: boolean;
}

/** A moment that never changes, so that the same keys give the same bytes. What is pushed is later than this. */
const issuedAt = Date.UTC(2026, 0, 1) / 1000;

/**
 * The servers' configuration for one gateway. Accounts that policy names outright get their keys here, durable first. Throws
 * `render_refused` and `key_unavailable`.
 */
export async function renderNatsGateway(
  { config, keys, model }: { readonly config: Config; readonly keys: NatsKeys; readonly model: PolicyModel },
  gateway: NatsGatewayConfig,
  { dataDirectory, certificate, fragments }: NatsRenderRequest,
): Promise<RenderedNats> {
  for (const name of namedAccounts(gateway.targets, model)) await keys.account(name);
  const sign = (key: { readonly seed: string } & Parameters<typeof encodeNatsJwt>[1]) => {
    return (claims: Parameters<typeof encodeNatsJwt>[0], at: number) => encodeNatsJwt(claims, key, at * 1000);
  };
  return renderNats({
    gateway: {
      name: gateway.name,
      targets: gateway.targets,
      servers: gateway.servers,
      authentication: gateway.authentication,
      direct: gateway.direct,
      ...(dataDirectory === undefined ? {} : { dataDirectory }),
      ...(certificate === undefined ? {} : { certificate }),
    },
    policy: model,
    trust: natsTrust({
      keys: publicKeys(config, keys),
      sign: {
        operator: sign(keys.operator),
        accounts: sign(keys.operatorSigning),
        auth: sign(keys.auth.account),
      },
      direct: gateway.direct,
      jetstream: {},
      issuedAt,
    }),
    frontedElsewhere: config.gateways.flatMap(({ kind, name, targets }) =>
      kind === "nats" && name !== gateway.name ? targets : [],
    ),
    ...(fragments === undefined ? {} : { fragments }),
  });
}

function publicKeys({ trustDomain }: Config, keys: NatsKeys): Parameters<typeof natsTrust>[0]["keys"] {
  const { operator, operatorSigning, system, auth, xkey, proxy, issuer } = keys;
  return {
    operator: { name: trustDomain, key: operator.publicKey, signingKeys: [operatorSigning.publicKey] },
    system: { key: system.account.publicKey, users: [system.user.publicKey] },
    auth: {
      key: auth.account.publicKey,
      users: [auth.service.publicKey],
      xkey: xkey.publicKey,
      sentinel: auth.sentinel.publicKey,
    },
    issuer: issuer.publicKey,
    proxies: [proxy.publicKey],
    account(name) {
      const account = keys.find(name);
      if (account === undefined) throw new TypeError(`account ${name} has no keys yet`);
      return { key: account.publicKey, signingKeys: account.signing.map((each) => each.publicKey) };
    },
  };
}
