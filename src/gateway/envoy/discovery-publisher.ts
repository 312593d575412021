import type { Clock } from "../../core/clock.ts";
import type { RefusalsContent } from "./discovery-content.ts";

/** Runs something once, later; returns how to call it off. */
export type After = (ms: number, run: () => void) => () => void;

/** Names one state of a gateway's refusals. */
export interface PublishedVersion {
  /** Tells this state from every other of this broker, also from those before a restart. */
  readonly version: string;
  /** ms since the epoch. */
  readonly madeAt: number;
}

/** One state of a gateway's refusals, as it goes out on every transport. */
export interface Publication extends PublishedVersion {
  /** ms since the epoch; nobody may believe it later. */
  readonly validUntil: number;
  readonly content: RefusalsContent;
}

export interface PublisherDeps {
  readonly clock: Clock;
  readonly after: After;
  /** How long a gateway goes on without hearing more. */
  readonly ttlMs: number;
  /** Names this run of the broker, so that versions are never repeated. */
  readonly run: string;
  make(validUntil: number): RefusalsContent;
}

/** Followers are told at most this often: a burst of ends is one push. */
const leastIntervalMs = 5;

/** Making a list that got long takes at most about a fifth of the time. */
const restFactor = 4;

/** So many versions can still be recognised when a client says that it took them. */
const remembered = 32;

/** The newest refusals of one gateway. Rests where nobody follows: then only `current` makes anything. */
export class Publisher {
  readonly #deps: PublisherDeps;
  readonly #listeners = new Set<() => void>();
  readonly #versions = new Map<string, PublishedVersion>();
  #made: { readonly publication: Publication; readonly at: number } | undefined;
  #stale = true;
  #sequence = 0;
  #toldAt = Number.NEGATIVE_INFINITY;
  #restMs = leastIntervalMs;
  #callOffPush: (() => void) | undefined;
  #callOffBeat: (() => void) | undefined;

  constructor(deps: PublisherDeps) {
    this.#deps = deps;
  }

  /** Complete up to the last change, and never older than a third of the time to live. Throws what making it throws. */
  current(): Publication {
    const now = this.#deps.clock.monotonic();
    if (this.#stale || this.#made === undefined || now - this.#made.at >= this.#deps.ttlMs / 3) {
      this.#made = { publication: this.#make(), at: now };
      this.#stale = false;
      if (this.#listeners.size > 0) this.#beat(now);
    }
    return this.#made.publication;
  }

  /** A version of the last few, by its name. */
  known(version: string): PublishedVersion | undefined {
    return this.#versions.get(version);
  }

  /** Somebody is refused who was not, or no longer: those who follow hear of it within milliseconds. */
  changed(): void {
    this.#stale = true;
    if (this.#listeners.size === 0 || this.#callOffPush !== undefined) return;
    const rest = this.#toldAt + this.#restMs - this.#deps.clock.monotonic();
    this.#callOffPush = this.#deps.after(Math.max(0, rest), () => this.#tell());
  }

  /** Calls back whenever `current` would give something newer. Returns how to stop. */
  follow(listener: () => void): () => void {
    this.#listeners.add(listener);
    if (this.#callOffBeat === undefined) this.#beat(this.#made?.at);
    return () => {
      this.#listeners.delete(listener);
      if (this.#listeners.size === 0) this.#rest();
    };
  }

  close(): void {
    this.#listeners.clear();
    this.#rest();
  }

  #make(): Publication {
    const { clock, ttlMs, run } = this.#deps;
    const madeAt = clock.now();
    const validUntil = madeAt + ttlMs;
    const began = clock.monotonic();
    const content = this.#deps.make(validUntil);
    this.#restMs = Math.max(leastIntervalMs, restFactor * (clock.monotonic() - began));
    const version = `${run}.${++this.#sequence}`;
    this.#versions.set(version, { version, madeAt });
    if (this.#versions.size > remembered) this.#versions.delete(this.#versions.keys().next().value ?? "");
    return { version, madeAt, validUntil, content };
  }

  #tell(): void {
    this.#callOffPush?.();
    this.#callOffPush = undefined;
    this.#toldAt = this.#deps.clock.monotonic();
    for (const listener of this.#listeners) listener();
  }

  /** What nobody changes is said again a third of its life after it was made, well before anybody stops believing it. */
  #beat(madeAt = this.#deps.clock.monotonic()): void {
    const due = madeAt + this.#deps.ttlMs / 3 - this.#deps.clock.monotonic();
    this.#callOffBeat?.();
    this.#callOffBeat = this.#deps.after(Math.max(0, due), () => {
      this.#stale = true;
      this.#beat(); // the next one, also where nobody can take this one
      this.#tell();
    });
  }

  #rest(): void {
    this.#callOffPush?.();
    this.#callOffBeat?.();
    this.#callOffPush = undefined;
    this.#callOffBeat = undefined;
  }
}
