import type { Clock } from "../core/clock.ts";
import { WayleaveError } from "../core/errors.ts";
import { recordJob } from "../core/record.ts";
import { refuseEnded } from "./issue.ts";
import type { Lifecycle } from "./lifecycle.ts";
import type { SessionTimings } from "./ports.ts";
import type { Session } from "./table.ts";

export interface Leases {
  /**
   * One heartbeat of one command. Opens the lease on the first, resumes a session that silence suspended. A command that
   * begins takes the place of those that fell silent: a killed one does not bar the rest of its job.
   */
  beat(session: Session, lease: string): Promise<void>;
  /** The command exited: its lease no longer holds the session, which lives on for the job's next command. */
  release(session: Session, lease: string): Promise<void>;
}

const leasePattern = /^[A-Za-z0-9_-]{8,64}$/;
const maxLeases = 64;

export function createLeases(deps: {
  readonly lifecycle: Lifecycle;
  readonly clock: Clock;
  readonly timings: Pick<SessionTimings, "suspendAfterMs">;
}): Leases {
  const { lifecycle, clock } = deps;

  const event = (session: Session, kind: "lease.held" | "lease.released", lease: string) =>
    ({ kind, session: session.id, job: recordJob(session.identity), data: { lease } }) as const;

  return {
    async beat(session, lease) {
      refuseMalformed(lease);
      refuseEnded(session);
      const held = session.leases.get(lease);
      if (held === undefined) {
        const abandoned = silentLeases(session, clock.monotonic(), deps.timings.suspendAfterMs);
        if (session.leases.size - abandoned.length >= maxLeases) {
          throw new WayleaveError(
            "invalid_request",
            `Session ${session.id} holds ${maxLeases} leases already; release some.`,
          );
        }
        await lifecycle.record([
          ...abandoned.map((each) => event(session, "lease.released", each)),
          event(session, "lease.held", lease),
        ]);
      } else {
        held.lastBeatAt = clock.monotonic();
      }
      // Another command of the job may still be silent: the session goes on only when none is.
      if (!silent(session, clock.monotonic(), deps.timings.suspendAfterMs))
        await lifecycle.resume(session, "lease_missed");
    },

    async release(session, lease) {
      refuseMalformed(lease);
      if (!session.leases.has(lease)) return;
      await lifecycle.record([event(session, "lease.released", lease)]);
      if (!silent(session, clock.monotonic(), deps.timings.suspendAfterMs))
        await lifecycle.resume(session, "lease_missed");
    },
  };
}

function refuseMalformed(lease: string): void {
  if (!leasePattern.test(lease)) throw new WayleaveError("invalid_request", "`lease` must match [A-Za-z0-9_-]{8,64}.");
}

/** True where some command of the session has not beaten for `afterMs`. */
export function silent(session: Session, monotonic: number, afterMs: number): boolean {
  return silentLeases(session, monotonic, afterMs).length > 0;
}

function silentLeases(session: Session, monotonic: number, afterMs: number): readonly string[] {
  return [...session.leases].filter(([, { lastBeatAt }]) => monotonic - lastBeatAt >= afterMs).map(([lease]) => lease);
}
