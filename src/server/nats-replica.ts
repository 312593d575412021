import type { Clock } from "../core/clock.ts";
import type { SessionChange } from "../gateway/nats/ports.ts";
import type { Policy } from "../policy/policy.ts";
import type { FedSession, FeedLine, PolicyTexts } from "./nats-feed.ts";
import { endedText } from "./nats-session.ts";

export interface ReplicaDeps {
  readonly clock: Clock;
  /** Throws for texts that make no policy of that version. */
  compile(texts: PolicyTexts): Policy;
  readonly staleAfterMs?: number;
}

/** A gateway that has not heard from the broker for so long refuses everything. */
const defaultStaleAfterMs = 5_000;

/** An ended session stays known so long, so that a late message hears why. */
const keepEndedMs = 10 * 60_000;

const gone = "it is over, or no role of this job names a target of this gateway any more";

/**
 * Sessions and policy as the broker's feed tells them, and whether that may still be believed.
 *
 * A line is as old as its own time says, counted from when the feed was asked for: neither a buffer nor a pause of this process
 * makes an old line look new, and the clocks of the two machines need not agree.
 */
export class NatsReplica {
  readonly #deps: ReplicaDeps;
  readonly #staleAfterMs: number;
  readonly #listeners = new Set<(change: SessionChange) => void>();
  readonly #epochs = new Map<string, number>();
  #sessions = new Map<string, FedSession>();
  #policy: { readonly inForce: string; readonly compiled: Policy } | undefined;
  #askedAt = Number.NEGATIVE_INFINITY;
  /** A snapshot has come since the feed was asked for. */
  #begun = false;
  /** Of the last line: its monotonic ms here, its wall ms there, and the wall ms here when it came. */
  #heard = { monotonic: Number.NEGATIVE_INFINITY, wall: 0, cameAt: Number.NEGATIVE_INFINITY };
  #epoch = 0;
  #believed = false;

  constructor(deps: ReplicaDeps) {
    this.#deps = deps;
    this.#staleAfterMs = deps.staleAfterMs ?? defaultStaleAfterMs;
  }

  /** False before the first snapshot, and where the last line is too old by either clock (one stands still in a machine asleep): then nothing may be decided. */
  get fresh(): boolean {
    const { clock } = this.#deps;
    const { monotonic, cameAt } = this.#heard;
    const age = Math.max(clock.monotonic() - monotonic, clock.now() - cameAt);
    return this.#policy !== undefined && age <= this.#staleAfterMs;
  }

  /** The broker's wall clock, ms since the epoch: never behind it, and ahead by no more than a line was under way. */
  now(): number {
    return this.#heard.wall + (this.#deps.clock.monotonic() - this.#heard.monotonic);
  }

  /** Undefined before the first snapshot. */
  get policy(): Policy | undefined {
    return this.#policy?.compiled;
  }

  session(id: string): FedSession | undefined {
    return this.#sessions.get(id);
  }

  /** Grows with whatever may have changed for the session, belief lost and regained among it. */
  epoch(id: string): number {
    this.look();
    return this.#sessions.has(id) ? this.#epoch + (this.#epochs.get(id) ?? 0) : Number.MAX_SAFE_INTEGER;
  }

  watch(listener: (change: SessionChange) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** The feed is asked for now: what it says of time counts from here, and it must begin with a snapshot. */
  asked(): void {
    this.#askedAt = this.#deps.clock.monotonic();
    this.#begun = false;
  }

  /** One line of the feed. Throws for what cannot be understood: then the feed must be asked for again. */
  take(line: FeedLine): void {
    if (line.kind === "snapshot") this.#begin(line);
    else if (!this.#begun) throw new TypeError("a feed begins with a snapshot");
    else this.#hear(line);
    if (line.kind === "session") this.#change(line.session);
    if (line.kind === "beat") this.#forget();
    this.look();
  }

  /** Notices that belief is lost or regained, and tells of every session. To be called now and then. */
  look(): void {
    if (this.fresh === this.#believed) return;
    this.#believed = !this.#believed;
    this.#epoch++;
    for (const id of this.#sessions.keys()) this.#tell({ kind: "changed", session: id });
  }

  #hear({ since, at }: FeedLine): void {
    const { clock } = this.#deps;
    const monotonic = Math.min(this.#askedAt + since, clock.monotonic());
    if (!Number.isFinite(monotonic) || !Number.isFinite(at)) throw new TypeError("a line of the feed has no time");
    this.#heard = { monotonic, wall: at, cameAt: clock.now() };
  }

  #begin(line: Extract<FeedLine, { kind: "snapshot" }>): void {
    const { version, candidate } = line.policy;
    const inForce = JSON.stringify([version, candidate?.version, candidate?.canary]);
    if (this.#policy?.inForce !== inForce) this.#policy = { inForce, compiled: this.#deps.compile(line.policy) };
    this.#hear(line);
    this.#begun = true;
    const before = this.#sessions;
    this.#sessions = new Map(line.sessions.map((fed) => [fed.view.id, withIdentity(fed, before.get(fed.view.id))]));
    this.#epoch++;
    for (const id of before.keys()) {
      if (this.#sessions.has(id)) continue;
      this.#epochs.delete(id);
      this.#tell({ kind: "ended", session: id, why: gone });
    }
    for (const fed of this.#sessions.values()) this.#announce(fed);
  }

  #change(fed: FedSession): void {
    const { id } = fed.view;
    this.#sessions.set(id, withIdentity(fed, this.#sessions.get(id)));
    this.#epochs.set(id, (this.#epochs.get(id) ?? 0) + 1);
    this.#announce(fed);
  }

  #forget(): void {
    const oldest = this.now() - keepEndedMs;
    for (const [id, { view }] of this.#sessions) {
      if (view.state !== "ended" || (view.endedAt ?? 0) > oldest) continue;
      this.#sessions.delete(id);
      this.#epochs.delete(id);
    }
  }

  #announce({ view }: FedSession): void {
    const { id } = view;
    const why = view.state === "ended" ? endedText(view, this.now()) : undefined;
    this.#tell(why === undefined ? { kind: "changed", session: id } : { kind: "ended", session: id, why });
  }

  #tell(change: SessionChange): void {
    for (const listener of this.#listeners) listener(change);
  }
}

/** What policy finds out about a job it keeps with the identity object, and an identity never changes. */
function withIdentity(fed: FedSession, known: FedSession | undefined): FedSession {
  return known === undefined ? fed : { ...fed, view: { ...fed.view, identity: known.view.identity } };
}
