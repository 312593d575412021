import { issuerTypes } from "../core/identity.ts";
import type { Diagnostic, Place } from "./diagnostic.ts";
import type { ConfigDocument, KeyPath } from "./document.ts";
import { parseDuration } from "./duration.ts";
import { isLoopback } from "./fields.ts";
import { typeProblems } from "./issuer-types.ts";
import { peopleChecks } from "./people-checks.ts";
import { keyName } from "./problems.ts";
import { proxyChecks } from "./proxy-checks.ts";

/**
 * The rules that span several keys. They run on whatever was written, also where the schema found problems, so that
 * one reading of the file reports everything.
 */
export function crossChecks(document: ConfigDocument): readonly Diagnostic[] {
  const root = asMap(document.value);
  const issuers = asList(root.issuers);
  const gateways = asList(root.gateways);
  return [
    ...secretPair(document, ["keys"], "encryption_key", true),
    ...secretPair(document, ["keys"], "previous_encryption_key", false),
    ...listenCheck(document, asMap(root.listen)),
    ...duplicateNames(document, ["issuers"], issuers),
    ...duplicateNames(document, ["gateways"], gateways),
    ...duplicateNames(document, ["policy", "sources"], asList(asMap(root.policy).sources)),
    ...gateways.flatMap((gateway, at) => gatewayChecks(document, ["gateways", at], gateway, gateways, root)),
    ...spiffeChecks(document, asMap(root.spiffe), root.trust_domain),
    ...secretPair(document, ["store", "postgres"], "password", false),
    ...issuers.flatMap((issuer, at) => issuerChecks(document, ["issuers", at], issuer)),
    ...peopleChecks(document, asMap(root.people), root),
  ];
}

function issuerChecks(document: ConfigDocument, path: KeyPath, issuer: Loose): readonly Diagnostic[] {
  const hooks = asList(issuer.webhooks);
  return [
    ...misleadingName(document, path, issuer),
    ...typeChecks(document, path, issuer),
    ...(issuer.api === undefined ? [] : secretPair(document, [...path, "api"], "token", true)),
    ...startChecks(document, [...path, "start"], issuer),
    ...duplicateNames(document, [...path, "webhooks"], hooks),
    ...hooks.flatMap((hook, at) => webhookChecks(document, [...path, "webhooks", at], hook)),
  ];
}

function typeChecks(document: ConfigDocument, path: KeyPath, issuer: Loose): readonly Diagnostic[] {
  return typeProblems(issuer).map(({ code, key, message, help }) => {
    const place = key === undefined ? document.valueAt(path) : document.keyAt([...path, key]);
    return error(code, `${keyName(path)} ${message}`, place, help);
  });
}

/** GitLab has a trigger token for each project, Buildkite one API token. */
function startChecks(document: ConfigDocument, path: KeyPath, { start, type }: Loose): readonly Diagnostic[] {
  if (start === undefined) return [];
  const { projects } = asMap(start);
  if (type === "github" || type === "oidc" || type === "aws") return []; // said by its type already
  if (type === "buildkite") return secretPair(document, path, "token", true);
  const found = Object.keys(asMap(projects)).flatMap((project) =>
    secretPair(document, [...path, "projects", project], "token", true),
  );
  const alone = secretKeys("token").find((key) => asMap(start)[key] !== undefined);
  if (alone === undefined) return found;
  const help = "write projects: { acme/deploy: { token_file: … } }: a trigger token is good for one project";
  return [
    ...found,
    error("start_token_misplaced", `${keyName(path)} is of GitLab`, document.keyAt([...path, alone]), help),
  ];
}

/** Of other trust domains one bundle each is known, and a prefix says nothing of a domain it does not lie in. */
function spiffeChecks(document: ConfigDocument, spiffe: Loose, trustDomain: unknown): readonly Diagnostic[] {
  const found = outsideDomain(document, ["spiffe", "prefixes"], spiffe.prefixes, trustDomain);
  const seen = new Set<unknown>();
  for (const [at, other] of asList(spiffe.federates_with).entries()) {
    const path: KeyPath = ["spiffe", "federates_with", at];
    found.push(...outsideDomain(document, [...path, "runners"], other.runners, other.trust_domain));
    if (seen.has(other.trust_domain)) {
      const place = document.valueAt([...path, "trust_domain"]);
      found.push(error("duplicate_name", `${String(other.trust_domain)} is listed twice`, place, "keep one of them"));
    }
    seen.add(other.trust_domain);
    if (
      other.profile === "https_spiffe" &&
      (other.endpoint_spiffe_id === undefined || other.bundle_file === undefined)
    ) {
      const help = "add `endpoint_spiffe_id` and a `bundle_file` to believe the first time";
      found.push(error("missing_key", `${keyName(path)} cannot know its endpoint`, document.valueAt(path), help));
    }
  }
  return found;
}

