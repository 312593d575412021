import type { Clock } from "../core/clock.ts";
import type { Session, SessionTable, TableChange } from "./table.ts";

/** What a gateway that does not ask must refuse now. Each list is sorted, so that the same state gives the same bytes. */
export interface Refused {
  /** Sessions that ended, while a token of theirs may live, and those that are suspended. */
  readonly sessions: readonly string[];
  /** `jti` of revoked access tokens that may live. */
  readonly tokens: readonly string[];
}

/** The refusals that follow from the session table, kept current while it changes. */
export interface RefusedSessions {
  /** As of now. The same value again while nothing changed. */
  current(): Refused;
  /** Calls back once for each change that adds to or takes from the list; what only ran out of time is no change. Returns how to stop. */
  onChange(listener: () => void): () => void;
  close(): void;
}

export interface RefusedDeps {
  readonly table: Pick<SessionTable, "all" | "revocations" | "watch">;
  readonly clock: Clock;
  /** Longest life of anything that names a session and that a gateway takes without asking, ms. */
  readonly longestTokenLifeMs: number;
  /** The same for sessions that opened before this run: what they hold may have been made under another configuration. */
  readonly longestEverMs: number;
}

/** A gateway's clock may run behind by this much, its own leeway for `exp` included. */
export const refusedLeewayMs = 120_000;

/**
 * Keeps which sessions and tokens must be refused wherever nobody asks. An ended session stays listed until its end plus
 * the longest token life plus the leeway, by the wall and by the monotonic clock, whatever the table forgets meanwhile and
 * whatever arrives late or twice; a suspended one until it goes on.
 */
export function watchRefused(deps: RefusedDeps): RefusedSessions {
  const { table, clock } = deps;
  const startedAt = clock.now();
  const ended = new Expiring(clock);
  const tokens = new Expiring(clock);
  const suspended = new Set<string>();
  const listeners = new Set<() => void>();
  let known: Refused | undefined;

  const changed = (): void => {
    known = undefined;
    for (const listener of listeners) listener();
  };
  /** True where the lists differ afterwards. */
  const see = ({ id, view }: Session): boolean => {
    if (view.state === "ended") {
      const life = view.openedAt > startedAt ? deps.longestTokenLifeMs : deps.longestEverMs;
      const gone = (view.endedAt ?? clock.now()) + life + refusedLeewayMs;
      const wasSuspended = suspended.delete(id);
      return ended.add(id, gone) !== wasSuspended;
    }
    if (ended.has(id)) return false;
    const before = suspended.size;
    if (view.state === "suspended") suspended.add(id);
    else suspended.delete(id);
    return suspended.size !== before;
  };
  const take = (change: TableChange): boolean =>
    "session" in change ? see(change.session) : tokens.add(change.revoked.jti, change.revoked.until + refusedLeewayMs);

  for (const session of table.all()) see(session);
  for (const [jti, until] of table.revocations()) tokens.add(jti, until + refusedLeewayMs);
  const unwatch = table.watch((change) => {
    if (take(change)) changed();
  });

  return {
    current() {
      const ran = [ended.expire(), tokens.expire()].includes(true);
      if (ran || known === undefined) {
        known = { sessions: [...ended.keys(), ...suspended].sort(), tokens: [...tokens.keys()].sort() };
      }
      return known;
    },
    onChange(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    close() {
      unwatch();
      listeners.clear();
    },
  };
}

/** Names that are kept until a time has passed on both clocks: neither a jump nor a pause lets one go early. */
class Expiring {
  readonly #until = new Map<string, { readonly wall: number; readonly monotonic: number }>();
  readonly #clock: Clock;
  /** No name can go before this, wall ms: what makes asking again cheap. */
  #next = Number.POSITIVE_INFINITY;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  has(name: string): boolean {
    return this.#until.has(name);
  }

  keys(): IterableIterator<string> {
    return this.#until.keys();
  }

  /** Takes a name in, or keeps it longer; never shorter. False for one that was there or whose time is over. */
  add(name: string, wall: number): boolean {
    const left = wall - this.#clock.now();
    if (left < 0) return false;
    const before = this.#until.get(name);
    const monotonic = this.#clock.monotonic() + left;
    this.#until.set(name, {
      wall: Math.max(wall, before?.wall ?? 0),
      monotonic: Math.max(monotonic, before?.monotonic ?? 0),
    });
    this.#next = Math.min(this.#next, wall);
    return before === undefined;
  }

  /** Lets go of what is over; true where anything was. */
  expire(): boolean {
    const now = this.#clock.now();
    if (now <= this.#next) return false;
    const monotonic = this.#clock.monotonic();
    let gone = false;
    this.#next = Number.POSITIVE_INFINITY;
    for (const [name, until] of this.#until) {
      if (until.wall < now && until.monotonic < monotonic) gone = this.#until.delete(name);
      else this.#next = Math.min(this.#next, until.wall);
    }
    return gone;
  }
}
