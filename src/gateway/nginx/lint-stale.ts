import type { Diagnostic } from "../../policy/model.ts";
import { effective, firstArgument, isLocation, isRendered, type Scope, targetOf } from "./config-scope.ts";

/** Includes rendered while a target was observed, though policy enforces it now: an outage would let requests through. */
export function staleRules(scopes: readonly Scope[], enforced: ReadonlySet<string>): Diagnostic[] {
  return scopes.flatMap((scope) => {
    const target = isLocation(scope) && !isRendered(scope) ? targetOf(scope) : undefined;
    if (target === undefined || !enforced.has(target)) return [];
    const observing = effective(scope, "auth_request_set").find(
      (directive) =>
        firstArgument(directive) === "$wayleave_decision" && directive.args[1]?.text === "$wayleave_observed_decision",
    );
    if (observing === undefined) return [];
    return [
      {
        severity: "error",
        code: "stale_render",
        message: `policy enforces ${target}, but this was rendered while it was observed: requests pass when Wayleave is away`,
        place: observing.place,
        help: "run wayleave render nginx again, and reload NGINX",
      },
    ];
  });
}
