import { describe, expect, test } from "vitest";
import { codeOf, opened, rotated, states } from "./key-chain.fake.ts";
import type { KeyChain } from "./key-chain.ts";
import { lastTokenExpiresAt } from "./key-life.ts";
import { generateKey } from "./key-material.ts";

const published = (chain: KeyChain) => chain.ring.jwks.keys.map(({ kid }) => kid);

describe("a rotation", () => {
  test("goes through the four states, each recorded, with two keys published meanwhile", async () => {
    const { folder, chain, first, second } = await rotated();
    expect(chain.ring.kid).toBe(second);
    expect([states(chain), published(chain).toSorted()]).toEqual([["retiring", "active"], [first, second].toSorted()]);
    folder.now += folder.lifeMs;
    await chain.retire(first);
    expect([states(chain), published(chain)]).toEqual([["retired", "active"], [second]]);
    expect(folder.told()).toEqual([
      `key.created ${first}`,
      `key.activated ${first}`,
      `key.created ${second}`,
      `key.prepared ${second}`,
      `key.activated ${second}`,
      `key.retired ${first}`,
    ]);
  });

  test("ends by itself when the last token has expired, and not a moment before", async () => {
    const { folder, chain } = await rotated();
    folder.now += folder.lifeMs - 1;
    await chain.sweep();
    expect(states(chain)).toEqual(["retiring", "active"]);
    folder.now += 1;
    await chain.sweep();
    expect(states(chain)).toEqual(["retired", "active"]);
  });

  test("is the same after a restart at each step", async () => {
    const { folder, chain } = await opened();
    const { kid } = await chain.prepare();
    const before = chain.list();
    const again = await folder.open();
    expect(again.list()).toEqual(before);
    folder.now += folder.windowMs;
    await again.activate();
    const active = await folder.open();
    expect([active.ring.kid, active.list()]).toEqual([kid, again.list()]);
    expect(folder.records.length).toBe(5);
  });

  test("and a restart writes nothing that is there already", async () => {
    const { folder } = await rotated();
    const written = [folder.backups.length, folder.records.length];
    await folder.open();
    expect([folder.backups.length, folder.records.length]).toEqual(written);
  });

  test("counts the window from when the key could be seen, not from when it was asked for", async () => {
    const { folder, chain } = await opened();
    folder.recordMs = 5_000;
    const { usableAt } = await chain.prepare();
    expect(usableAt).toBe(folder.now + folder.windowMs);
  });

  test("one who listens hears of each change, and what he was given shows it", async () => {
    const { folder, chain } = await opened();
    const { jwks } = chain.ring;
    const heard: number[] = [];
    const stop = chain.ring.onChange(() => heard.push(jwks.keys.length));
    await chain.prepare();
    folder.now += folder.windowMs;
    await chain.activate();
    expect(heard).toEqual([2, 2]);
    stop();
    await chain.revoke(chain.ring.kid, "a test");
    expect(heard).toEqual([2, 2]);
  });
});

