import type { AuditRecord } from "../core/record.ts";
import { joinLives, type KeyClass, type KeyLife, type KeyState, keyClasses } from "./key-life.ts";

/**
 * What the log says about every signing key there ever was, as a fold over its `key.*` records: the word that counts
 * when a key file comes from a backup. It holds no key.
 */
export class KeyHistory {
  readonly #lives: Readonly<Record<KeyClass, Map<string, KeyLife>>> = {
    "access-token": new Map(),
    assertion: new Map(),
    "jwt-svid": new Map(),
    nats: new Map(),
  };

  /** Every key of a class. Lives say state and times as recorded; `lifeMs` is not recorded and 0. */
  of(keyClass: KeyClass): readonly KeyLife[] {
    return [...this.#lives[keyClass].values()];
  }

  apply(record: AuditRecord): void {
    const at = Date.parse(record.time);
    switch (record.kind) {
      case "key.created":
        this.#note(record.data, "staged", at);
        return;
      case "key.prepared":
        this.#note(record.data, "prepared", at, { usableAt: record.data.usable_at });
        return;
      case "key.activated":
        this.#activated(record.data, at);
        return;
      case "key.retired":
        this.#note(record.data, "retired", at);
        return;
      case "key.revoked":
        this.#note(record.data, "revoked", at);
        return;
      default: // no other record is about a signing key
    }
  }

  /** One key signs at a time: whichever signed until now does so no more. */
  #activated(data: { readonly class: string; readonly kid: string }, at: number): void {
    const lives = this.#livesOf(data.class);
    for (const life of lives?.values() ?? [])
      if (life.state === "active") this.#note({ ...data, kid: life.kid }, "retiring", at);
    this.#note(data, "active", at, { activatedAt: at });
  }

  #note(
    data: { readonly class: string; readonly kid: string },
    state: KeyState,
    at: number,
    times: Partial<KeyLife> = {},
  ): void {
    const lives = this.#livesOf(data.class);
    const known = lives?.get(data.kid);
    const life: KeyLife = { kid: data.kid, state, createdAt: at, lifeMs: 0, ...times };
    lives?.set(data.kid, known === undefined ? life : joinLives(known, life));
  }

  /** Undefined for a class that this version does not know. */
  #livesOf(name: string): Map<string, KeyLife> | undefined {
    const keyClass = keyClasses.find((known) => known === name);
    return keyClass === undefined ? undefined : this.#lives[keyClass];
  }
}
