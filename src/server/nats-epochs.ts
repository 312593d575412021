import type { Session } from "../session/table.ts";

/** Numbers that grow whenever an earlier decision may no longer hold. */
export interface Epochs {
  /** Something about the session changed. */
  grow(session: Session): void;
  /** A session that is not known has the largest number of all: nothing decided for it holds. */
  of(session: Session | undefined): number;
}

/** One count for the policy in force and one for each session; both only grow, and so does their sum. */
export function createEpochs(deps: { policy(): object }): Epochs {
  const sessions = new WeakMap<Session, number>();
  let policy = deps.policy();
  let policies = 0;
  return {
    grow: (session) => void sessions.set(session, (sessions.get(session) ?? 0) + 1),
    of(session) {
      const current = deps.policy();
      if (current !== policy) {
        policy = current;
        policies++;
      }
      return session === undefined ? Number.MAX_SAFE_INTEGER : policies + (sessions.get(session) ?? 0);
    },
  };
}
