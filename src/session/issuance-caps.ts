import type { Clock } from "../core/clock.ts";
import { WayleaveError } from "../core/errors.ts";
import type { JobIdentity } from "../core/identity.ts";

/** Most of each that one project gets in a minute; absent: as many as it asks for. */
export interface IssuanceCapsOptions {
  readonly sessionsPerMinute?: number;
  readonly tokensPerMinute?: number;
}

/**
 * How fast a project may take sessions and access tokens, so that one pipeline gone wild (or one stolen into) neither fills the
 * log nor crowds out the others. Each call takes one, or throws `issuance_capped` with when to come again.
 */
export interface IssuanceCaps {
  session(identity: JobIdentity): void;
  token(identity: JobIdentity): void;
}

const minuteMs = 60_000;

/**
 * A bucket for each project, filled evenly: a minute's worth may be taken at once, and then one at a time. Counted in memory, by
 * the monotonic clock; a restart fills every bucket.
 */
export function createIssuanceCaps(clock: Pick<Clock, "monotonic">, options: IssuanceCapsOptions): IssuanceCaps {
  const sessions = buckets(clock, options.sessionsPerMinute);
  const tokens = buckets(clock, options.tokensPerMinute);
  return {
    session: (identity) => refuse(identity, "sessions", options.sessionsPerMinute, sessions(keyOf(identity))),
    token: (identity) => refuse(identity, "access tokens", options.tokensPerMinute, tokens(keyOf(identity))),
  };
}

function keyOf({ issuer, project }: JobIdentity): string {
  return `${issuer} ${project.id}`;
}

function refuse({ project }: JobIdentity, what: string, perMinute: number | undefined, waitMs: number): void {
  if (waitMs === 0) return;
  const retryAfterSeconds = Math.ceil(waitMs / 1000);
  throw new WayleaveError(
    "issuance_capped",
    `${project.path} has as many ${what} as sessions.caps lets it have in a minute (${perMinute}); try again in ${retryAfterSeconds} s.`,
    { retryAfterSeconds },
  );
}

/** Takes one and gives 0, or gives how long it is until there is one, ms. */
function buckets(clock: Pick<Clock, "monotonic">, perMinute: number | undefined): (key: string) => number {
  if (perMinute === undefined) return () => 0;
  const each = minuteMs / perMinute;
  /** When each bucket that is not full will be. The fullest are first to go. */
  const fullAt = new Map<string, number>();
  return (key) => {
    const now = clock.monotonic();
    for (const [other, at] of fullAt) {
      if (at > now) break;
      fullAt.delete(other);
    }
    const next = Math.max(fullAt.get(key) ?? now, now) + each;
    // Sums of fractions, so not to the last bit.
    const over = next - now - minuteMs;
    if (over > 1e-6) return over;
    fullAt.delete(key);
    fullAt.set(key, next);
    return 0;
  };
}
