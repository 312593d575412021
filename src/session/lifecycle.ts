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

/** The ends that mean, each alone, that the whole job is over: no later token of it opens another session. */
const overBy: Partial<Record<EndReason, string>> = {
  client_end: "ended by the job itself",
  lease_lost: "its runner fell silent",
  hard_end: "its time was up",
  operator: "ended by an operator",
};

/** A token may arrive this long after its time, leeway of all clocks included. */
const tombstoneLeewayMs = 120_000;

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
    const { issuer, project, job } = session.identity;
    const status = overBy[reason];
    const over = status === undefined || job.ofRun === true ? [] : bury(issuer, project.id, job.id, status);
    await record([{ kind: "session.ended", ...of(session), data: { reason, ...more } }, ...over]);
  };

  /** A tombstone, in memory at once; its record follows. Nothing where there is one already. */
  const bury = (issuer: string, projectId: string, jobId: string, status: string): readonly AuditEvent[] => {
    if (table.tombstone(issuer, projectId, jobId) !== undefined) return [];
    const until = clock.now() + (deps.issuer(issuer)?.maxTokenLifeMs ?? 0) + tombstoneLeewayMs;
    const data = { issuer, project_id: projectId, job_id: jobId, status, until };
    table.bury(data, clock.now());
    return [{ kind: "job.over", data }];
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
      const over = bury(issuer, projectId, jobId, status);
      if (over.length > 0) ends.push(record(over).then(() => undefined));
      await Promise.all(ends);
      return living.length;
    },
  };
}
