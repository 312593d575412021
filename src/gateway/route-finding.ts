import { type Outcome, outcomeOf, type ReasonCode } from "../core/decision.ts";
import type { Operation } from "../core/target.ts";
import type { Policy, SharedRoute } from "../policy/policy.ts";
import type { Finding } from "./decision-record.ts";

interface Asked {
  readonly target: string;
  readonly operation: Operation;
}

type RoutePolicy = Pick<Policy, "unidentified">;

/** A route may be enforced on an observed target, and the other way round. What is no HTTP has no routes. */
export function routeOf(policy: RoutePolicy, { target, operation }: Asked): SharedRoute {
  const { method, path } = operation.kind === "http" ? operation : { method: "", path: "" };
  return policy.unidentified(target, method, path);
}

/** A request without usable credential is refused, unless the route is observed. A shared route is for those who have none. */
export function refusedAt({ mode, beside }: SharedRoute, reason: ReasonCode): Pick<Finding, "outcome" | "beside"> {
  const outcome = outcomeOf({ effect: "deny", mode });
  const other = beside === undefined ? outcome : outcomeOf({ effect: "deny", mode: beside.mode });
  return { outcome, ...differing(beside?.policy, outcome, other, reason) };
}

function differing(
  policy: string | undefined,
  outcome: Outcome,
  other: Outcome,
  reason: ReasonCode,
): Pick<Finding, "beside"> {
  return policy === undefined || other === outcome ? {} : { beside: { policy, outcome: other, reason } };
}

/** What becomes of a request that named nobody we know. */
export function unidentified(policy: RoutePolicy, question: Asked, sentSomething: boolean): Finding {
  const route = routeOf(policy, question);
  const refusal = sentSomething ? "credential_invalid" : "no_credential";
  const said = ({ pass, mode }: Pick<SharedRoute, "pass" | "mode">) =>
    pass
      ? ({ reason: "unidentified", outcome: "pass" } as const)
      : ({ reason: refusal, outcome: outcomeOf({ effect: "deny", mode }) } as const);
  const { reason, outcome } = said(route);
  const other = route.beside === undefined ? undefined : said(route.beside);
  return {
    reason,
    outcome,
    ours: false,
    ...differing(route.beside?.policy, outcome, other?.outcome ?? outcome, other?.reason ?? reason),
  };
}
