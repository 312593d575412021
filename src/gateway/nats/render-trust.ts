import type { JetStreamLimits } from "./account-claims.ts";
import { type ConfEntry, type ConfMap, type ConfSetting, type ConfValue, entry, map } from "./server-conf.ts";
import { authAccountName, type CheckedSettings, systemAccountName } from "./settings.ts";

/** Seconds a client has to authenticate; the callout must answer within it. */
const authenticationSeconds = 2;

/**
 * What a job's own token may need in CONNECT where jobs connect to the servers themselves. Behind the gateway CONNECT carries a
 * short ticket, and nats-server's own bound of 4096 stays.
 */
const directControlLine = 16_384;

/** Top-level settings: whose word the server takes, whom it asks, and who may bring clients. */
export function renderTrust(settings: CheckedSettings): ConfEntry[] {
  const { direct, authentication, trust } = settings;
  return [
    ...(authentication === "operator" ? operatorTrust(settings) : configTrust(settings)),
    ...(trust.proxies.length === 0 ? [] : [entry("proxies", map(entry("trusted", trustedProxies(trust.proxies))))]),
    ...(direct ? [entry("max_control_line", directControlLine)] : []),
  ];
}

function operatorTrust({ trust, dataDirectory }: CheckedSettings): ConfEntry[] {
  const { jwts, system, auth } = trust;
  return [
    entry("operator", jwts.operator),
    entry("system_account", system.key),
    { comment: "Who every client is that brings no JWT of its own: may do nothing, and the callout places it." },
    entry("default_sentinel", jwts.sentinel),
    { comment: "Wayleave adds accounts while the server runs. Servers of a cluster copy them from each other." },
    entry(
      "resolver",
      map(
        entry("type", "full"),
        entry("dir", `${dataDirectory}/accounts`),
        entry("allow_delete", false),
        entry("interval", "2m"),
      ),
    ),
    entry("resolver_preload", map(...byKey([entry(system.key, jwts.system), entry(auth.key, jwts.auth)]))),
    entry("authorization", map(entry("timeout", authenticationSeconds))),
  ];
}

function configTrust({ trust }: CheckedSettings): ConfEntry[] {
  const { auth, system, issuer } = trust;
  return [
    entry("system_account", systemAccountName),
    entry(
      "authorization",
      map(
        entry("timeout", authenticationSeconds),
        entry(
          "auth_callout",
          map(
            entry("issuer", issuer),
            entry("account", authAccountName),
            { comment: "The only ones it is not asked about: the broker itself." },
            entry("auth_users", [...new Set([...auth.users, ...system.users])].toSorted()),
            entry("xkey", auth.xkey),
          ),
        ),
      ),
    ),
  ];
}

/** What stands within `accounts` in config mode. */
export function renderAccounts({ trust, accounts, jetstream }: CheckedSettings): ConfEntry[] {
  return [
    entry(authAccountName, map(entry("users", nkeyUsers(trust.auth.users)))),
    entry(systemAccountName, map(entry("users", nkeyUsers(trust.system.users)))),
    { comment: "Every user of a job's account says what it may do; one that says nothing may do nothing." },
    ...accounts.map((name) =>
      entry(
        name,
        map(
          entry(
            "default_permissions",
            map(entry("publish", map(entry("deny", [">"]))), entry("subscribe", map(entry("deny", [">"])))),
          ),
          ...(jetstream === false ? [] : [entry("jetstream", jetstreamOf(jetstream))]),
        ),
      ),
    ),
  ];
}

function jetstreamOf({ fileBytes, memoryBytes }: JetStreamLimits): ConfValue {
  if (fileBytes === undefined && memoryBytes === undefined) return "enabled";
  return map(entry("max_file", fileBytes ?? -1), entry("max_mem", memoryBytes ?? -1));
}

function nkeyUsers(keys: readonly string[]): ConfMap[] {
  return [...new Set(keys)].toSorted().map((key) => map(entry("nkey", key)));
}

function trustedProxies(keys: readonly string[]): ConfMap[] {
  return [...new Set(keys)].toSorted().map((key) => map(entry("key", key)));
}

function byKey(entries: readonly ConfSetting[]): ConfEntry[] {
  return entries.toSorted((a, b) => (a.key < b.key ? -1 : 1));
}
