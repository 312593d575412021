import { dirname } from "node:path";
import { parseAddress } from "./address.ts";
import type { Config, FederationConfig, IssuerConfig, ListenConfig, SpiffeConfig, WebhookConfig } from "./config.ts";
import type { Diagnostic } from "./diagnostic.ts";
import type { ConfigDocument, KeyPath } from "./document.ts";
import { parseDuration } from "./duration.ts";
import { resolvePeople } from "./people.ts";
import { Reader, type Surroundings } from "./reader.ts";
import { resolveGateway } from "./resolve-gateway.ts";
import type { ConfigFile } from "./schema.ts";
import { boundsOf } from "./source-bounds.ts";
import { resolveStore } from "./store.ts";

/** Fills defaults, reads secrets and files, and turns snake_case into camelCase: the only place that does. */
export function resolveConfig(
  raw: ConfigFile,
  path: string,
  document: ConfigDocument,
  around: Surroundings,
): { readonly config: Config; readonly problems: readonly Diagnostic[] } {
  const read = new Reader(dirname(path), document, around);
  const listen = resolveListen(raw.listen, read);
  const { policyPath, policySources } = resolvePolicy(raw.policy, path, read);
  const config: Config = {
    file: path,
    issuer: raw.issuer,
    trustDomain: raw.trust_domain,
    listen,
    dataDir: read.absolute(raw.data ?? "./data"),
    policyPath,
    ...(policySources === undefined ? {} : { policySources }),
    keys: resolveKeys(raw, read),
    sessions: resolveSessions(raw.sessions),
    issuers: raw.issuers.map((issuer, at) => resolveIssuer(issuer, raw.issuer, ["issuers", at], read)),
    gateways: (raw.gateways ?? []).map((gateway, at) => resolveGateway(gateway, listen, ["gateways", at], read)),
    spiffe: resolveSpiffe(raw.spiffe, read),
    ...(raw.people === undefined ? {} : { people: resolvePeople(raw.people, read) }),
    ...(raw.store === undefined ? {} : { store: resolveStore(raw.store, read) }),
    durable: raw.durable ?? "within_50ms",
    approvers: (raw.breakglass?.approvers ?? []).map(({ name, public_key }) => ({ name, publicKey: public_key })),
    log: { level: raw.log?.level ?? "info" },
  };
  return { config, problems: read.problems };
}

/** A source need not be there yet: its last good version may be. */
function resolvePolicy(
  policy: ConfigFile["policy"],
  file: string,
  read: Reader,
): Pick<Config, "policyPath" | "policySources"> {
  if (typeof policy === "object") {
    const policySources = policy.sources.map((source) => ({
      name: source.name,
      path: read.absolute(source.path),
      ...boundsOf(source),
    }));
    return { policyPath: file, policySources };
  }
  const policyPath = read.absolute(policy ?? "./policy");
  read.mustExist(policyPath, ["policy"]);
  return { policyPath };
}

function resolveKeys(raw: ConfigFile, read: Reader): Config["keys"] {
  const previous = encryptionKey(raw, "previous_encryption_key", read);
  return {
    encryptionKey: encryptionKey(raw, "encryption_key", read),
    ...(previous === "" ? {} : { previousEncryptionKey: previous }),
  };
}

function resolveSessions(raw: ConfigFile["sessions"]): Config["sessions"] {
  const { sessions_per_minute: sessionsPerMinute, tokens_per_minute: tokensPerMinute } = raw?.caps ?? {};
  const caps = {
    ...(sessionsPerMinute === undefined ? {} : { sessionsPerMinute }),
    ...(tokensPerMinute === undefined ? {} : { tokensPerMinute }),
  };
  return {
    maxMs: ms(raw?.max ?? "6h"),
    tokenTtlMs: ms(raw?.token_ttl ?? "5m"),
    ...(Object.keys(caps).length === 0 ? {} : { caps }),
  };
}

/** Empty where it is missing, which is said elsewhere. */
function encryptionKey(raw: ConfigFile, name: "encryption_key" | "previous_encryption_key", read: Reader): string {
  const key = read.secret(raw.keys, name, ["keys"]);
  if (key === undefined) return "";
  const strict = /^[A-Za-z0-9+/]{43}=$/.test(key);
  if (!strict) {
    const path: KeyPath = ["keys", raw.keys[`${name}_file`] === undefined ? name : `${name}_file`];
    read.problem(
      "invalid_value",
      "the encryption key is not 32 bytes in base64",
      path,
      "make one with `openssl rand -base64 32`",
    );
  }
  return key;
}

