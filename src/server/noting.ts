import type { Logger } from "pino";
import type { Clock } from "../core/clock.ts";
import type { AuditEvent, Recorder } from "../core/record.ts";
import { createRefusalRecords } from "../gateway/refusal-records.ts";

/** Logs and records gateways' questions that are not answered. */
export function refusing(log: Logger, clock: Clock, note: (event: AuditEvent) => void) {
  const record = createRefusalRecords({ clock, note });
  return (detail: string, reason?: string, gateway?: string): void => {
    log.warn({ detail, reason, gateway }, "a gateway's question was refused");
    record(detail, reason, gateway);
  };
}

/** Notes what may go unrecorded when nothing can be: it was refused already. */
export function noting(recorder: Pick<Recorder, "note">, onFault: (error: unknown) => void) {
  return (event: AuditEvent): void => {
    try {
      recorder.note(event);
    } catch (error) {
      onFault(error);
    }
  };
}
