import fc from "fast-check";
import { SignJWT } from "jose";
import { describe, expect, test } from "vitest";
import { verifyAccessToken } from "./access-token.ts";
import { type Crash, KeyFolder } from "./key-chain.fake.ts";
import type { KeyChain } from "./key-chain.ts";
import { isLive } from "./key-life.ts";

const issuerUrl = "https://wayleave.acme.example";

interface Token {
  readonly kid: string;
  readonly text: string;
  readonly expiresAt: number;
}

/** A folder, the process on it, and everything that was promised to anybody. */
class World {
  readonly folder = new KeyFolder();
  chain!: KeyChain;
  readonly tokens: Token[] = [];
  /** Revocations that were answered. */
  readonly revoked = new Set<string>();
  /** Prepared keys that were answered. */
  readonly prepared = new Set<string>();
  /** Keys of a process that had a newer file than the next one: lost by whoever restored an old one. */
  restored = false;

  async start(): Promise<this> {
    this.chain = await this.folder.open();
    return this;
  }

  /** As `issue.ts` and `access-token.ts` do: whole seconds, rounded down. */
  async mint(): Promise<void> {
    const { kid, privateKey } = this.chain.ring;
    const expiresAt = Math.floor((this.folder.now + this.folder.lifeMs) / 1000) * 1000;
    const text = await new SignJWT({ sid: "ses_1", jti: `jti-${this.tokens.length}` })
      .setProtectedHeader({ alg: "ES256", typ: "at+jwt", kid })
      .setIssuer(issuerUrl)
      .setAudience(["billing"])
      .setExpirationTime(expiresAt / 1000)
      .sign(privateKey);
    this.tokens.push({ kid, text, expiresAt });
  }

  async prepare(): Promise<void> {
    const { kid } = await this.chain.prepare();
    this.prepared.add(kid);
  }

  async revoke(kid: string): Promise<void> {
    await this.chain.revoke(kid, "local operator");
    this.revoked.add(kid);
  }

  /** What must be true at every moment between two verbs. */
  async check(): Promise<void> {
    const { ring, lost } = this.chain;
    const keys = this.chain.list();
    const { now } = this.folder;
    expect(keys.filter(({ state }) => state === "active").map(({ kid }) => kid)).toEqual([ring.kid]);
    expect(ring.liveKids().toSorted()).toEqual(keys.filter(isLive).map(({ kid }) => kid).toSorted()); // biome-ignore format: one line
    expect(ring.jwks.keys.map(({ kid }) => kid)).toEqual(ring.liveKids());
    expect(JSON.stringify(ring.jwks)).not.toContain('"d"');
    const state = new Map(keys.map((key) => [key.kid, key.state]));
    for (const kid of this.revoked) expect([kid, state.get(kid)]).toEqual([kid, "revoked"]);
    if (!this.restored) expect(lost).toEqual([]);
    for (const kid of this.prepared) expect(state.has(kid)).toBe(true);
    for (const { kid, text, expiresAt } of this.tokens) {
      const accepted = await verifyAccessToken(ring, issuerUrl, text, now).then(
        () => true,
        () => false,
      );
      const expected = expiresAt > now && state.get(kid) !== "revoked";
      expect([kid, state.get(kid), expiresAt - now, accepted]).toEqual([
        kid,
        state.get(kid),
        expiresAt - now,
        expected,
      ]);
    }
  }
}

/** The n-th key of the chain, so that a verb may name any, in any state. */
function pick(world: World, n: number): string {
  const keys = world.chain.list();
  return keys[n % keys.length]?.kid ?? "";
}

type Step = (world: World) => Promise<unknown>;