function outsideDomain(document: ConfigDocument, path: KeyPath, prefixes: unknown, trustDomain: unknown): Diagnostic[] {
  return asItems(prefixes).flatMap((prefix, at) => {
    const text = String(prefix);
    if (typeof trustDomain !== "string" || text.startsWith(`spiffe://${trustDomain}/`)) return [];
    const help = `write spiffe://${trustDomain}/… with a path`;
    return [error("outside_trust_domain", `${text} is not in ${trustDomain}`, document.valueAt([...path, at]), help)];
  });
}

function gatewayChecks(
  document: ConfigDocument,
  path: KeyPath,
  gateway: Loose,
  gateways: readonly Loose[],
  root: Loose,
): readonly Diagnostic[] {
  const found = [
    ...secretPair(document, path, "secret", provesItself(gateway)),
    ...natsChecks(document, path, gateway),
    ...proxyChecks(document, path, gateway),
  ];
  const names = gateways.map(({ name }) => name);
  for (const [at, name] of asItems(gateway.behind).entries()) {
    const front = gateways.find((each) => each.name === name);
    if (front !== undefined && name !== gateway.name) {
      if (front.kind === "nginx" || front.mode === "call_out") continue;
      const help = `say \`mode: call_out\` there: only a gateway that asks is given an assertion to pass on`;
      const place = document.valueAt([...path, "behind", at]);
      found.push(error("front_is_native", `${JSON.stringify(name)} cannot pass an assertion on`, place, help));
      continue;
    }
    const help = `name another gateway of this file: ${names.filter((each) => each !== gateway.name).join(", ") || "there is none"}`;
    const place = document.valueAt([...path, "behind", at]);
    found.push(error("unknown_gateway", `${JSON.stringify(name)} is no gateway in front of this one`, place, help));
  }
  const ttl = typeof gateway.revocation_ttl === "string" ? parseDuration(gateway.revocation_ttl) : undefined;
  if (["rest", "file"].includes(String(gateway.revocation)) && ttl !== undefined && ttl < leastPolledMs) {
    const help = "say 5s or more: it is asked for each second, and one late answer must not close the gateway";
    const place = document.valueAt([...path, "revocation_ttl"]);
    found.push(
      error("revocation_ttl_short", `${keyName(path)} would refuse everything between two polls`, place, help),
    );
  }
  if (needsGrpc(gateway) && asMap(root.listen).grpc === undefined) {
    const help = "set `listen.grpc`, or use `protocol: http` and `revocation: rest`";
    found.push(error("grpc_missing", `${keyName(path)} needs the gRPC listener`, document.valueAt(path), help));
  }
  return found;
}

/** True for a gateway that asks the broker from outside. */
function provesItself({ kind, standalone }: Loose): boolean {
  return kind === "nats" ? standalone === true : kind !== "linkerd" && kind !== "proxy";
}

/** Passwords and messages cross this socket. */
function natsChecks(document: ConfigDocument, path: KeyPath, gateway: Loose): readonly Diagnostic[] {
  const { listen } = gateway;
  if (gateway.kind !== "nats") return [];
  const told = publicUrlChecks(document, path, gateway);
  if (told.length > 0 || typeof listen !== "string" || gateway.tls !== undefined) return told;
  if (gateway.standalone === true) return []; // its certificate lies where it runs
  const host = listen.slice(0, listen.lastIndexOf(":"));
  if (isLoopback(host)) return [];
  const place = document.valueAt([...path, "listen"]);
  const help = "set `tls`, or listen on 127.0.0.1";
  return [error("plain_nats", `${host} can be reached from other machines without TLS`, place, help)];
}

/** Jobs cannot connect to every address at once, nor by TLS to what serves none. */
function publicUrlChecks(document: ConfigDocument, path: KeyPath, gateway: Loose): readonly Diagnostic[] {
  const { listen, tls, public_url: told, standalone } = gateway;
  if (typeof told === "string") {
    if (!told.startsWith("tls://") || tls !== undefined || standalone === true) return [];
    const place = document.valueAt([...path, "public_url"]);
    return [
      error("public_url_tls", `${told} says TLS, and the gateway serves none`, place, "set `tls`, or say nats://"),
    ];
  }
  if (typeof listen !== "string" || !/^(0\.0\.0\.0|\[::\]):/.test(listen)) return [];
  const help = "add `public_url: tls://<name>:<port>`, which jobs are told";
  const place = document.valueAt([...path, "listen"]);
  return [error("public_url_missing", `jobs cannot connect to ${listen}`, place, help)];
}

