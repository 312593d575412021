import type { Clock } from "../core/clock.ts";
import type { Admission, AdmissionRequest } from "../gateway/nats/ports.ts";

/** Clients that were admitted, from then until they disconnect. */
export interface Admitted {
  add(admission: Admission, request: AdmissionRequest): void;
  admissionOf(connection: string): Admission | undefined;
  /** What it said of itself; undefined for a connection that is not known. */
  requestOf(connection: string): Pick<AdmissionRequest, "from" | "client"> | undefined;
  /** It reached the server: it stays until `forget`. */
  attached(connection: string): void;
  forget(connection: string): void;
  /** Its connections are on their way out: forgotten after some minutes also where nobody says that they have gone. */
  ended(session: string): void;
}

interface Entry {
  readonly admission: Admission;
  readonly from: string;
  readonly client: AdmissionRequest["client"];
  /** Monotonic ms; none once it is attached. */
  until: number;
}

/** Whoever is admitted and has not reached the server by then is forgotten. */
const attachWithinMs = 30_000;

/** A gateway that was away may tell of a connection's end so much later. */
const lateMs = 10 * 60_000;

/** What was presented is not kept. */
export function createAdmitted(clock: Pick<Clock, "monotonic">): Admitted {
  const waiting = new Map<string, Entry>();
  const connected = new Map<string, Entry>();
  const find = (connection: string): Entry | undefined => {
    const entry = connected.get(connection) ?? waiting.get(connection);
    return entry !== undefined && entry.until >= clock.monotonic() ? entry : undefined;
  };
  return {
    add(admission, { from, client }) {
      const now = clock.monotonic();
      // In order of arrival, so the oldest are in front.
      for (const [connection, { until }] of waiting) {
        if (until >= now) break;
        waiting.delete(connection);
      }
      waiting.set(admission.connection, { admission, from, client, until: now + attachWithinMs });
    },
    admissionOf: (connection) => find(connection)?.admission,
    requestOf: find,
    attached(connection) {
      const entry = waiting.get(connection);
      if (entry === undefined) return;
      waiting.delete(connection);
      connected.set(connection, { ...entry, until: Number.POSITIVE_INFINITY });
    },
    forget(connection) {
      waiting.delete(connection);
      connected.delete(connection);
    },
    ended(session) {
      const now = clock.monotonic();
      for (const [connection, entry] of connected) {
        if (entry.until < now) connected.delete(connection);
        else if (entry.admission.session === session) entry.until = Math.min(entry.until, now + lateMs);
      }
    },
  };
}
