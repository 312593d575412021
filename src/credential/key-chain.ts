import type { JWK } from "jose";
import type { Clock } from "../core/clock.ts";
import { WayleaveError } from "../core/errors.ts";
import type { AuditEvent, Recorder } from "../core/record.ts";
import type { KeyFile, StoredKey } from "./key-file.ts";
import { isLive, joinLives, type KeyClass, type KeyLife, lastTokenExpiresAt } from "./key-life.ts";
import { generateKey, importKey, type KeyMaterial } from "./key-material.ts";
import { reconcileKeys } from "./key-reconcile.ts";
import type { KeyRing } from "./keys.ts";

export interface KeyChainOptions {
  readonly class: KeyClass;
  readonly file: KeyFile;
  /** What the journal says about the keys of this class: `KeyHistory.of`. */
  readonly history: readonly KeyLife[];
  readonly recorder: Pick<Recorder, "append">;
  readonly clock: Pick<Clock, "now">;
  /** How long a prepared key is published before it may sign, ms. */
  readonly windowMs: number;
  /** Longest life of a token of this class, ms. */
  readonly lifeMs: number;
  /** Told of what failed and is tried again. Must not throw. */
  onFault(error: unknown): void;
}

/** A revocation that every enforcement point that asks knows already. */
export interface Revocation {
  readonly key: KeyLife;
  /** The key that signs now; undefined where none could be made, which the next sweep tries again. */
  readonly signing: KeyLife | undefined;
}

/**
 * The keys of one class: the ring that others use, and the four verbs that change it. One verb at a time; `because` goes into
 * its record.
 */
export interface KeyChain {
  readonly ring: KeyRing;
  /** Keys in use that the file did not have: it is older than the journal. They were revoked. */
  readonly lost: readonly string[];
  /** Every key, retired and revoked ones too, oldest first. */
  list(): readonly KeyLife[];
  /** Publishes a new key that does not sign yet, or gives the one that is prepared already. */
  prepare(because?: string): Promise<KeyLife>;
  /** The prepared key signs from now on. Throws `key_not_ready` before its window is over and where there is none. */
  activate(because?: string): Promise<KeyLife>;
  /** Takes a key out of the JWKS. Throws `key_not_ready` while it signs or a token of it lives, and `key_not_found`. */
  retire(kid: string): Promise<KeyLife>;
  /**
   * In memory at once, durable when it resolves: nothing that the key signed is accepted again. If it signed, the prepared
   * key takes over, else a new one. Throws `key_not_found`, and `journal_unavailable` where it acts but is not recorded.
   */
  revoke(kid: string, by: string, because?: string): Promise<Revocation>;
  /** What time alone decides, and what failed before: run it every second or so. */
  sweep(): Promise<void>;
}

/** Opens the keys of a class, after a stop of any kind; makes the first one. Throws `key_unavailable`. */
export async function openKeyChain(options: KeyChainOptions): Promise<KeyChain> {
  const stored = await options.file.read();
  const { class: keyClass, history, windowMs, lifeMs, recorder } = options;
  const now = options.clock.now();
  const found = reconcileKeys({ class: keyClass, stored: stored ?? [], history, now, windowMs, lifeMs });
  if (found.events.length > 0) await recorder.append(found.events);
  const chain = new Chain(options, found.lost);
  await chain.begin(found.keys, JSON.stringify(found.keys) !== JSON.stringify(stored));
  return chain;
}

class Chain implements KeyChain {
  readonly ring: KeyRing;
  readonly lost: readonly string[];
  readonly #options: KeyChainOptions;
  readonly #keys = new Map<string, StoredKey>();
  readonly #material = new Map<string, KeyMaterial>();
  readonly #listeners = new Set<() => void>();
  /** Revoked here, and no record says so yet: by whom, and why. */
  readonly #unrecorded = new Map<string, { readonly by: string; readonly because?: string }>();
  #published: readonly JWK[] = [];
  #signing: StoredKey | undefined;
  #staged: StoredKey | undefined;
  #unsaved = false;
  #turn: Promise<void> | undefined;

  constructor(options: KeyChainOptions, lost: readonly string[]) {
    this.#options = options;
    this.lost = lost;
    this.ring = this.#makeRing();
  }

