import type { Clock } from "../core/clock.ts";
import { type Fact, type Facts, missingOf } from "../core/fact.ts";
import type { JobIdentity } from "../core/identity.ts";
import { recordJob } from "../core/record.ts";
import { belongsTo, type Lifecycle } from "./lifecycle.ts";
import type { IssuerAccess, PolicyAccess, SessionTimings } from "./ports.ts";
import type { Session, SessionTable } from "./table.ts";

export interface FactReader {
  /** The facts an identity's roles and denies ask for. Never rejects: what cannot be read is missing. */
  read(identity: JobIdentity): Promise<Facts>;
  /** Reads a session's facts again and records what changed. */
  refresh(session: Session): Promise<void>;
  /** Something changed in a project: refresh its sessions now. Resolves with how many were refreshed. */
  refreshProject(issuer: string, projectId: string): Promise<number>;
  /** A new policy may ask for other facts: reads those of every living session now. */
  refreshAll(): Promise<void>;
  /** One poll over every living session: facts, and whether the job still runs. */
  poll(): Promise<void>;
}

export interface FactDeps {
  readonly table: SessionTable;
  readonly lifecycle: Lifecycle;
  readonly clock: Clock;
  readonly timings: Pick<SessionTimings, "pollMs">;
  issuer(name: string): IssuerAccess | undefined;
  policy(): PolicyAccess;
}

/** Facts count as missing after this many polls without an answer. */
const staleAfterPolls = 3;

export function createFactReader(deps: FactDeps): FactReader {
  /** The answer of the CI, or undefined where it gave none. A name the answer leaves out is missing from now on. */
  const ask = async (identity: JobIdentity): Promise<Facts | undefined> => {
    const api = deps.issuer(identity.issuer)?.api;
    const names = deps.policy().factsFor(identity);
    const claimed = claimedFacts(deps, identity, names);
    if (api === undefined || names.length === 0) return claimed;
    const observedAt = deps.clock.now(); // from before the question: a slow answer is an old answer
    const staleAt = observedAt + staleAfterPolls * deps.timings.pollMs;
    const values = await api.facts(identity, names).catch(() => undefined);
    if (values === undefined) return undefined;
    const verified = Object.entries(values).map(([name, value]): [string, Fact] => [
      name,
      { value, observedAt, staleAt },
    ]);
    return { ...claimed, ...Object.fromEntries(verified) };
  };

  /** The newest question wins: an older answer that arrives late is dropped. */
  const asked = new WeakMap<Session, number>();
  let question = 0;

  const refresh: FactReader["refresh"] = async (session) => {
    const mine = ++question;
    asked.set(session, mine);
    const facts = await ask(session.identity);
    // Without an answer the last values stand until they are stale.
    if (facts === undefined || asked.get(session) !== mine || session.view.state === "ended") return;
    const before = session.facts;
    deps.table.setFacts(session, facts);
    if (sameValues(before, facts)) return;
    const data = { facts, ...missingOf(facts, deps.policy().factsFor(session.identity)) };
    await deps.lifecycle.record([{ kind: "facts.read", session: session.id, job: recordJob(session.identity), data }]);
  };

  const living = () => [...deps.table.all()].filter((session) => session.view.state !== "ended");

  return {
    read: async (identity) => (await ask(identity)) ?? claimedFacts(deps, identity, deps.policy().factsFor(identity)),
    refresh,
    async refreshProject(issuer, projectId) {
      const sessions = living().filter(
        (session) => session.identity.issuer === issuer && belongsTo(session, projectId),
      );
      await Promise.all(sessions.map(refresh));
      return sessions.length;
    },
    async refreshAll() {
      await Promise.all(living().map(refresh));
    },
    async poll() {
      for (const session of living()) {
        const api = deps.issuer(session.identity.issuer)?.api;
        if (api === undefined) continue;
        const job = await api.jobStatus(session.identity).catch(() => undefined);
        if (job?.over === true) {
          const { issuer, project, job: of } = session.identity;
          await deps.lifecycle.jobOver(issuer, project.id, of.id, job.status);
        } else {
          await refresh(session);
        }
      }
    },
  };
}

/** What the token says holds as long as the session; what the CI's API says of the same goes before it. */
function claimedFacts({ issuer, clock }: FactDeps, identity: JobIdentity, names: readonly string[]): Facts {
  const values = issuer(identity.issuer)?.claimFacts?.(identity) ?? {};
  const observedAt = clock.now();
  const staleAt = Number.MAX_SAFE_INTEGER;
  const asked = Object.entries(values).filter(([name]) => names.includes(name));
  return Object.fromEntries(
    asked.map(([name, value]): [string, Fact] => [name, { value, observedAt, staleAt, claimed: true }]),
  );
}

function sameValues(before: Facts, after: Facts): boolean {
  const names = new Set([...Object.keys(before), ...Object.keys(after)]);
  return [...names].every(
    (name) => before[name]?.value === after[name]?.value && before[name]?.claimed === after[name]?.claimed,
  );
}
