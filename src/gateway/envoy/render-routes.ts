import type { HttpPattern, RouteModel } from "../../policy/model.ts";
import type { NativeTarget } from "../../policy/native.ts";
import { ambiguity, pathRegex } from "./path-regex.ts";
import { refusalsName } from "./refusals.ts";
import { targetCluster } from "./render-clusters.ts";
import { askAbout, filterNames, requirements, shadowPrefixes } from "./render-filters.ts";
import { denyRules, requestRules, roleRules, streamPatterns } from "./render-rbac.ts";
import type { CheckedSettings, FrontedTarget } from "./settings.ts";
import { claimHeaders } from "./token-metadata.ts";
import { config, extension } from "./type-url.ts";

/**
 * What becomes of a request. `native`: Envoy decides, and asks only about a token of another policy version; `ask`:
 * Wayleave decides; `pass`: it needs no identity; `observe` and `observe-ask`: the same without ever refusing.
 */
type Does = "native" | "ask" | "pass" | "observe" | "observe-ask";

/** Which requests, in terms of a route's match; all of it has to hold. */
interface Match {
  readonly method?: string;
  /** Expressions over the path, whole. */
  readonly paths?: readonly string[];
  readonly headers?: readonly object[];
}

interface Branch {
  readonly matches: readonly Match[];
}

interface Way extends Branch {
  readonly does: Does;
}

const everything: readonly Match[] = [{}];

/** One virtual host for each target, and one for its hosts with templates: of those, only Wayleave knows which job may use which. */
export function renderVirtualHosts(settings: CheckedSettings): readonly object[] {
  return settings.targets.flatMap((target) => {
    const { domains, name } = target;
    const host = (suffix: string, names: readonly string[], whole: boolean) => ({
      name: `${name}${suffix}`,
      domains: names,
      ...(whole ? {} : { request_headers_to_remove: [claimHeaders.token] }),
      typed_per_filter_config: hostConfig(settings, target, whole),
      routes: routesOf(settings, target, whole),
    });
    return [
      ...(domains.exact.length > 0 ? [host("", domains.exact, target.whole !== undefined)] : []),
      ...(domains.templated.length > 0 ? [host("-templated", domains.templated, true)] : []),
    ];
  });
}

/** What most routes of the target say of each filter. */
function hostConfig(settings: CheckedSettings, target: FrontedTarget, whole: boolean): object {
  const decides = target.model.mode === "observe" ? observing : deciding;
  return { ...(whole ? {} : decides(settings, target)), [filterNames.ask]: askAbout(settings, target.name) };
}

/** Envoy decides. */
function deciding(settings: CheckedSettings, target: FrontedTarget): object {
  return {
    [filterNames.jwt]: jwt(requirements.required),
    [filterNames.denies]: rbac({ rules: denyRules(settings, target) }),
    [filterNames.roles]: rbac({ rules: roleRules(settings, target) }),
  };
}

/** Envoy decides, and only says so. On a route that is observed on an enforced target, what can be read in two ways is refused. */
function observing(settings: CheckedSettings, target: FrontedTarget): object {
  const { model } = target;
  return {
    [filterNames.jwt]: jwt(requirements.observed),
    [filterNames.denies]: rbac({
      ...(model.mode === "enforce" ? { rules: requestRules(model) } : {}),
      shadow_rules: denyRules(settings, target),
      shadow_rules_stat_prefix: shadowPrefixes.denies,
    }),
    [filterNames.roles]: rbac({
      shadow_rules: roleRules(settings, target),
      shadow_rules_stat_prefix: shadowPrefixes.roles,
    }),
  };
}

/** In order of who is first: observed or not, long or not, and then the way. */
function routesOf(settings: CheckedSettings, target: FrontedTarget, whole: boolean): readonly object[] {
  const long = matchesOf(streamPatterns(target));
  const streams = [
    ...(long.length > 0 ? [{ matches: long, stream: true }] : []),
    { matches: everything, stream: false },
  ];
  return modesOf(target).flatMap(({ matches: inMode, observed }) =>
    streams.flatMap(({ matches: inStream, stream }) =>
      waysOf(settings, target, { observed, whole }).flatMap(({ matches, does }) =>
        product(product(inMode, inStream), matches).map((match) => ({
          name: `${target.name}/${does}`,
          match: routeMatch(match),
          ...routeTo(settings, target, stream),
          ...filterConfig(settings, target, does),
        })),
      ),
    ),
  );
}