  async begin(keys: readonly StoredKey[], changed: boolean): Promise<void> {
    for (const { kid, jwk } of keys) if (jwk !== undefined) this.#material.set(kid, await importKey(jwk));
    this.#take(keys);
    this.#unsaved = changed;
    if (this.#signing === undefined) await this.#inherit();
    if (this.#unsaved) await this.#save();
  }

  list(): readonly KeyLife[] {
    return [...this.#keys.values()].map(lifeOf).sort((a, b) => a.createdAt - b.createdAt);
  }

  prepare(because?: string): Promise<KeyLife> {
    return this.#alone(async () => {
      const standby = this.#standby();
      if (standby !== undefined) return lifeOf(standby);
      const fresh = await this.#stage();
      const data = { class: this.#options.class, kid: fresh.kid };
      const { windowMs } = this.#options;
      await this.#append([
        { kind: "key.created", data },
        { kind: "key.prepared", data: { ...data, usable_at: this.#now() + windowMs, ...reason(because) } },
      ]);
      const publishedAt = this.#now(); // gateways can see it from here on, however long the record took
      this.#take([{ ...fresh, state: "prepared", publishedAt, usableAt: publishedAt + windowMs }]);
      await this.#saveOrTell();
      return this.#life(fresh.kid);
    });
  }

  activate(because?: string): Promise<KeyLife> {
    return this.#alone(async () => {
      const standby = this.#standby();
      const { class: keyClass } = this.#options;
      if (standby === undefined)
        throw notReady(`No ${keyClass} key is prepared; run \`wayleave key prepare ${keyClass}\` first.`);
      const { usableAt = 0 } = standby;
      // Where nothing signs, a key that some gateway may not know yet is better than none.
      if (this.#signing !== undefined && this.#now() < usableAt)
        throw notReady(`Gateways may not know key ${standby.kid} before ${instant(usableAt)}; activate it then.`);
      await this.#begin(standby, this.#signing?.kid, because);
      await this.#saveOrTell();
      return this.#life(standby.kid);
    });
  }

  retire(kid: string): Promise<KeyLife> {
    return this.#alone(async () => {
      const key = this.#get(kid);
      if (!isLive(key)) return lifeOf(key);
      if (key.state === "active") throw notReady(`Key ${kid} signs; activate another one first.`);
      const until = lastTokenExpiresAt(key) ?? 0;
      if (this.#now() < until)
        throw notReady(`The last token of key ${kid} expires at ${instant(until)}; it is retired by itself then.`);
      await this.#retire([key]);
      return this.#life(kid);
    });
  }

  async revoke(kid: string, by: string, because?: string): Promise<Revocation> {
    const key = this.#get(kid);
    if (key.state !== "revoked") {
      this.#unrecorded.set(kid, { by, ...reason(because) });
      this.#take([{ ...key, state: "revoked" }]);
    }
    return this.#alone(async () => {
      const [recorded] = await Promise.allSettled([this.#recordRevocations(), this.#heir(kid)]);
      await this.#saveOrTell();
      if (recorded.status === "rejected") throw recorded.reason;
      return { key: this.#life(kid), signing: this.#signing && lifeOf(this.#signing) };
    });
  }

  sweep(): Promise<void> {
    return this.#alone(async () => {
      await this.#recordRevocations();
      if (this.#signing === undefined) await this.#inherit();
      const now = this.#now();
      const due = [...this.#keys.values()].filter(
        (key) => key.state === "retiring" && (lastTokenExpiresAt(key) ?? now + 1) <= now,
      );
      if (due.length > 0) await this.#retire(due);
      if (this.#unsaved) await this.#save();
    });
  }

  async #retire(keys: readonly StoredKey[]): Promise<void> {
    const { class: keyClass } = this.#options;
    await this.#append(keys.map(({ kid }) => ({ kind: "key.retired", data: { class: keyClass, kid } })));
    this.#take(keys.map((key) => ({ ...key, state: "retired" })));
    await this.#saveOrTell();
  }

  async #recordRevocations(): Promise<void> {
    const { class: keyClass } = this.#options;
    const due = [...this.#unrecorded];
    if (due.length === 0) return;
    await this.#append(due.map(([kid, who]) => ({ kind: "key.revoked", data: { class: keyClass, kid, ...who } })));
    for (const [kid] of due) this.#unrecorded.delete(kid);
  }

  /** As `#inherit`, for a revocation that stands whether or not there is an heir. */
  async #heir(replaces: string): Promise<void> {
    if (this.#signing !== undefined) return;
    await this.#inherit(replaces).catch(this.#options.onFault);
  }

