import { WayleaveError } from "../../core/errors.ts";
import type { PolicyModel } from "../../policy/model.ts";
import { printResources, type Resource } from "../resources.ts";
import { atPort, ownToken } from "./authorization.ts";
import { planTargets } from "./plan.ts";
import { checkSettings, type IstioGatewaySettings } from "./settings.ts";

/** What must be refused while a token may still say otherwise. */
export interface EndedSessions {
  /** Ended or suspended, with a token that may live. */
  readonly sessions: readonly string[];
  /** Revoked `jti`. */
  readonly tokens: readonly string[];
}

/**
 * The one resource that changes with every end of a session, so that it can be pushed alone: a DENY by `sid` and `jti` for
 * each workload. Empty lists match nothing. Sorted: the same set gives the same bytes. Throws `render_refused` for a value
 * that Istio would read as a pattern.
 */
export function renderEndedSessions(input: {
  readonly gateway: IstioGatewaySettings;
  readonly model: PolicyModel;
  readonly issuer: string;
  readonly ended: EndedSessions;
}): string {
  const { settings, resources } = endedSessions(input);
  return printResources(
    `Wayleave for gateway ${settings.name}: sessions that have ended. Rendered; do not edit.`,
    settings.name,
    resources,
  );
}

function endedSessions({ gateway, model, issuer, ended }: Parameters<typeof renderEndedSessions>[0]) {
  const settings = checkSettings(gateway, model);
  const conditions = [
    ...chunks(ended.sessions).map((values) => ({ key: "request.auth.claims[sid]", values })),
    ...chunks(ended.tokens).map((values) => ({ key: "request.auth.claims[jti]", values })),
  ];
  // Istio takes no DENY without a rule.
  if (conditions.length === 0) conditions.push({ key: "request.auth.claims[sid]", values: ["none"] });
  const plans = planTargets(model, settings.mode === "call_out");
  const native = settings.targets.filter(({ model: target }) => plans.get(target.name)?.whole === undefined);
  const resources = native.flatMap(({ model: target, workloads }) =>
    workloads.map(
      (workload, index): Resource => ({
        apiVersion: "security.istio.io/v1",
        kind: "AuthorizationPolicy",
        metadata: { name: `${workloadName(settings.name, target.name, index)}-ended`, namespace: settings.namespace },
        spec: {
          selector: { matchLabels: workload.labels },
          action: "DENY",
          rules: conditions.map((condition) => ({
            from: [ownToken(issuer)],
            to: atPort(workload),
            when: [condition],
          })),
        },
      }),
    ),
  );
  return { settings, resources };
}

/** What the resources of one workload are called. */
export function workloadName(gateway: string, target: string, index: number): string {
  return `wayleave-${gateway}-${target}${index === 0 ? "" : `-${index + 1}`}`;
}

const perRule = 256;

function chunks(values: readonly string[]): string[][] {
  const sorted = [...new Set(values)].toSorted();
  const wrong = sorted.some((value) => !/^[\w.:-]+$/.test(value));
  if (wrong)
    throw new WayleaveError(
      "render_refused",
      "A session or token id is no plain text; Istio would read it as a pattern.",
    );
  return Array.from({ length: Math.ceil(sorted.length / perRule) }, (_, at) =>
    sorted.slice(at * perRule, (at + 1) * perRule),
  );
}
