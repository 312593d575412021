import type { PolicyModel } from "../../policy/model.ts";
import { sha256 } from "../../policy/sha256.ts";
import { ownerLabel, printResources, type Resource } from "../resources.ts";
import { type LinkerdPlan, type LinkerdRoute, planTarget } from "./plan.ts";
import { checkSettings, type FrontedTarget, type LinkerdGatewaySettings } from "./settings.ts";

export interface RenderedLinkerd {
  readonly files: readonly { readonly path: string; readonly text: string; readonly mode: number }[];
  /** What the reader must know and cannot see in the files. One sentence each. */
  readonly notes: readonly string[];
}

const group = "policy.linkerd.io";

/**
 * The resources that make a Linkerd enforce policy for the gateway's targets, by mesh identity. Pure: the same policy and
 * settings, in any order, give the same bytes; no secret is in them. Throws `render_refused` naming each clause that
 * Linkerd cannot say exactly, with file and line.
 */
export function renderLinkerd({
  gateway,
  model,
}: {
  readonly gateway: LinkerdGatewaySettings;
  readonly model: PolicyModel;
}): RenderedLinkerd {
  const planned = checkSettings(gateway, model).map((fronted) => ({
    fronted,
    plan: planTarget(fronted.model, model, gateway.name, gateway.meshTrustDomain),
  }));
  const resources = planned.flatMap(({ fronted, plan }) =>
    fronted.servers.flatMap((server) => forServer(gateway, fronted, plan, server)),
  );
  const head = `Wayleave for gateway ${gateway.name}, policy ${model.version}. Rendered; do not edit.`;
  return {
    files: [{ path: "wayleave-linkerd.yaml", mode: 0o644, text: printResources(head, gateway.name, resources) }],
    notes: [
      "Linkerd knows mesh identities and no sessions: an identity that a job had stays good until its certificate ends.",
      `Routes of an earlier rendering stay until they are deleted: apply with kubectl apply --prune -l ${ownerLabel}=${gateway.name} -f wayleave-linkerd.yaml.`,
      "A sidecar keeps what it has while Wayleave is away; nothing here asks Wayleave.",
      ...planned.flatMap(({ plan }) => targetNotes(plan)),
    ],
  };
}

type Server = FrontedTarget["servers"][number];

function forServer(
  gateway: LinkerdGatewaySettings,
  fronted: FrontedTarget,
  plan: LinkerdPlan,
  server: Server,
): Resource[] {
  const { namespace } = gateway;
  const observed = fronted.model.mode === "observe";
  const callers = new Map(plan.routes.map((route) => [callersKey(route), route.identities]));
  return [
    {
      apiVersion: `${group}/v1beta3`,
      kind: "Server",
      metadata: { name: server.name, namespace },
      spec: {
        podSelector: { matchLabels: server.workload.labels },
        port: server.workload.port,
        accessPolicy: observed ? "audit" : "deny",
      },
    },
    ...[...callers].flatMap(([key, identities]) => {
      const routes = plan.routes.filter((route) => callersKey(route) === key);
      const name = `${server.name}-${key}`;
      return [
        ...httpRoutes(name, namespace, fronted, server, routes),
        ...authorization(name, namespace, identities, routeParts(routes)),
      ];
    }),
    ...streams(`${server.name}-streams`, namespace, fronted, server, observed ? [] : plan.routes),
    ...rest(`${server.name}-rest`, namespace, server, observed),
    ...rateLimit(server, namespace, plan),
  ];
}

/** Eight hex digits that stand for a set of callers: the same set has the same name in every rendering. */
const callersKey = ({ identities }: LinkerdRoute): string =>
  identities === undefined ? "everybody" : sha256(identities.join("\n")).slice(0, 8);

const perRule = 8;
const perRoute = 8;
const routeParts = (routes: readonly LinkerdRoute[]): number =>
  Math.max(1, Math.ceil(routes.length / (perRule * perRoute)));
const partName = (name: string, part: number): string => (part === 0 ? name : `${name}-${part + 1}`);

