import type { Clock } from "../core/clock.ts";
import { type AuditEvent, type Recorder, recordJob } from "../core/record.ts";
import type { EndReason, SuspendReason } from "../core/session.ts";
import type { IssuerAccess } from "./ports.ts";
import type { Session, SessionTable } from "./table.ts";

/** Ends, suspends and resumes sessions: memory first, then the record. */
export interface Lifecycle {
  /** Appends, then applies: for everything that must be durable before it is true. */
  record(events: readonly AuditEvent[]): Promise<readonly string[]>;
  /** Final. Acts at once; resolves when the end is durable. Ending an ended session resolves without effect. */
  end(session: Session, reason: EndReason, more?: { readonly detail?: string; readonly by?: string }): Promise<void>;
  suspend(session: Session, reason: SuspendReason): Promise<void>;
  resume(session: Session, reason: SuspendReason): Promise<void>;
  /**
   * The CI says a job is over: a tombstone for every token that could still arrive, and the end of the job's sessions
   * in that project. Resolves with the number of sessions it ended.
   */
  jobOver(issuer: string, projectId: string, jobId: string, status: string): Promise<number>;
}

export interface LifecycleDeps {
  readonly table: SessionTable;
  readonly recorder: Pick<Recorder, "append">;
  readonly clock: Clock;
  issuer(name: string): IssuerAccess | undefined;
  /** A session ended or was suspended or resumed: whoever holds something open for it should look. */
  readonly onChange?: (session: Session) => void;
}

/** True where a project id is one of the job's: the project whose code runs, or the one that runs it. */
export function belongsTo(session: Session, projectId: string): boolean {
  const { project, attributes } = session.identity;
  const ids = attributes.project_id;
  return project.id === projectId || (Array.isArray(ids) && ids.includes(projectId));
}

export function createLifecycle(deps: LifecycleDeps): Lifecycle {
  const { table, recorder, clock } = deps;

  const record = async (events: readonly AuditEvent[]): Promise<readonly string[]> => {
    const records = await recorder.append(events);
    for (const written of records) table.apply(written);
    return records.map((written) => written.id);
  };

  const of = (session: Session) => ({ session: session.id, job: recordJob(session.identity) });

  const end: Lifecycle["end"] = async (session, reason, more = {}) => {
    if (!table.end(session, reason, clock.now())) return;
    deps.onChange?.(session);
    await record([{ kind: "session.ended", ...of(session), data: { reason, ...more } }]);
  };

  return {
    record,
    end,

    async suspend(session, reason) {
      if (!table.suspend(session, reason, true)) return;
      deps.onChange?.(session);
      await record([{ kind: "session.suspended", ...of(session), data: { reason } }]);
    },

    async resume(session, reason) {
      if (session.view.state === "ended" || !session.suspensions.has(reason)) return;
      // A resume widens, so it is durable before it is true.
      await record([{ kind: "session.resumed", ...of(session), data: { reason } }]);
      deps.onChange?.(session);
    },

    async jobOver(issuer, projectId, jobId, status) {
      const sessions = table.ofJob(issuer, jobId).filter((session) => belongsTo(session, projectId));
      const living = sessions.filter((session) => session.view.state !== "ended");
      const ends = living.map((session) => end(session, "job_finished", { detail: `the CI says ${status}` }));
      if (table.tombstone(issuer, projectId, jobId) === undefined) {
        const life = deps.issuer(issuer)?.maxTokenLifeMs ?? 0;
        const until = clock.now() + life + 120_000;
        ends.push(
          record([{ kind: "job.over", data: { issuer, project_id: projectId, job_id: jobId, status, until } }]).then(
            () => undefined,
          ),
        );
      }
      await Promise.all(ends);
      return living.length;
    },
  };
}