/** As the decision has it: a route that is enforced wins over one that is observed, and both over the target. */
function modesOf({ model }: FrontedTarget): readonly (Branch & { readonly observed: boolean })[] {
  const targetObserved = model.mode === "observe";
  const patterns = (routes: readonly RouteModel[] = []) => matchesOf(routes.map(({ pattern }) => pattern));
  const observe = targetObserved ? [] : patterns(model.observe);
  // On an observed target, a path that can be read in two ways is no route's.
  const enforce = patterns(model.enforce).map((match) => ({ ...match, headers: canonical }));
  return [
    ...(enforce.length > 0 && (targetObserved || observe.length > 0) ? [{ matches: enforce, observed: false }] : []),
    ...(observe.length > 0 ? [{ matches: observe, observed: true }] : []),
    { matches: everything, observed: targetObserved },
  ];
}

const onPath = (regex: string) => ({ name: ":path", string_match: { safe_regex: { regex } } });

const canonical: readonly object[] = [
  onPath(`(?:${ambiguity.characters})(?:\\?.*)?`),
  { ...onPath("[^?]*//.*"), invert_match: true },
  { ...onPath("[^?]*/\\.\\.?(?:[/?].*)?"), invert_match: true },
  { ...onPath(`${ambiguity.overlong}(?:\\?.*)?`), invert_match: true },
];

/** Ways by what a request is and carries; the first one that fits. */
function waysOf(
  settings: CheckedSettings,
  { native, model }: FrontedTarget,
  { observed, whole }: { readonly observed: boolean; readonly whole: boolean },
): readonly Way[] {
  // A token that is refused on an observed route may be Wayleave's own: only an observed target lets it through.
  const asks = observed && model.mode === "observe" ? "observe-ask" : "ask";
  const decides = observed ? "observe" : "native";
  if (whole) return [{ matches: everything, does: asks }];
  const name = settings.inner ? "txn-token" : "authorization";
  const some: readonly Match[] = [{ headers: [{ name, present_match: true }] }];
  const none: readonly Match[] = [{ headers: [{ name, present_match: true, invert_match: true }] }];
  const plainOrNone: readonly Match[] = [
    {
      headers: [
        {
          name,
          string_match: { safe_regex: { regex: `(?:${settings.inner ? "" : "Bearer "}${jws})?` } },
          treat_missing_header_as_empty: true,
        },
      ],
    },
  ];
  const shared = observed ? [] : matchesOf(model.unidentified.map(({ pattern }) => pattern));
  const asked = askedMatches(native, observed && model.mode === "enforce");
  const ways: readonly Way[] = [
    { matches: product(shared, none), does: "pass" },
    // With a credential, it may be Wayleave's or the service's own.
    { matches: shared, does: asks },
    // Without one the answer is known: jwt_authn gives it.
    { matches: product(asked, some), does: asks },
    // Envoy finds a token within anything; Wayleave reads the whole value.
    { matches: plainOrNone, does: decides },
    { matches: everything, does: asks },
  ];
  return ways.filter(({ matches }) => matches.length > 0);
}

function askedMatches({ asked }: NativeTarget, all: boolean): readonly Match[] {
  const patterns = asked.flatMap(({ pattern }) => pattern ?? []);
  return all || patterns.length < asked.length ? everything : matchesOf(patterns, true);
}

/** Three parts of base64url (RFC 7515 §7.1). */
const jws = "[A-Za-z0-9_-]+\\.[A-Za-z0-9_-]+\\.[A-Za-z0-9_-]+";