function resolveListen(listen: ConfigFile["listen"], read: Reader): ListenConfig {
  const tls = listen?.tls;
  return {
    ...parseAddress(listen?.address ?? "127.0.0.1:8700"),
    ...(listen?.grpc === undefined ? {} : { grpc: parseAddress(listen.grpc) }),
    behindTlsProxy: listen?.behind_tls_proxy ?? false,
    ...(tls === undefined
      ? {}
      : {
          tls: {
            cert: read.file(tls.cert_file, ["listen", "tls", "cert_file"]) ?? "",
            key: read.file(tls.key_file, ["listen", "tls", "key_file"]) ?? "",
          },
        }),
  };
}

function resolveIssuer(
  issuer: ConfigFile["issuers"][number],
  broker: string,
  path: KeyPath,
  read: Reader,
): IssuerConfig {
  const ca = issuer.ca_file === undefined ? undefined : read.file(issuer.ca_file, [...path, "ca_file"]);
  const jwks = issuer.jwks_file === undefined ? undefined : read.jwks(issuer.jwks_file, [...path, "jwks_file"]);
  return {
    name: issuer.name,
    type: issuer.type,
    ...(issuer.url === undefined ? {} : { url: issuer.url }),
    audience: issuer.audience ?? broker,
    ...(ca === undefined ? {} : { ca }),
    ...(jwks === undefined ? {} : { jwks }),
    ...(issuer.api === undefined
      ? {}
      : {
          api: {
            ...(issuer.api.url === undefined ? {} : { url: issuer.api.url }),
            token: read.secret(issuer.api, "token", [...path, "api"]) ?? "",
          },
        }),
    ...(issuer.start === undefined ? {} : { start: resolveStart(issuer.start, [...path, "start"], read) }),
    ...(issuer.oidc === undefined ? {} : { oidc: issuer.oidc }),
    ...(issuer.aws === undefined ? {} : { aws: issuer.aws }),
    ...(issuer.edition === "community" ? { edition: "community" } : {}),
    webhooks: (issuer.webhooks ?? []).map((hook, at) => resolveWebhook(hook, [...path, "webhooks", at], read)),
  };
}

type RawStart = NonNullable<ConfigFile["issuers"][number]["start"]>;

function resolveStart(start: RawStart, path: KeyPath, read: Reader): NonNullable<IssuerConfig["start"]> {
  const token = read.secret(start, "token", path);
  const projects = Object.entries(start.projects ?? {}).map(([project, holder]): [string, string] => [
    project,
    read.secret(holder, "token", [...path, "projects", project]) ?? "",
  ]);
  return { projects: Object.fromEntries(projects), ...(token === undefined ? {} : { token }) };
}

type RawWebhook = NonNullable<ConfigFile["issuers"][number]["webhooks"]>[number];

function resolveWebhook(hook: RawWebhook, path: KeyPath, read: Reader): WebhookConfig {
  const token = read.secret(hook, "token", path);
  const signingToken = read.secret(hook, "signing_token", path);
  return {
    name: hook.name,
    projects: hook.projects ?? [],
    groups: hook.groups ?? [],
    ...(hook.events === undefined ? {} : { events: hook.events }),
    ...(token === undefined ? {} : { token }),
    ...(signingToken === undefined ? {} : { signingToken }),
  };
}

function resolveSpiffe(spiffe: ConfigFile["spiffe"], read: Reader): SpiffeConfig {
  const ca = spiffe?.ca;
  return {
    svidTtlMs: ms(spiffe?.svid_ttl ?? "15m"),
    prefixes: spiffe?.prefixes ?? [],
    ...(ca === undefined
      ? {}
      : {
          ca: {
            cert: read.file(ca.cert_file, ["spiffe", "ca", "cert_file"]) ?? "",
            key: read.file(ca.key_file, ["spiffe", "ca", "key_file"]) ?? "",
          },
        }),
    federatesWith: (spiffe?.federates_with ?? []).map((other, at): FederationConfig => {
      const bundle =
        other.bundle_file === undefined
          ? undefined
          : read.file(other.bundle_file, ["spiffe", "federates_with", at, "bundle_file"]);
      return {
        trustDomain: other.trust_domain,
        profile: other.profile ?? "https_web",
        runners: other.runners ?? [],
        ...(other.bundle_url === undefined ? {} : { bundleUrl: other.bundle_url }),
        ...(other.endpoint_spiffe_id === undefined ? {} : { endpointSpiffeId: other.endpoint_spiffe_id }),
        ...(bundle === undefined ? {} : { bundle }),
      };
    }),
  };
}

/** For durations the schema has accepted. */
function ms(text: string): number {
  return parseDuration(text) ?? 0;
}
