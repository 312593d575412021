import type { SessionView } from "../core/session.ts";
import type { Session } from "../session/table.ts";
import type { SessionSummary } from "./contract.ts";

/** A session as JSON shows it. */
export function sessionSummary(session: Session, roles: readonly string[]): SessionSummary {
  const { view } = session;
  return {
    id: session.id,
    state: view.state,
    identity: session.identity,
    opened_at: new Date(view.openedAt).toISOString(),
    expires_at: new Date(view.hardEndAt).toISOString(),
    lease: session.leases.size > 0 ? "held" : session.leased ? "released" : "none",
    roles,
    ...ending(view),
  };
}

function ending(view: SessionView): Partial<SessionSummary> {
  return {
    ...(view.suspendReason === undefined ? {} : { suspend_reason: view.suspendReason }),
    ...(view.endReason === undefined ? {} : { end_reason: view.endReason }),
    ...(view.endedAt === undefined ? {} : { ended_at: new Date(view.endedAt).toISOString() }),
  };
}
