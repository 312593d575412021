import { WayleaveError } from "../../core/errors.ts";
import type { AuditEvent } from "../../core/record.ts";
import type { NatsAuthority } from "./ports.ts";

/** Something that may happen once its records are written. */
export interface Sealed {
  readonly events: readonly AuditEvent[];
  /** `before`: the records are durable first. `behind`: they are on their way to the disk. */
  readonly written: "before" | "behind";
  /** Messages that are recorded in it. */
  readonly messages: number;
  /** Lets it happen. */
  apply(): void;
}

/** Times that a full journal is waited for. */
const mostTries = 1_000;

type Journal = Pick<NatsAuthority, "append" | "note" | "settled">;

export interface GroupCommitDeps {
  readonly journal: Journal;
  /** What gathered since the last time, or undefined where nothing did. */
  seal(): Sealed | undefined;
  /** A record could not be written, or what it was for failed. Nothing happens after it. A journal that is full is waited for. */
  failed(error: unknown): void;
  /** Messages that may be ahead of the disk, those of all connections with this journal together. */
  readonly maxAhead: number;
}

/** Messages on their way into one journal, from all connections: one that sends much must not fill it for others. */
interface JournalUse {
  /** In records that are waited for. */
  before: number;
  /** In records that nobody waits for, since somebody last did. */
  behind: number;
}

const uses = new WeakMap<Journal, JournalUse>();

function useOf(journal: Journal): JournalUse {
  const use = uses.get(journal) ?? { before: 0, behind: 0 };
  uses.set(journal, use);
  return use;
}

/**
 * Writes down what is to happen, then lets it happen, in order. While one write is under way the next gathers, so that a
 * slow disk makes larger writes and not more of them. Nothing that was not written ever happens.
 */
export class GroupCommit {
  readonly #deps: GroupCommitDeps;
  readonly #use: JournalUse;
  #busy = false;
  #stopped = false;
  #whenIdle: (() => void)[] = [];

  constructor(deps: GroupCommitDeps) {
    this.#deps = deps;
    this.#use = useOf(deps.journal);
  }

  /** Takes what gathered, unless a write is under way: then it is taken after that. */
  flush(): void {
    while (!this.#busy && !this.#stopped) {
      const sealed = this.#seal();
      if (sealed === undefined) break;
      this.#write(sealed);
    }
    if (!this.#busy || this.#stopped) this.#idle();
  }

  /** Nothing happens any more, written or not. */
  stop(): void {
    this.#stopped = true;
    this.#idle();
  }

  /** Resolves when everything that gathered so far has happened, or never will. */
  settled(): Promise<void> {
    return new Promise((resolve) => {
      this.#whenIdle.push(resolve);
      this.flush();
    });
  }

  #seal(): Sealed | undefined {
    try {
      return this.#deps.seal();
    } catch (error) {
      this.#fail(error);
      return undefined;
    }
  }

  #write(sealed: Sealed): void {
    if (sealed.events.length === 0) {
      this.#apply(sealed);
      return;
    }
    if (sealed.written === "before") {
      this.#wait(() => this.#append(sealed), sealed);
      return;
    }
    const left = this.#note(sealed.events);
    if (left === undefined) return;
    this.#use.behind += sealed.messages;
    if (left.length === 0 && this.#use.behind <= this.#deps.maxAhead) {
      this.#apply(sealed);
      return;
    }
    this.#use.behind = 0;
    this.#wait(() => this.#catchUp(left), sealed);
  }

  /** In turn with other connections, so that the journal has room for everybody else's records too. */
  async #append({ events, messages }: Sealed): Promise<void> {
    const { journal, maxAhead } = this.#deps;
    const use = this.#use;
    while (use.before > 0 && use.before + messages > maxAhead) await journal.settled();
    use.before += messages;
    try {
      await journal.append(events);
    } finally {
      use.before -= messages;
    }
  }

  /** Gives those that the journal has no room for now; undefined where that was the end. */
  #note(events: readonly AuditEvent[]): readonly AuditEvent[] | undefined {
    for (const [at, event] of events.entries()) {
      try {
        this.#deps.journal.note(event);
      } catch (error) {
        if (error instanceof WayleaveError && error.code === "journal_unavailable") return events.slice(at);
        this.#fail(error);
        return undefined;
      }
    }
    return [];
  }

  /** A journal that is full has room when it is durable so far; one that failed says so then. Others may be faster. */
  async #catchUp(left: readonly AuditEvent[]): Promise<void> {
    let rest: readonly AuditEvent[] | undefined = left;
    for (let tries = 0; tries < mostTries; tries++) {
      await this.#deps.journal.settled();
      if (rest === undefined || rest.length === 0 || this.#stopped) return;
      rest = this.#note(rest);
    }
    throw new WayleaveError("journal_unavailable", "the journal had no room for it again and again");
  }

  #wait(write: () => Promise<void>, sealed: Sealed): void {
    this.#busy = true;
    const written = () => {
      this.#busy = false;
      this.#apply(sealed);
      this.flush();
    };
    const lost = (error: unknown) => {
      this.#busy = false;
      this.#fail(error);
    };
    try {
      write().then(written, lost).catch(lost);
    } catch (error) {
      lost(error);
    }
  }

  #apply(sealed: Sealed): void {
    if (this.#stopped) return;
    try {
      sealed.apply();
    } catch (error) {
      this.#fail(error);
    }
  }

  #fail(error: unknown): void {
    if (this.#stopped) return;
    this.stop();
    this.#deps.failed(error);
  }

  #idle(): void {
    const waiting = this.#whenIdle;
    this.#whenIdle = [];
    for (const resolve of waiting) resolve();
  }
}
