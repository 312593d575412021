import type { Clock } from "../core/clock.ts";
import type { EndReason } from "../core/session.ts";
import { silent } from "./lease.ts";
import type { Lifecycle } from "./lifecycle.ts";
import type { PolicyAccess, SessionTimings } from "./ports.ts";
import type { Session, SessionTable } from "./table.ts";

export interface SweepDeps {
  readonly table: SessionTable;
  readonly lifecycle: Lifecycle;
  readonly clock: Clock;
  readonly timings: SessionTimings;
  policy(): PolicyAccess;
}

/**
 * One pass over all sessions: what time alone decides. Ends those past their hard end, silent or withdrawn for too long;
 * suspends and resumes those whose lease or policy says so. Run it every half second; it awaits its records.
 */
export function createSweep(deps: SweepDeps): () => Promise<void> {
  /** Monotonic ms since when policy grants a session nothing. */
  const withdrawnSince = new Map<string, number>();
  let checked = "";

  return async () => {
    const now = deps.clock.now();
    const monotonic = deps.clock.monotonic();
    const policy = deps.policy();
    const policyChanged = policy.inForce !== checked;
    checked = policy.inForce;
    const changes: Promise<void>[] = [];
    for (const session of deps.table.all()) {
      if (session.view.state === "ended") {
        withdrawnSince.delete(session.id);
        continue;
      }
      if (policyChanged || withdrawnSince.has(session.id)) changes.push(...withdraw(session, policy, monotonic));
      const reason = due(session, now, monotonic);
      if (reason !== undefined) changes.push(deps.lifecycle.end(session, reason));
      else if (silent(session, monotonic, deps.timings.suspendAfterMs)) {
        changes.push(deps.lifecycle.suspend(session, "lease_missed"));
      }
    }
    deps.table.prune(now);
    await Promise.all(changes);
  };

  function due(session: Session, now: number, monotonic: number): EndReason | undefined {
    if (session.view.hardEndAt <= now) return "hard_end";
    if (silent(session, monotonic, deps.timings.endAfterMs)) return "lease_lost";
    const since = withdrawnSince.get(session.id);
    return since !== undefined && monotonic - since >= deps.timings.withdrawnEndMs ? "policy_withdrawn" : undefined;
  }

  function withdraw(session: Session, policy: PolicyAccess, monotonic: number): readonly Promise<void>[] {
    const granted = policy.rolesFor(session.identity).length > 0;
    if (granted) {
      withdrawnSince.delete(session.id);
      return session.suspensions.has("policy_withdrawn") ? [deps.lifecycle.resume(session, "policy_withdrawn")] : [];
    }
    if (!withdrawnSince.has(session.id)) withdrawnSince.set(session.id, monotonic);
    return [deps.lifecycle.suspend(session, "policy_withdrawn")];
  }
}
