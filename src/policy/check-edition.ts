import type { Findings } from "./findings.ts";
import type { ConditionModel, Place, SelectorModel } from "./model.ts";
import type { PolicyInput, PolicyParts } from "./reading.ts";

type Rules = Pick<PolicyParts, "roles" | "deny" | "events">;

interface Rule {
  readonly what: "role" | "deny" | "event";
  readonly for: readonly SelectorModel[];
  readonly when?: ConditionModel;
}

/**
 * What a GitLab without protected environments makes of policy: its tokens say `environment_protected: false` of every
 * environment, so that a role which asks for `true` is nobody's, and a deny which does protects nothing.
 */
export function checkEditions(rules: Rules, { issuers = [] }: PolicyInput, findings: Findings): void {
  if (!issuers.some(({ edition }) => edition === "community")) return;
  const isCommunity = ({ issuer }: SelectorModel) => {
    const meant = issuers.filter(({ name, type }) => name === issuer || type === issuer);
    return meant.length > 0 && meant.every(({ edition }) => edition === "community");
  };
  const told = new Set<Place>();
  for (const { what, for: selectors, when } of rulesOf(rules)) {
    const meant = selectors.filter(isCommunity);
    const places = meant.flatMap(asksForProtection);
    if (meant.length > 0 && meant.length === selectors.length && when?.facts.includes("environment.protected")) {
      places.push(when.place);
    }
    for (const place of places) {
      if (told.has(place)) continue;
      told.add(place);
      const message =
        what === "deny"
          ? "no environment is protected there, so this denies nobody"
          : "no environment is protected there";
      const help = "the Community Edition has none: ask for ref_protected: true beside the environment";
      findings.warn("environment_never_protected", place, message, { help });
    }
  }
}

function rulesOf({ roles, deny, events }: Rules): readonly Rule[] {
  return [
    ...roles.map((rule): Rule => ({ what: "role", ...rule })),
    ...deny.map((rule): Rule => ({ what: "deny", ...rule })),
    ...events.map((rule): Rule => ({ what: "event", ...rule })),
  ];
}

function asksForProtection({ clauses }: SelectorModel): Place[] {
  return clauses
    .filter(({ field, values }) => field === "environment_protected" && !values.includes(false))
    .map(({ place }) => place);
}