/** One match for each method: Envoy has no alternatives of method and path together. */
function matchesOf(patterns: readonly HttpPattern[], anySlash = false): readonly Match[] {
  const byMethod = new Map<string, Set<string>>();
  for (const pattern of patterns) {
    const regex = pathRegex(pattern, anySlash);
    if (regex !== undefined) byMethod.set(pattern.method, (byMethod.get(pattern.method) ?? new Set()).add(regex));
  }
  return [...byMethod]
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([method, regexes]) => ({ ...(method === "*" ? {} : { method }), paths: [[...regexes].sort().join("|")] }));
}

/** What matches one of each. */
function product(some: readonly Match[], others: readonly Match[]): readonly Match[] {
  return some.flatMap((a) =>
    others.flatMap((b) => {
      if (a.method !== undefined && b.method !== undefined && a.method !== b.method) return [];
      const method = a.method ?? b.method;
      return [
        {
          ...(method === undefined ? {} : { method }),
          paths: [...(a.paths ?? []), ...(b.paths ?? [])],
          headers: [...(a.headers ?? []), ...(b.headers ?? [])],
        },
      ];
    }),
  );
}

function routeMatch({ method, paths = [], headers = [] }: Match): object {
  const [path, ...more] = paths;
  const all = [
    ...(method === undefined ? [] : [{ name: ":method", string_match: { exact: method } }]),
    ...more.map((regex) => onPath(`(?:${regex})(?:\\?.*)?`)),
    ...headers,
  ];
  return {
    ...(path === undefined ? { prefix: "/" } : { safe_regex: { regex: path } }),
    ...(all.length > 0 ? { headers: all } : {}),
  };
}

const answerTimeout = "60s";

/** Only `stream: true` may be upgraded, and then for no longer than a token lives; everything else has to be answered. */
function routeTo({ maxStreamSeconds }: CheckedSettings, { name }: FrontedTarget, stream: boolean): object {
  const max_stream_duration = { max_stream_duration: `${maxStreamSeconds}s` };
  return {
    route: {
      cluster: targetCluster(name),
      timeout: stream ? "0s" : answerTimeout,
      ...(stream
        ? { idle_timeout: `${maxStreamSeconds}s`, upgrade_configs: [{ upgrade_type: "websocket", enabled: true }] }
        : {}),
      max_stream_duration,
    },
  };
}

/** What a route says of each filter, where the virtual host's word does not do. */
function filterConfig(settings: CheckedSettings, target: FrontedTarget, does: Does): object {
  const off = { "@type": config("route.v3.FilterConfig"), disabled: true };
  const refusals = { [refusalsName(settings.policyVersion)]: off };
  const natively = { [filterNames.jwt]: off, [filterNames.denies]: off, [filterNames.roles]: off, ...refusals };
  const alone = settings.native ? natively : {};
  const observedTarget = target.model.mode === "observe";
  const filters = {
    native: observedTarget ? deciding(settings, target) : {},
    ask: alone,
    pass: { ...alone, [filterNames.denies]: rbac({ rules: requestRules(target.model) }), [filterNames.ask]: off },
    observe: { ...(observedTarget ? {} : observing(settings, target)), ...refusals, [filterNames.ask]: off },
    // Being spoken of is what turns it on.
    "observe-ask": { ...alone, [filterNames.ask]: off, [filterNames.askObserved]: askAbout(settings, target.name) },
  }[does];
  return {
    ...(does === "native" ? forwarded(settings) : {}),
    ...(Object.keys(filters).length > 0 ? { typed_per_filter_config: filters } : {}),
  };
}

/** What goes on of a request that Envoy decided: the token does not, unless it is an assertion. */
function forwarded({ inner }: CheckedSettings): object {
  const decision = { header: { key: "x-wayleave-decision", value: "allow" }, append_action: "ADD_IF_ABSENT" };
  return { ...(inner ? {} : { request_headers_to_remove: ["authorization"] }), request_headers_to_add: [decision] };
}

const jwt = (requirement_name: string): object => ({
  "@type": extension("filters.http.jwt_authn.v3.PerRouteConfig"),
  requirement_name,
});

const rbac = (rules: object): object => ({ "@type": extension("filters.http.rbac.v3.RBACPerRoute"), rbac: rules });
