/** What a key signs. Each class has its own keys, its own JWKS and audiences of its own; `nats` signs user JWTs, and has none. */
export const keyClasses = ["access-token", "assertion", "jwt-svid", "nats"] as const;
export type KeyClass = (typeof keyClasses)[number];

/**
 * How far a key has come. No key ever goes back, so of two accounts of one key (the key file's and the journal's) the one
 * that is further is true, whichever of them a crash or a backup left behind.
 */
const keyStates = [
  /** On disk only: no record says that it is used. Neither published nor accepted. */
  "staged",
  /** Published, not signing. */
  "prepared",
  /** Signs. */
  "active",
  /** Signs no more, still published: its last token lives. */
  "retiring",
  /** Its last token has expired. */
  "retired",
  /** Refused, whatever it signed. */
  "revoked",
] as const;
export type KeyState = (typeof keyStates)[number];

/** One key's life so far. Times are ms since the epoch. */
export interface KeyLife {
  readonly kid: string;
  readonly state: KeyState;
  readonly createdAt: number;
  /** When it first was in the JWKS. */
  readonly publishedAt?: number;
  /** A prepared key may sign from here on: every gateway has seen it. */
  readonly usableAt?: number;
  /** When it began to sign. */
  readonly activatedAt?: number;
  /** When it last could have signed. */
  readonly stoppedAt?: number;
  /** Longest life of any token it may have signed, ms. */
  readonly lifeMs: number;
}

/** True for a key whose tokens may be accepted, and which is in the JWKS. */
export function isLive({ state }: Pick<KeyLife, "state">): boolean {
  return state === "prepared" || state === "active" || state === "retiring";
}

/** When the last token that the key signed expires; undefined while it signs or where it never did. */
export function lastTokenExpiresAt({ stoppedAt, lifeMs }: KeyLife): number | undefined {
  return stoppedAt === undefined ? undefined : stoppedAt + lifeMs;
}

/** How far: to compare two states. */
export function stateRank(state: KeyState): number {
  return keyStates.indexOf(state);
}

/** Two accounts of one key as one: the further state, and of every time the one that keeps it longer. */
export function joinLives<K extends KeyLife>(a: K, b: KeyLife): K {
  const publishedAt = latest(a.publishedAt, b.publishedAt);
  const usableAt = latest(a.usableAt, b.usableAt);
  const activatedAt = latest(a.activatedAt, b.activatedAt);
  const stoppedAt = latest(a.stoppedAt, b.stoppedAt);
  return {
    ...a,
    state: stateRank(b.state) > stateRank(a.state) ? b.state : a.state,
    createdAt: Math.min(a.createdAt, b.createdAt),
    ...(publishedAt === undefined ? {} : { publishedAt }),
    ...(usableAt === undefined ? {} : { usableAt }),
    ...(activatedAt === undefined ? {} : { activatedAt }),
    ...(stoppedAt === undefined ? {} : { stoppedAt }),
    lifeMs: Math.max(a.lifeMs, b.lifeMs),
  };
}

function latest(a: number | undefined, b: number | undefined): number | undefined {
  if (a === undefined || b === undefined) return a ?? b;
  return Math.max(a, b);
}
