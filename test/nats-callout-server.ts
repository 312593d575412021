import type { NatsAccountLimits } from "../src/credential/nats-claims.ts";
import { encodeNatsJwt } from "../src/credential/nats-jwt.ts";
import type { NatsKeys } from "../src/credential/nats-keys.ts";
import type { Nkey } from "../src/credential/nats-nkey.ts";

const open: NatsAccountLimits = {
  subs: -1,
  data: -1,
  payload: -1,
  imports: -1,
  exports: -1,
  wildcards: true,
  conn: -1,
  leaf: 0,
};
const nothing = { pub: { deny: [">"] }, sub: { deny: [">"] } };
export const unlimited = { subs: -1, data: -1, payload: -1 };

export function userJwt(account: Nkey, user: Nkey, more: object): string {
  return encodeNatsJwt(
    { sub: user.publicKey, name: "wayleave", nats: { type: "user", ...unlimited, ...more } },
    account,
    Date.now(),
  );
}

/** JWT of the account CI with its keys of this moment. */
export function jobsAccount(keys: NatsKeys): string {
  const account = keys.find("CI");
  if (account === undefined) throw new Error("no account");
  const signing_keys = account.signing.map(({ publicKey }) => publicKey);
  return accountJwt(keys, account.identity, "CI", { signing_keys });
}

function accountJwt(keys: NatsKeys, account: Nkey, name: string, more: object): string {
  return encodeNatsJwt(
    { sub: account.publicKey, name, nats: { type: "account", limits: open, ...more } },
    keys.operatorSigning,
    Date.now(),
  );
}

export function operatorConfig(keys: NatsKeys, jwtDirectory: string, sentinelProxied: boolean): string {
  const { operator, operatorSigning, system, auth, xkey, proxy } = keys;
  const operatorJwt = encodeNatsJwt(
    {
      sub: operator.publicKey,
      name: "wayleave",
      nats: { type: "operator", signing_keys: [operatorSigning.publicKey], system_account: system.account.publicKey },
    },
    operator,
    Date.now(),
  );
  const sentinel = userJwt(auth.account, auth.sentinel, {
    ...nothing,
    bearer_token: true,
    ...(sentinelProxied ? { proxy_required: true } : {}),
  });
  const authorization = { auth_users: [auth.service.publicKey], allowed_accounts: ["*"], xkey: xkey.publicKey };
  return `
operator: ${operatorJwt}
system_account: ${system.account.publicKey}
default_sentinel: ${sentinel}
authorization { timeout: 2 }
max_control_line: 16384
proxies { trusted: [ { key: ${proxy.publicKey} } ] }
resolver: { type: full, dir: "${jwtDirectory}", allow_delete: false, interval: "2m" }
resolver_preload: {
  ${system.account.publicKey}: ${accountJwt(keys, system.account, "SYS", {})}
  ${auth.account.publicKey}: ${accountJwt(keys, auth.account, "AUTH", { authorization })}
  ${keys.find("CI")?.publicKey}: ${jobsAccount(keys)}
}
`;
}

export function configConfig({ issuer, auth, system, xkey, proxy }: NatsKeys): string {
  const users = `${auth.service.publicKey}, ${system.user.publicKey}`;
  return `
accounts {
  AUTH: { users: [ { nkey: ${auth.service.publicKey} } ] }
  SYS: { users: [ { nkey: ${system.user.publicKey} } ] }
  CI: {}
}
system_account: SYS
max_control_line: 16384
proxies { trusted: [ { key: ${proxy.publicKey} } ] }
authorization {
  timeout: 2
  auth_callout { issuer: ${issuer.publicKey}, account: AUTH, auth_users: [ ${users} ], xkey: ${xkey.publicKey} }
}
`;
}
