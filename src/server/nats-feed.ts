import type { Clock } from "../core/clock.ts";
import type { Facts } from "../core/fact.ts";
import type { IssuerType } from "../core/identity.ts";
import type { Canary } from "../core/policy-record.ts";
import type { SessionView } from "../core/session.ts";
import type { Session, SessionTable } from "../session/table.ts";
import { type NatsFront, type NatsPolicy, natsTargetsOf } from "./nats-session.ts";

interface Texts {
  readonly version: string;
  readonly files: readonly { readonly name: string; readonly text: string }[];
  readonly lock?: { readonly name: string; readonly text: string };
}

/** The texts a policy was made of: whoever compiles them gets the policy in force, with its candidate beside it. */
export interface PolicyTexts extends Texts {
  readonly candidate?: Texts & { readonly canary: Canary };
  readonly issuers: readonly { readonly name: string; readonly type: IssuerType }[];
}

export interface FedSession {
  readonly view: SessionView;
  readonly facts: Facts;
}

interface FeedTime {
  /** ms since the broker was asked for the feed, by a clock that only runs forward: how old the line is may be told from it. */
  readonly since: number;
  /** The broker's wall clock, ms since the epoch. */
  readonly at: number;
}

/**
 * One line of what a gateway of its own process follows. `snapshot` is everything and replaces everything; it comes first, and
 * whenever another policy is in force. `session` replaces one session. `beat` says that nothing changed.
 */
export type FeedLine = FeedTime &
  (
    | { readonly kind: "snapshot"; readonly policy: PolicyTexts; readonly sessions: readonly FedSession[] }
    | { readonly kind: "session"; readonly session: FedSession }
    | { readonly kind: "beat" }
  );

export interface NatsFeed {
  /** Calls `send` with each line, the snapshot at once. Returns how to stop. */
  follow(send: (line: FeedLine) => void): () => void;
  /** Looks whether another policy is in force, and sends it. Costs nothing where none is. */
  policyChanged(): void;
  close(): void;
}

export interface NatsFeedDeps {
  readonly gateway: NatsFront;
  readonly clock: Clock;
  readonly table: Pick<SessionTable, "all" | "watch">;
  policy(): NatsPolicy;
  texts(): PolicyTexts;
  /** Runs `run` every `ms`; returns how to stop. */
  every(ms: number, run: () => void): () => void;
}

/** A follower that has not heard for some of these believes nothing any more. */
const feedBeatMs = 1_000;

/** Clients of a session that ended just now are told why. */
const tellEndedMs = 10 * 60_000;

/** Sessions with a NATS target at this gateway, and the policy: what it takes to decide there. No token, key or secret is in it. */
export function createNatsFeed(deps: NatsFeedDeps): NatsFeed {
  const { gateway, clock, table } = deps;
  const followers = new Set<(line: Parts) => void>();
  let sent = deps.policy();

  const concerns = ({ identity }: Session): boolean => natsTargetsOf(deps.policy(), identity, gateway).length > 0;
  const snapshot = (): Parts => {
    const oldest = clock.now() - tellEndedMs;
    const told = [...table.all()].filter(({ view }) => view.state !== "ended" || (view.endedAt ?? 0) > oldest);
    return { kind: "snapshot", policy: deps.texts(), sessions: told.filter(concerns).map(fed) };
  };
  const tell = (line: Parts): void => {
    for (const follower of followers) follower(line);
  };
  const look = (): void => {
    if (deps.policy() === sent) return;
    sent = deps.policy();
    tell(snapshot());
  };

  const unwatch = table.watch((change) => {
    if (!("session" in change)) return;
    look();
    if (concerns(change.session)) tell({ kind: "session", session: fed(change.session) });
  });
  const stopBeat = deps.every(feedBeatMs, () => {
    look();
    tell({ kind: "beat" });
  });

  return {
    follow(send) {
      const began = clock.monotonic();
      const follower = (parts: Parts): void =>
        send({ ...parts, since: clock.monotonic() - began, at: clock.now() } as FeedLine);
      look();
      followers.add(follower);
      follower(snapshot());
      return () => followers.delete(follower);
    },
    policyChanged: look,
    close() {
      unwatch();
      stopBeat();
      followers.clear();
    },
  };
}

type Parts = FeedLine extends infer Line ? (Line extends FeedTime ? Omit<Line, keyof FeedTime> : never) : never;

const fed = ({ view, facts }: Session): FedSession => ({ view, facts });
