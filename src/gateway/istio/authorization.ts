import type { Resource } from "../resources.ts";
import { guardCondition } from "./guard.ts";
import { at, compare, type IstioRoute, type Matched, type TargetPlan } from "./plan.ts";
import type { CheckedSettings, FrontedTarget, IstioWorkload } from "./settings.ts";

/** What every rule of a rendering shares. */
export interface RuleContext {
  readonly settings: CheckedSettings;
  /** `iss` of access tokens. */
  readonly issuer: string;
  readonly policyVersion: string;
}

interface Condition {
  readonly key: string;
  readonly values?: readonly string[];
  readonly notValues?: readonly string[];
}

interface Rule {
  readonly from?: readonly { readonly source: object }[];
  readonly to?: readonly { readonly operation: object }[];
  readonly when?: readonly Condition[];
}

/** Istio's own bound for the rules of one policy. */
const maxRules = 512;

/** An AuthorizationPolicy for one workload; more than one where there are more rules than one may have. */
function policies(
  name: string,
  namespace: string,
  workload: IstioWorkload,
  spec: object,
  rules: readonly Rule[],
): Resource[] {
  const parts = Math.max(1, Math.ceil(rules.length / maxRules));
  return Array.from({ length: parts }, (_, part) => ({
    apiVersion: "security.istio.io/v1",
    kind: "AuthorizationPolicy",
    metadata: { name: part === 0 ? name : `${name}-${part + 1}`, namespace },
    spec: {
      selector: { matchLabels: workload.labels },
      ...spec,
      rules: rules.slice(part * maxRules, (part + 1) * maxRules),
    },
  }));
}

/** Which requests Wayleave is asked about; none where there is nothing to ask. */
export function customPolicy(
  context: RuleContext,
  name: string,
  fronted: FrontedTarget,
  plan: TargetPlan,
  workload: IstioWorkload,
): Resource[] {
  const to = askedOperations(fronted, plan, workload);
  if (to.length === 0) return [];
  const spec = { action: "CUSTOM", provider: { name: fronted.provider } };
  return policies(`${name}-ask`, context.settings.namespace, workload, spec, [{ to }]);
}

/** What is let through: what claims allow, and what Wayleave was asked about. Everything else at these pods is refused. */
export function allowPolicy(
  context: RuleContext,
  name: string,
  fronted: FrontedTarget,
  plan: TargetPlan,
  workload: IstioWorkload,
): Resource[] {
  const to = askedOperations(fronted, plan, workload);
  const rules = [
    ...nativeRules(context, fronted, plan, workload),
    ...(to.length === 0 ? [] : [{ to, when: [guardCondition] }]),
  ];
  return policies(`${name}-allow`, context.settings.namespace, workload, { action: "ALLOW" }, rules);
}

/** What no role opens: a token that names a deny of the whole target, and one bound to a key but sent as Bearer. */
export function denyPolicy(context: RuleContext, name: string, plan: TargetPlan, workload: IstioWorkload): Resource[] {
  const from = [ownToken(context.issuer)];
  const to = atPort(workload);
  const rules: Rule[] = [
    { from, to, when: [{ key: "request.auth.claims[cnf][jkt]", values: ["*"] }] },
    ...(plan.closedTo.length === 0
      ? []
      : [{ from, to, when: [{ key: "request.auth.claims[denies]", values: plan.closedTo }] }]),
  ];
  return policies(`${name}-deny`, context.settings.namespace, workload, { action: "DENY" }, rules);
}

/** A rule of claims alone would refuse everything at ports that Istio takes for TCP. */
export const atPort = ({ port }: IstioWorkload): { operation: object }[] => [{ operation: { ports: [String(port)] } }];

/** Istio splits `iss/sub` at the last slash, so a `sub` with slashes can be named by nothing but the star. */
export const ownToken = (issuer: string) => ({ source: { requestPrincipals: [`${issuer}/*`] } });

function askedOperations(fronted: FrontedTarget, plan: TargetPlan, workload: IstioWorkload): { operation: object }[] {
  if (plan.whole !== undefined) return atPort(workload);
  return operations(fronted, plan.asked, workload);
}

/** Routes as operations, paths of one method together; sorted, so that the order of policy changes nothing. */
function operations(
  fronted: FrontedTarget,
  routes: readonly Matched[],
  workload: IstioWorkload,
): { operation: object }[] {
  const methods = [...new Set(routes.map(({ method }) => method))].toSorted();
  const { hosts } = fronted.model;
  return methods.map((method) => ({
    operation: {
      ports: [String(workload.port)],
      // A client may name the port as well.
      ...(hosts.length === 0 ? {} : { hosts: hosts.toSorted().flatMap((host) => [host, `${host}:*`]) }),
      ...(method === "*" ? {} : { methods: [method] }),
      paths: [...new Set(routes.filter((route) => route.method === method).flatMap(({ paths }) => paths))].toSorted(),
    },
  }));
}

function nativeRules(context: RuleContext, fronted: FrontedTarget, plan: TargetPlan, workload: IstioWorkload): Rule[] {
  const groups = new Map<string, IstioRoute[]>();
  for (const route of plan.native) {
    const key = JSON.stringify([route.role.id, route.denies]);
    groups.set(key, [...(groups.get(key) ?? []), route]);
  }
  return [...groups.entries()]
    .toSorted(([a], [b]) => compare(a, b))
    .flatMap(([, routes]) => {
      const [first] = routes;
      if (first === undefined) return [];
      const { role, denies } = first;
      const to = operations(fronted, routes, workload);
      const byToken: Rule = {
        from: [ownToken(context.issuer)],
        to,
        when: tokenConditions(context, fronted, role.id, denies),
      };
      const account = serviceAccount(role.spiffeId, context.settings.meshTrustDomain);
      if (account === undefined || denies.length > 0 || plan.closedTo.length > 0) return [byToken];
      return [byToken, { from: [{ source: { principals: [account] } }], to, when: [guardCondition] }];
    });
}

function tokenConditions(
  context: RuleContext,
  fronted: FrontedTarget,
  role: string,
  denies: readonly string[],
): Condition[] {
  return [
    { key: "request.auth.audiences", values: [fronted.model.name] },
    { key: "request.auth.claims[pol]", values: [context.policyVersion] },
    { key: "request.auth.claims[roles]", values: [role] },
    ...(denies.length === 0 ? [] : [{ key: "request.auth.claims[denies]", notValues: denies }]),
    guardCondition,
  ];
}

/** The principal of the mesh's own service account that a role names; undefined where it names none of this mesh. */
export function serviceAccount(spiffeId: string | undefined, meshTrustDomain: string): string | undefined {
  const prefix = `spiffe://${meshTrustDomain}/`;
  if (spiffeId === undefined || !spiffeId.startsWith(prefix)) return undefined;
  return /^ns\/[a-z0-9-]+\/sa\/[a-z0-9.-]+$/.test(spiffeId.slice(prefix.length))
    ? spiffeId.slice("spiffe://".length)
    : undefined;
}

/** `GET /v1/x (policy/shop.yaml:12)`. */
export const named = ({ source, place }: Matched): string => `${source} (${at(place)})`;
