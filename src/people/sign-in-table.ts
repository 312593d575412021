import type { OperatorRecord, OperatorSignedIn } from "../core/operator-record.ts";

/** Who is signed in, as a fold over records: live and at replay alike. */
export class SignInTable {
  readonly #byHash = new Map<string, OperatorSignedIn>();
  readonly #used = new Map<string, number>();
  /** Every ID token that was forgotten is useless from here on, ms since the epoch. */
  #forgotten = 0;
  #bootstrap: Bootstrap | undefined;
  #bootstrapOver = false;

  apply(record: OperatorRecord): void {
    switch (record.kind) {
      case "operator.signed_in":
        this.#signedIn(record.data);
        return;
      case "operator.signed_out":
        this.#forget(({ sign_in: id }) => id === record.data.sign_in);
        return;
      case "operator.bootstrap_made":
        this.#bootstrap = { hash: record.data.token_hash, expiresAt: record.data.expires_at };
        return;
      case "operator.bootstrap_ended":
        this.#bootstrapOver = true;
        this.#forget(({ who }) => who.by === "bootstrap");
    }
  }

  /** Made once and for all: whether it is still good is `bootstrapOver` and its time. */
  get bootstrap(): Bootstrap | undefined {
    return this.#bootstrap;
  }

  get bootstrapOver(): boolean {
    return this.#bootstrapOver;
  }

  /** By the hex SHA-256 of the token. Not checked: time, key and configuration. */
  byHash(hash: string): OperatorSignedIn | undefined {
    return this.#byHash.get(hash);
  }

  /** Whether the ID token that is useless from `uselessAt` on may have signed somebody in. */
  used(replayKey: string, uselessAt: number): boolean {
    // A clock that went forward and back makes no token good again that was forgotten in between.
    return this.#used.has(replayKey) || uselessAt <= this.#forgotten;
  }

  /** Those in their time, oldest first. */
  list(nowMs: number): readonly OperatorSignedIn[] {
    return [...this.#byHash.values()].filter(({ expires_at: until }) => nowMs < until);
  }

  /** Forgets what nothing asks for any more. */
  prune(nowMs: number): void {
    this.#forget(({ expires_at: until }) => until <= nowMs);
    for (const [key, until] of this.#used) {
      if (until > nowMs) continue;
      this.#used.delete(key);
      this.#forgotten = Math.max(this.#forgotten, until);
    }
  }

  #signedIn(signIn: OperatorSignedIn): void {
    const { replay_key: key, replay_until: until = 0 } = signIn;
    if (key !== undefined) this.#used.set(key, until);
    // By the bootstrap token, while somebody else was signing in.
    if (this.#bootstrapOver && signIn.who.by === "bootstrap") return;
    this.#byHash.set(signIn.token_hash, signIn);
  }

  #forget(over: (signIn: OperatorSignedIn) => boolean): void {
    for (const [hash, signIn] of this.#byHash) if (over(signIn)) this.#byHash.delete(hash);
  }
}

export interface Bootstrap {
  /** Hex SHA-256. */
  readonly hash: string;
  /** ms since the epoch. */
  readonly expiresAt: number;
}