const n = fc.nat({ max: 20 });
const crash: fc.Arbitrary<Crash> = fc.record({ at: fc.integer({ min: 1, max: 5 }), durable: fc.boolean() });
const verb: fc.Arbitrary<{ readonly name: string; readonly run: Step }> = fc.oneof(
  { weight: 3, arbitrary: fc.constant({ name: "prepare", run: (world: World) => world.prepare() }) },
  { weight: 3, arbitrary: fc.constant({ name: "activate", run: (world: World) => world.chain.activate() }) },
  n.map((at) => ({ name: `retire ${at}`, run: (world: World) => world.chain.retire(pick(world, at)) })),
  n.map((at) => ({ name: `revoke ${at}`, run: (world: World) => world.revoke(pick(world, at)) })),
  fc.constant({ name: "sweep", run: (world: World) => world.chain.sweep() }),
);
const step: fc.Arbitrary<{ readonly name: string; readonly run: Step }> = fc.oneof(
  { weight: 6, arbitrary: verb },
  { weight: 3, arbitrary: fc.constant({ name: "mint", run: (world: World) => world.mint() }) },
  {
    weight: 3,
    arbitrary: fc.constantFrom(1, 60_000, 119_999, 120_000, 299_999, 300_000).map((ms) => ({
      name: `wait ${ms}`,
      run: async ({ folder }: World) => {
        folder.now += ms;
      },
    })),
  },
  fc.constant({ name: "restart", run: (world: World) => world.start() }),
  fc.tuple(verb, verb).map(([a, b]) => ({
    name: `${a.name} with ${b.name}`,
    run: (world: World) => Promise.allSettled([a.run(world), b.run(world)]),
  })),
  fc.tuple(verb, crash, crash).map(([{ name, run }, first, second]) => ({
    name: `crash ${JSON.stringify(first)} in ${name}, and again at the start`,
    run: async (world: World) => {
      world.folder.crashAt(first);
      await run(world).catch(() => undefined);
      world.folder.stop();
      const starting = world.folder.open();
      world.folder.crashAt(second);
      await starting.catch(() => undefined);
      await world.start();
    },
  })),
);
const named = { toString: (steps: readonly { readonly name: string }[]) => steps.map(({ name }) => name).join(", ") };

async function live(world: World, steps: readonly { readonly name: string; readonly run: Step }[]): Promise<void> {
  await world.mint();
  for (const { name, run } of steps) {
    await run(world).catch((error: unknown) => {
      if (!/key_not|retired by itself|signs|prepared|Gateways may not know/.test(String(error))) throw error;
    });
    await world.check().catch((error: unknown) => {
      throw new Error(`after ${name} of ${named.toString(steps)}`, { cause: error });
    });
  }
}

test("whatever is asked, and wherever the process stops: one key signs, a good token is accepted until it expires, one of a revoked key never", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 14 }), async (steps) => live(await new World().start(), steps)),
    { numRuns: 300 },
  );
}, 60_000);

test("and no backup of the key file, of whatever age, brings back what was revoked", async () => {
  const backup = n.map((at) => ({
    name: `restore ${at}`,
    run: async (world: World) => {
      const { folder } = world;
      folder.file = [undefined, ...folder.backups].at(-1 - (at % (folder.backups.length + 1)));
      world.restored = true;
      await world.start();
    },
  }));
  await fc.assert(
    fc.asyncProperty(fc.array(fc.oneof(step, backup), { maxLength: 14 }), async (steps) =>
      live(await new World().start(), steps),
    ),
    { numRuns: 200 },
  );
}, 60_000);

describe("a crash at each write of each verb", () => {
  const verbs: readonly { readonly name: string; readonly before: Step; readonly run: Step }[] = [
    { name: "prepare", before: async () => undefined, run: (world) => world.prepare() },
    { name: "activate", before: ready, run: (world) => world.chain.activate() },
    { name: "retire", before: overdue, run: (world) => world.chain.sweep() },
    { name: "revoke", before: async () => undefined, run: (world) => world.revoke(world.chain.ring.kid) },
    { name: "revoke with a key prepared", before: ready, run: (world) => world.revoke(world.chain.ring.kid) },
  ];
  const crashes = [1, 2, 3, 4, 5].flatMap((at) => [true, false].map((durable) => ({ at, durable })));
  test.each(verbs.flatMap((each) => crashes.map((at) => ({ ...each, ...at }))))(
    "$name, write $at (durable: $durable)",
    async ({ before, run, ...stop }) => {
      const world = await new World().start();
      await before(world);
      await world.mint();
      world.folder.crashAt(stop);
      await run(world).catch(() => undefined);
      await world.start();
      await world.check();
      await world.start();
      await world.check();
    },
  );
});

async function ready(world: World): Promise<void> {
  await world.prepare();
  world.folder.now += world.folder.windowMs;
}

async function overdue(world: World): Promise<void> {
  await ready(world);
  await world.chain.activate();
  world.folder.now += world.folder.lifeMs;
}