const leastPolledMs = 5_000;

function needsGrpc(gateway: Loose): boolean {
  if (gateway.kind !== "envoy") return false;
  const pushed = gateway.mode !== "call_out" && (gateway.revocation ?? "grpc") === "grpc";
  return pushed || (gateway.protocol ?? "grpc") === "grpc" || asItems(gateway.behind).length > 0;
}

/** A selector's key is an issuer's name or type: a name that is another type would be both. */
function misleadingName(document: ConfigDocument, path: KeyPath, issuer: Loose): readonly Diagnostic[] {
  const { name, type } = issuer;
  const isType = (word: unknown) => issuerTypes.some((each) => each === word);
  if (name === type || !isType(name) || !isType(type)) return [];
  const help = `name it something else, or give it the type ${String(name)}`;
  return [
    error(
      "issuer_name_is_a_type",
      `"${String(name)}" is the name of another type of issuer`,
      document.valueAt([...path, "name"]),
      help,
    ),
  ];
}

function webhookChecks(document: ConfigDocument, path: KeyPath, hook: Loose): readonly Diagnostic[] {
  const found = [...secretPair(document, path, "token", false), ...secretPair(document, path, "signing_token", false)];
  const place = document.valueAt(path);
  if (!secretKeys("token", "signing_token").some((key) => hook[key] !== undefined)) {
    const help = "add `signing_token_file` (or `token_file`): an unauthenticated webhook is refused";
    found.push(error("secret_missing", `${keyName(path)} has no secret`, place, help));
  }
  if (asItems(hook.projects).length + asItems(hook.groups).length === 0) {
    const help = "list the `projects` or `groups` that its secret was registered for";
    found.push(error("webhook_unbounded", `${keyName(path)} speaks for no project`, place, help));
  }
  return found;
}

function listenCheck(document: ConfigDocument, listen: Loose): readonly Diagnostic[] {
  const { address } = listen;
  if (typeof address !== "string" || listen.tls !== undefined || listen.behind_tls_proxy === true) return [];
  const host = address.slice(0, address.lastIndexOf(":"));
  if (host === "" || isLoopback(host)) return [];
  return [
    error(
      "plain_http",
      `listen.address ${host} can be reached from other machines without TLS`,
      document.valueAt(["listen", "address"]),
      "set `listen.tls`, or `behind_tls_proxy: true` where a proxy serves HTTPS, or listen on 127.0.0.1",
    ),
  ];
}

/** `key` and `key_file` exclude each other; with `required`, one of them must be there. */
function secretPair(document: ConfigDocument, path: KeyPath, key: string, required: boolean): readonly Diagnostic[] {
  const found = path.reduce(own, document.value);
  const holder = asMap(found);
  const literal = holder[key] !== undefined;
  const file = holder[`${key}_file`] !== undefined;
  if (literal && file) {
    const place = document.keyAt([...path, key]);
    return [error("conflicting_keys", `both \`${key}\` and \`${key}_file\` are set`, place, "keep one of them")];
  }
  if (!required || literal || file || found === undefined) return [];
  const help = `add \`${key}_file: <path>\`, or \`${key}: \${NAME}\``;
  return [error("secret_missing", `${keyName(path)} has no ${key}`, document.valueAt(path), help)];
}

function duplicateNames(document: ConfigDocument, path: KeyPath, entries: readonly Loose[]): readonly Diagnostic[] {
  const seen = new Map<unknown, number>();
  return entries.flatMap(({ name }, at) => {
    if (typeof name !== "string") return [];
    const first = seen.get(name);
    if (first === undefined) {
      seen.set(name, at);
      return [];
    }
    const place = document.valueAt([...path, at, "name"]);
    const { line } = document.valueAt([...path, first, "name"]);
    return [
      error("duplicate_name", `${JSON.stringify(name)} is already used in line ${line}`, place, "choose another name"),
    ];
  });
}

function error(code: string, message: string, place: Place, help: string): Diagnostic {
  return { severity: "error", code, message, place, help };
}

const secretKeys = (...keys: readonly string[]): readonly string[] => keys.flatMap((key) => [key, `${key}_file`]);

/** Something read but not yet known to fit the schema. */
type Loose = Readonly<Record<string, unknown>>;

function asMap(value: unknown): Loose {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Loose) : {};
}

/** What stands under a key, never what JavaScript's own objects inherit. */
function own(value: unknown, part: PropertyKey): unknown {
  return typeof value === "object" && value !== null && Object.hasOwn(value, part)
    ? (value as Loose)[part as string]
    : undefined;
}

function asItems(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

const asList = (value: unknown): readonly Loose[] => asItems(value).map(asMap);