  /** Makes a key sign where none does: the prepared one at once, or a new one as soon as it cannot be lost any more. */
  async #inherit(replaces?: string): Promise<void> {
    const { class: keyClass } = this.#options;
    const standby = this.#standby();
    if (standby !== undefined) {
      // Records keep their order, so that no token of it is durable, or handed out, before this is.
      this.#sign(standby);
      await this.#append([activated(keyClass, standby.kid, replaces)]);
    } else {
      const fresh = await this.#stage();
      await this.#append([
        { kind: "key.created", data: { class: keyClass, kid: fresh.kid } },
        activated(keyClass, fresh.kid, replaces),
      ]);
      this.#sign({ ...fresh, publishedAt: this.#now() });
    }
    await this.#saveOrTell();
  }

  async #begin(key: StoredKey, replaces: string | undefined, because: string | undefined): Promise<void> {
    const event = activated(this.#options.class, key.kid, replaces);
    await this.#append([{ ...event, data: { ...event.data, ...reason(because) } }]);
    this.#sign(key);
  }

  /** The key signs from now on, and whichever did stops. */
  #sign(key: StoredKey): void {
    const now = this.#now();
    const signed = this.#signing;
    const { lifeMs } = this.#options;
    this.#take([
      { ...key, state: "active", activatedAt: now, lifeMs },
      ...(signed === undefined ? [] : [{ ...signed, state: "retiring", stoppedAt: now } as const]),
    ]);
  }

  /** A new key, durable in the file and as yet without effect; the same one again where it did not come to be used. */
  async #stage(): Promise<StoredKey> {
    if (this.#staged === undefined) {
      const jwk = await generateKey();
      this.#material.set(jwk.kid, await importKey(jwk));
      this.#staged = { kid: jwk.kid, state: "staged", createdAt: this.#now(), lifeMs: 0, jwk };
    }
    await this.#save();
    return this.#staged;
  }

  /** Changes that are true from now on. A key that is further already stays so. */
  #take(changes: readonly StoredKey[]): void {
    for (const change of changes) {
      const known = this.#keys.get(change.kid);
      const { jwk, ...life } = known === undefined ? change : joinLives(change, known);
      if (life.kid === this.#staged?.kid) this.#staged = undefined;
      const live = isLive(life);
      if (!live) this.#material.delete(life.kid);
      this.#keys.set(life.kid, live && jwk !== undefined ? { ...life, jwk } : life);
    }
    const live = [...this.#keys.values()].filter(isLive);
    this.#signing = live.find(({ state }) => state === "active");
    this.#published = live.flatMap(({ kid }) => this.#material.get(kid)?.published ?? []);
    this.#unsaved = true;
    for (const listener of this.#listeners) listener();
  }

  async #save(): Promise<void> {
    this.#unsaved = false;
    const staged = this.#staged === undefined ? [] : [this.#staged];
    try {
      await this.#options.file.write([...this.#keys.values(), ...staged]);
    } catch (error) {
      this.#unsaved = true;
      throw error;
    }
  }

  /** For what the journal has committed: the file follows now or at the next sweep. */
  async #saveOrTell(): Promise<void> {
    await this.#save().catch(this.#options.onFault);
  }

  async #append(events: readonly AuditEvent[]): Promise<void> {
    await this.#options.recorder.append(events);
  }

  #standby(): StoredKey | undefined {
    return [...this.#keys.values()]
      .filter(({ state }) => state === "prepared")
      .sort((a, b) => (a.usableAt ?? 0) - (b.usableAt ?? 0))[0];
  }

  #get(kid: string): StoredKey {
    const key = this.#keys.get(kid);
    if (key !== undefined) return key;
    const { class: keyClass } = this.#options;
    throw new WayleaveError("key_not_found", `No ${keyClass} key ${kid.slice(0, 60)}; see \`wayleave key list\`.`);
  }

  #life(kid: string): KeyLife {
    return lifeOf(this.#get(kid));
  }

  #now(): number {
    return this.#options.clock.now();
  }

  /** At once where nothing is under way, else after it. */
  async #alone<T>(work: () => Promise<T>): Promise<T> {
    const before = this.#turn;
    const { promise: mine, resolve: done } = Promise.withResolvers<void>();
    this.#turn = mine;
    try {
      if (before !== undefined) await before;
      return await work();
    } finally {
      if (this.#turn === mine) this.#turn = undefined;
      done();
    }
  }

  #makeRing(): KeyRing {
    const chain = this;
    const signing = (): KeyMaterial & { readonly kid: string } => {
      const { kid = "" } = chain.#signing ?? {};
      const material = chain.#material.get(kid);
      if (material !== undefined) return { ...material, kid };
      throw new WayleaveError(
        "key_unavailable",
        `No ${chain.#options.class} key signs: the last one was revoked and no other could be made yet. Repair the disk.`,
      );
    };
    return {
      class: chain.#options.class,
      async ready() {
        while (chain.#signing === undefined && chain.#turn !== undefined) await chain.#turn;
        signing();
      },
      get kid() {
        return signing().kid;
      },
      get privateKey() {
        return signing().privateKey;
      },
      publicKey: (kid) => (chain.#keys.has(kid) ? chain.#material.get(kid)?.publicKey : undefined),
      jwks: {
        get keys() {
          return chain.#published;
        },
      },
      liveKids: () => chain.#published.map(({ kid = "" }) => kid),
      onChange(listener) {
        chain.#listeners.add(listener);
        return () => chain.#listeners.delete(listener);
      },
    };
  }
}

function reason(because: string | undefined): { readonly because?: string } {
  return because === undefined ? {} : { because };
}

type Activation = Extract<AuditEvent, { readonly kind: "key.activated" }>;

function activated(keyClass: KeyClass, kid: string, replaces: string | undefined): Activation {
  return { kind: "key.activated", data: { class: keyClass, kid, ...(replaces === undefined ? {} : { replaces }) } };
}

function lifeOf({ jwk: _private, ...life }: StoredKey): KeyLife {
  return life;
}

function notReady(detail: string): WayleaveError {
  return new WayleaveError("key_not_ready", detail);
}

/** As commands print it: to the second, never early. */
function instant(ms: number): string {
  return new Date(Math.ceil(ms / 1000) * 1000).toISOString().replace(".000", "");
}