function httpRoutes(
  name: string,
  namespace: string,
  fronted: FrontedTarget,
  server: Server,
  routes: readonly LinkerdRoute[],
  upgrade = false,
): Resource[] {
  const matches = routes.map(({ pattern, path }) => ({
    path,
    method: pattern.method,
    ...(upgrade ? { headers: [{ name: "upgrade", type: "RegularExpression", value: ".*" }] } : {}),
  }));
  const { hosts } = fronted.model;
  return Array.from({ length: routeParts(routes) }, (_, part) => {
    const mine = matches.slice(part * perRule * perRoute, (part + 1) * perRule * perRoute);
    return {
      apiVersion: `${group}/v1beta3`,
      kind: "HTTPRoute",
      metadata: { name: partName(name, part), namespace },
      spec: {
        parentRefs: [{ group, kind: "Server", name: server.name }],
        ...(hosts.length === 0 ? {} : { hostnames: hosts.toSorted() }),
        rules: Array.from({ length: Math.ceil(mine.length / perRule) }, (_rule, at) => ({
          matches: mine.slice(at * perRule, (at + 1) * perRule),
        })),
      },
    };
  });
}

function authorization(
  name: string,
  namespace: string,
  identities: readonly string[] | undefined,
  parts: number,
): Resource[] {
  const kind = identities === undefined ? "NetworkAuthentication" : "MeshTLSAuthentication";
  const spec = identities === undefined ? { networks: [{ cidr: "0.0.0.0/0" }, { cidr: "::/0" }] } : { identities };
  return [
    { apiVersion: `${group}/v1alpha1`, kind, metadata: { name, namespace }, spec },
    ...Array.from({ length: parts }, (_, part) => ({
      apiVersion: `${group}/v1alpha1`,
      kind: "AuthorizationPolicy",
      metadata: { name: partName(name, part), namespace },
      spec: {
        targetRef: { group, kind: "HTTPRoute", name: partName(name, part) },
        requiredAuthenticationRefs: [{ group, kind, name }],
      },
    })),
  ];
}

/** The same routes with an Upgrade header are a better fit, and nobody may use them: an open stream could not be ended. */
function streams(
  name: string,
  namespace: string,
  fronted: FrontedTarget,
  server: Server,
  routes: readonly LinkerdRoute[],
): Resource[] {
  return routes.length === 0 ? [] : httpRoutes(name, namespace, fronted, server, routes, true);
}

/** What no route knows is audited, not lost. */
function rest(name: string, namespace: string, server: Server, observed: boolean): Resource[] {
  if (!observed) return [];
  return [
    {
      apiVersion: `${group}/v1beta3`,
      kind: "HTTPRoute",
      metadata: { name, namespace },
      spec: {
        parentRefs: [{ group, kind: "Server", name: server.name }],
        rules: [{ matches: [{ path: { type: "PathPrefix", value: "/" } }] }],
      },
    },
  ];
}

function rateLimit(server: Server, namespace: string, { limits }: LinkerdPlan): Resource[] {
  if (limits.length === 0) return [];
  return [
    {
      apiVersion: `${group}/v1alpha1`,
      kind: "HTTPLocalRateLimitPolicy",
      metadata: { name: server.name, namespace },
      spec: {
        targetRef: { group, kind: "Server", name: server.name },
        overrides: limits.map(({ perSecond, account }) => ({
          requestsPerSecond: perSecond,
          clientRefs: [{ kind: "ServiceAccount", namespace: account.namespace, name: account.name }],
        })),
      },
    },
  ];
}

function targetNotes({ target, limits, routes }: LinkerdPlan): string[] {
  return [
    ...(target.mode === "observe"
      ? [
          `target ${target.name} is observed: Linkerd lets everything through and marks what it would refuse (accessPolicy: audit).`,
        ]
      : []),
    ...(routes.some(({ identities }) => identities === undefined)
      ? [`target ${target.name} has routes that everybody may use (unidentified: pass), callers with an identity too.`]
      : []),
    ...routes
      .filter(({ asciiOnly }) => asciiOnly)
      .map(
        ({ pattern }) =>
          `target ${target.name}: ${pattern.source}: its expression has room for ASCII only; paths with other letters where a star or parameter stands are refused.`,
      ),
    ...(limits.length > 0
      ? [
          `target ${target.name}: each pod counts its own requests, as scope: gateway says; with n pods the limit is n times as high.`,
        ]
      : []),
    ...(target.hosts.length > 0 ? [`target ${target.name}: requests for other hosts than its own get 404.`] : []),
  ];
}