describe("what a verb refuses", () => {
  test("to activate before the window is over, to the millisecond", async () => {
    const { folder, chain } = await opened();
    await chain.prepare();
    folder.now += folder.windowMs - 1;
    expect(await codeOf(chain.activate())).toBe("key_not_ready");
    folder.now += 1;
    expect(await codeOf(chain.activate())).toBe("done");
  });

  test("to activate what nobody prepared", async () => {
    expect(await codeOf((await opened()).chain.activate())).toBe("key_not_ready");
  });

  test("to activate twice what was prepared once", async () => {
    const { chain } = await rotated();
    expect(await codeOf(chain.activate())).toBe("key_not_ready");
  });

  test("to retire the key that signs, or one whose last token lives", async () => {
    const { folder, chain, first, second } = await rotated();
    expect(await codeOf(chain.retire(second))).toBe("key_not_ready");
    folder.now += folder.lifeMs - 1;
    expect(await codeOf(chain.retire(first))).toBe("key_not_ready");
  });

  test.each(["retire", "revoke"] as const)("to %s a key that is not there", async (verb) => {
    expect(await codeOf((await opened()).chain[verb]("x", "a test"))).toBe("key_not_found");
  });

  test("to publish more than public members", async () => {
    const { chain } = await opened();
    expect(chain.ring.jwks.keys.map((jwk) => Object.keys(jwk).toSorted())).toEqual([
      ["alg", "crv", "kid", "kty", "use", "x", "y"],
    ]);
  });

  test("none of it changed or recorded anything", async () => {
    const { folder, chain } = await opened();
    const before = [chain.list(), folder.records.length, folder.file];
    for (const verb of [chain.activate(), chain.retire(chain.ring.kid), chain.retire("x"), chain.revoke("x", "me")])
      await codeOf(verb);
    expect([chain.list(), folder.records.length, folder.file]).toEqual(before);
  });

  test("a prepared key that never signed may go at once", async () => {
    const { chain } = await opened();
    const { kid } = await chain.prepare();
    expect((await chain.retire(kid)).state).toBe("retired");
    expect(published(chain)).not.toContain(kid);
  });

  test("to retire again, or to retire what was revoked, without a word", async () => {
    const { folder, chain, first, second } = await rotated();
    await chain.revoke(first, "local operator");
    folder.now += folder.lifeMs;
    const told = folder.told();
    expect((await chain.retire(first)).state).toBe("revoked");
    expect(folder.told()).toEqual(told);
    expect(chain.ring.kid).toBe(second);
  });

  test("a kid never begins with a hyphen, which a command line would take for an option", async () => {
    const kids = await Promise.all(Array.from({ length: 300 }, async () => (await generateKey()).kid));
    expect(kids.filter((kid) => kid.startsWith("-"))).toEqual([]);
  });

  test("a second prepare gives the first one's key, so that it may be asked again", async () => {
    const { chain } = await opened();
    const [a, b] = await Promise.all([chain.prepare(), chain.prepare()]);
    expect(a).toEqual(b);
  });

  test("a longer life of tokens keeps a key for as long as those that were signed under it", async () => {
    const { folder, chain } = await opened();
    await chain.prepare();
    folder.lifeMs = 1000; // and the broker starts again with it
    const again = await folder.open();
    folder.now += folder.windowMs;
    await again.activate();
    const [old] = again.list();
    expect(old && lastTokenExpiresAt(old)).toBe(folder.now + 300_000);
  });
});

describe("a verb whose record cannot be written", () => {
  test.each(["prepare", "activate", "retire"] as const)("%s changes nothing, now or after a restart", async (verb) => {
    const { folder, chain, first } = await rotated();
    if (verb === "activate") await chain.prepare();
    folder.now += Math.max(folder.lifeMs, folder.windowMs);
    const before = chain.list();
    folder.broken.journal = true;
    expect(await codeOf(verb === "retire" ? chain.retire(first) : chain[verb]())).toBe("journal_unavailable");
    expect(chain.list()).toEqual(before);
    folder.broken = {};
    expect((await folder.open()).list()).toEqual(before);
  });

  test("leaves no key behind that was not used: the next one to be made is that one", async () => {
    const { folder, chain } = await opened();
    folder.broken.journal = true;
    await codeOf(chain.prepare());
    const staged = folder.file?.find(({ state }) => state === "staged")?.kid;
    expect(chain.ring.publicKey(staged ?? "")).toBeUndefined();
    folder.broken = {};
    expect((await chain.prepare()).kid).toBe(staged);
  });
});

test("a key file that could not follow does at the next sweep", async () => {
  const { folder, chain } = await opened();
  await chain.prepare();
  folder.now += folder.windowMs;
  folder.broken.file = true;
  await chain.activate();
  expect(folder.file?.map(({ state }) => state)).toEqual(["active", "prepared"]);
  folder.broken = {};
  await chain.sweep();
  expect(folder.file?.map(({ state }) => state)).toEqual(["retiring", "active"]);
});

test("a key that was replaced in the moment of a crash may have signed until then", async () => {
  const { folder, chain } = await opened();
  const first = chain.ring.kid;
  await chain.prepare();
  folder.now += folder.windowMs;
  folder.crashAt({ at: 2, durable: false }); // recorded, and then the file did not follow
  await codeOf(chain.activate());
  folder.now += 60_000;
  const again = await folder.open();
  folder.now += folder.lifeMs - 1;
  expect(await codeOf(again.retire(first))).toBe("key_not_ready");
  folder.now += 1;
  expect(await codeOf(again.retire(first))).toBe("done");
});

test("a prepared key that nobody could see yet, because the broker stopped, gets its whole window", async () => {
  const { folder, chain } = await opened();
  folder.crashAt({ at: 3, durable: false }); // staged, recorded, and then the file did not follow
  await codeOf(chain.prepare());
  folder.now += 1_000_000;
  const again = await folder.open();
  expect(again.list().at(-1)).toMatchObject({ state: "prepared", usableAt: folder.now + folder.windowMs });
});
