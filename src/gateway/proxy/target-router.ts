import type { Policy } from "../../policy/policy.ts";
import { createFieldRules, type FieldRules } from "./header-rules.ts";
import type { ProxyHttpTarget } from "./settings.ts";
import type { Upstream } from "./upstream.ts";

/** A target that takes requests, ready to be served. */
export interface Route {
  readonly target: ProxyHttpTarget;
  readonly rules: FieldRules;
  readonly upstream: Upstream;
}

/** The target that a request's host asks for; whether the job may name that host is left to the decision. */
export type TargetRouter = (host: string) => Route | undefined;

/**
 * A target is found by its own `host`, by the hosts that policy gives it, or, where they hold templates, by any host that could
 * fill one. Undefined where none is meant, or more than one.
 */
export function createTargetRouter(routes: readonly Route[], policy: () => Pick<Policy, "targets">): TargetRouter {
  let looked: Pick<Policy, "targets"> | undefined;
  let known: Hosts = { exact: new Map(), templates: [] };
  return (host) => {
    const now = policy();
    if (now !== looked) {
      looked = now;
      known = hostsOf(routes, now);
    }
    if (known.exact.has(host)) return known.exact.get(host);
    const [first, ...more] = new Set(known.templates.filter(({ form }) => form.test(host)).map(({ route }) => route));
    return more.length === 0 ? first : undefined;
  };
}

interface Hosts {
  /** Undefined where two targets have the host. */
  readonly exact: ReadonlyMap<string, Route | undefined>;
  readonly templates: readonly { readonly form: RegExp; readonly route: Route }[];
}

function hostsOf(routes: readonly Route[], { targets }: Pick<Policy, "targets">): Hosts {
  const exact = new Map<string, Route | undefined>();
  const named = routes.flatMap((route) => {
    const { host, name } = route.target;
    const hosts = host === undefined ? (targets.get(name)?.hosts ?? []) : [host];
    return hosts.map((written) => ({ written, route }));
  });
  for (const { written, route } of named) exact.set(written, exact.has(written) ? undefined : route);
  const templates = named.filter(({ written }) => written.includes("${"));
  return { exact, templates: templates.map(({ written, route }) => ({ form: formOf(written), route })) };
}

/** A template fills whole labels. */
function formOf(host: string): RegExp {
  const parts = host.split(/\$\{[^}]*\}/).map((text) => text.replace(/[.-]/g, "\\$&"));
  return new RegExp(`^${parts.join("[a-z0-9-]+")}$`);
}

/** What a request is read by where no target is known: it is refused whatever it says. */
export const strangersRules: FieldRules = createFieldRules("authorization", undefined);
