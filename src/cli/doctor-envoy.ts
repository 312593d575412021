import { filterNames, requirements } from "../gateway/envoy/render-filters.ts";
import { type EnvoyFile, type Finding, fail, warn } from "./doctor-facts.ts";

type Loose = Readonly<Record<string, unknown>>;

const asMap = (value: unknown): Loose =>
  typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Loose) : {};
const asList = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : []);

/** Every setting that, when something fails, lets requests through. */
export function failsOpen({ file, config }: EnvoyFile): readonly Finding[] {
  return nodes(config, "").flatMap(({ map, path }) =>
    openRules.flatMap((rule) => rule(map, `${file}: ${path || "top"}`)),
  );
}

/** Every map of the configuration, with its path. */
function nodes(value: unknown, path: string): readonly { readonly map: Loose; readonly path: string }[] {
  if (Array.isArray(value)) return value.flatMap((item, at) => nodes(item, `${path}[${at}]`));
  if (typeof value !== "object" || value === null) return [];
  const map = value as Loose;
  // What stands for observed targets lets through on purpose: policy promised never to stop them.
  if (map.name === filterNames.askObserved) return [];
  const said = path.endsWith("requirement_map") ? omit(map, requirements.observed) : map;
  const below = Object.entries(said).flatMap(([key, child]) => nodes(child, path === "" ? key : `${path}.${key}`));
  return [{ map, path }, ...below];
}

function omit(map: Loose, name: string): Loose {
  return Object.fromEntries(Object.entries(map).filter(([key]) => key !== name));
}

const isType = (map: Loose, name: string): boolean => String(map["@type"] ?? "").endsWith(name);
const render = "render the configuration again, or say it as rendered";

const openRules: readonly ((map: Loose, where: string) => readonly Finding[])[] = [
  (map, where) =>
    map.failure_mode_allow === true || map.failureModeAllow === true
      ? [fail(`${where}: failure_mode_allow lets requests through when nobody answers`, "set it to false")]
      : [],
  (map, where) => {
    const status = Number(asMap(map.status_on_error).code ?? 403);
    return isType(map, "ext_authz.v3.ExtAuthz") && !(status >= 400)
      ? [fail(`${where}: status_on_error ${status} looks like success`, "set it to 503")]
      : [];
  },
  (map, where) =>
    isType(map, "ext_authz.v3.ExtAuthz") && map.filter_enabled !== undefined && map.deny_at_disable === undefined
      ? [fail(`${where}: filter_enabled turns asking off for some requests`, "remove it")]
      : [],
  (map, where) => {
    if (map.config_discovery === undefined) return [];
    const discovery = asMap(map.config_discovery);
    if (discovery.default_config !== undefined) return [];
    return [fail(`${where}: config_discovery without default_config: nothing stands in until it is heard`, render)];
  },
  (map, where) =>
    ["allow_missing", "allow_missing_or_failed"].some((name) => map[name] !== undefined)
      ? [fail(`${where}: a missing or failed token is let through`, "require the provider by its name")]
      : [],
  (map, where) =>
    map.extract_only_without_validation === undefined
      ? []
      : [fail(`${where}: a token is believed without its signature`, "require the provider by its name")],
  (map, where) =>
    map.bypass_cors_preflight === true
      ? [
          warn(
            `${where}: bypass_cors_preflight lets every OPTIONS preflight through`,
            "remove it unless browsers need it",
          ),
        ]
      : [],
  (map, where) =>
    isType(map, "rbac.v3.RBAC") && map.rules === undefined && map.matcher === undefined
      ? [warn(`${where}: an RBAC filter that only watches`, "this is mode: observe; enforce it in policy when ready")]
      : [],
];

/** Routes that no enforcing filter is left for, where they come before one that has some and take its requests. */
export function shadowedRoutes({ file, config }: EnvoyFile): readonly Finding[] {
  return managers(config).flatMap(({ filters, hosts }) =>
    hosts.flatMap((host) => {
      const routes = asList(host.routes).map(asMap);
      const open = (route: Loose) => isOpen(filters, host, route);
      return routes.flatMap((route, at) => {
        const after = routes.slice(at + 1).find((later) => open(route) && !open(later) && covers(route, later));
        if (after === undefined) return [];
        const [name, shadowed] = [nameOf(route, at), nameOf(after, routes.indexOf(after))];
        const says = `${file}: route ${name} of ${String(host.name)} turns enforcement off and comes before ${shadowed}`;
        return [fail(says, "put the protected route first, or remove the other")];
      });
    }),
  );
}

/** Kinds of filters by which Wayleave enforces. */
const enforcing = /\.(?:ext_authz\.v3\.ExtAuthz|jwt_authn\.v3\.JwtAuthentication|rbac\.v3\.RBAC)$/;

/** Each connection manager's enforcing filters by name, and its virtual hosts. */
function managers(
  config: unknown,
): readonly { readonly filters: readonly string[]; readonly hosts: readonly Loose[] }[] {
  return nodes(config, "").flatMap(({ map }) => {
    const hosts = asList(asMap(map.route_config).virtual_hosts).map(asMap);
    const filters = asList(map.http_filters)
      .map(asMap)
      .filter(({ disabled, typed_config }) => disabled !== true && enforcing.test(String(asMap(typed_config)["@type"])))
      .map(({ name }) => String(name));
    return hosts.length === 0 ? [] : [{ filters, hosts }];
  });
}

/** The route's word on a filter counts before its host's. */
function isOpen(filters: readonly string[], host: Loose, route: Loose): boolean {
  const [ofHost, ofRoute] = [asMap(host.typed_per_filter_config), asMap(route.typed_per_filter_config)];
  return filters.length > 0 && filters.every((name) => isOff(ofRoute[name] ?? ofHost[name]));
}

/** `disabled`, or for RBAC a configuration without rules, which means the same. */
function isOff(set: unknown): boolean {
  const map = asMap(set);
  return map.disabled === true || (isType(map, "RBACPerRoute") && map.rbac === undefined);
}

const nameOf = (route: Loose, at: number): string => (typeof route.name === "string" ? route.name : `number ${at + 1}`);

/** Whether the first route takes everything the second could. Conditions beside the path make that unknown, so no. */
function covers(first: Loose, second: Loose): boolean {
  const [mine, theirs] = [asMap(first.match), asMap(second.match)];
  if (mine.headers !== undefined || mine.query_parameters !== undefined || mine.runtime_fraction !== undefined)
    return false;
  const prefix = text(mine.prefix) ?? text(mine.path_separated_prefix);
  if (prefix === undefined) return text(mine.path) !== undefined && mine.path === theirs.path;
  if (prefix === "/") return true;
  const path = text(theirs.prefix) ?? text(theirs.path_separated_prefix) ?? text(theirs.path) ?? literal(theirs);
  return path?.startsWith(prefix) === true;
}

const text = (value: unknown): string | undefined => (typeof value === "string" ? value : undefined);

/** How a regular expression's paths begin: as far as it is plain text. */
function literal(match: Loose): string | undefined {
  const regex = text(asMap(match.safe_regex).regex);
  return regex?.replace(/^\^/, "").match(/^[\w/-]*/)?.[0];
}
