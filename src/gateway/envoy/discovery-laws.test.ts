import fc from "fast-check";
import { expect, test } from "vitest";
import { deltaRequest, discoveryWorld, refusedBy, resourceName, ttlMs } from "./discovery.fake.ts";
import type { RefusalsContent } from "./discovery-content.ts";
import { Publisher } from "./discovery-publisher.ts";

type World = ReturnType<typeof discoveryWorld>;
type Stream = ReturnType<World["delta"]>;

/** An Envoy as its filter sees it: what it took last, for as long as that may be believed. */
class Client {
  readonly #world: World;
  #stream: Stream;
  #answered = 0;
  #refusing = false;
  version = "";
  refused: readonly string[] = [];
  validUntil = 0;

  constructor(world: World) {
    this.#world = world;
    this.#stream = world.delta();
  }

  async subscribe(): Promise<void> {
    const initialResourceVersions = this.version === "" ? {} : { [resourceName]: this.version };
    await this.#stream.send(
      deltaRequest({ node: { id: "e" }, resourceNamesSubscribe: [resourceName], initialResourceVersions }),
    );
  }

  async reconnect(): Promise<void> {
    await this.#stream.drop();
    this.#stream = this.#world.delta();
    this.#answered = 0;
    await this.subscribe();
  }

  refuses(on: boolean): void {
    this.#refusing = on;
  }

  stalls(on: boolean): Promise<void> {
    return this.#stream.stall(on);
  }

  /** Takes or refuses what came, in order. */
  async answer(): Promise<void> {
    for (; this.#answered < this.#stream.got.length; this.#answered++) {
      const response = this.#stream.got[this.#answered]!;
      const [resource] = response.resources;
      if (resource !== undefined && !this.#refusing) {
        this.version = resource.version;
        this.refused = refusedBy(resource.resource);
        const { seconds = 0n, nanos = 0 } = resource.ttl ?? {};
        this.validUntil = this.#world.time.now() + Number(seconds) * 1000 + nanos / 1_000_000;
      }
      const error = this.#refusing ? { errorDetail: { code: 13, message: "no" } } : {};
      await this.#stream.send(deltaRequest({ responseNonce: response.nonce, ...error }));
    }
  }
}

const step = fc.oneof(
  fc.record({ do: fc.constant("end"), n: fc.nat(999) }),
  fc.record({ do: fc.constant("pass"), n: fc.nat(ttlMs) }),
  fc.record({ do: fc.constantFrom("answer", "reconnect", "refuse", "accept", "stall", "resume"), n: fc.nat(1) }),
);

async function take(world: World, client: Client, { do: what, n }: { do: string; n: number }): Promise<void> {
  if (what === "end") world.end(`ses_${n}`);
  else if (what === "pass") await world.time.pass(n);
  else if (what === "answer") await client.answer();
  else if (what === "reconnect") await client.reconnect();
  else if (what === "stall" || what === "resume") await client.stalls(what === "stall");
  else client.refuses(what === "refuse");
}

test("law 4: whatever an Envoy refuses, misses or answers late, no end it took is taken back, and all reach it once it listens", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
      const world = discoveryWorld();
      const client = new Client(world);
      const ended = new Set<string>();
      await client.subscribe();
      for (const each of steps) {
        const before = client.refused;
        if (each.do === "end") ended.add(`ses_${each.n}`);
        await take(world, client, each);
        expect(new Set(client.refused).isSupersetOf(new Set(before))).toBe(true);
        expect(client.validUntil).toBeLessThanOrEqual(world.time.now() + ttlMs);
      }
      client.refuses(false);
      await client.stalls(false);
      await client.answer();
      await world.time.pass(ttlMs / 3);
      await client.answer();
      expect(new Set(client.refused)).toEqual(ended);
      await client.reconnect();
      world.discovery.close();
      expect(world.time.waiting).toBe(0);
    }),
    { numRuns: 60 },
  );
});

test("a list that takes long to make is made the more seldom", () => {
  let now = 0;
  const due: { readonly at: number; readonly run: () => void }[] = [];
  const publisher = new Publisher({
    clock: { now: () => now, monotonic: () => now },
    after(ms, run) {
      due.push({ at: now + ms, run });
      return () => undefined;
    },
    ttlMs,
    run: "run",
    make(): RefusalsContent {
      now += 50;
      return { json: () => ({}), any: () => undefined as never };
    },
  });
  publisher.follow(() => publisher.current());
  publisher.changed();
  due.at(-1)?.run();
  const told = now;
  publisher.changed();
  expect((due.at(-1)?.at ?? 0) - (told - 50)).toBe(200);
});

test("only the last few versions are recognised", () => {
  const make = (): RefusalsContent => ({ json: () => ({}), any: () => undefined as never });
  const clock = { now: () => 0, monotonic: () => 0 };
  const publisher = new Publisher({ clock, after: () => () => undefined, ttlMs, run: "run", make });
  for (let at = 0; at < 100; at++) {
    publisher.changed();
    publisher.current();
  }
  expect([publisher.known("run.100"), publisher.known("run.69"), publisher.known("run.68")].map(Boolean)).toEqual([
    true,
    true,
    false,
  ]);
});
