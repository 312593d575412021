import { SignJWT } from "jose";
import { describe, expect, test } from "vitest";
import { verifyAccessToken } from "./access-token.ts";
import { codeOf, opened, rotated, states } from "./key-chain.fake.ts";

describe("an emergency revocation", () => {
  test("makes the prepared key sign at once, window or not", async () => {
    const { folder, chain } = await opened();
    const first = chain.ring.kid;
    const { kid } = await chain.prepare();
    const answer = chain.revoke(first, "local operator");
    expect([chain.ring.kid, chain.ring.publicKey(first), chain.ring.liveKids()]).toEqual([kid, undefined, [kid]]);
    expect((await answer).signing?.kid).toBe(kid);
    expect(folder.told().slice(-2)).toEqual([`key.revoked ${first}`, `key.activated ${kid}`]);
    expect(folder.file?.find((key) => key.kid === first)).not.toHaveProperty("jwk");
  });

  test("makes a new key where none is prepared", async () => {
    const { folder, chain } = await opened();
    const first = chain.ring.kid;
    const { signing } = await chain.revoke(first, "local operator");
    expect(chain.ring.kid).toBe(signing?.kid);
    expect(chain.ring.kid).not.toBe(first);
    expect(folder.told().slice(2)).toEqual([
      `key.revoked ${first}`,
      `key.created ${signing?.kid}`,
      `key.activated ${signing?.kid}`,
    ]);
  });

  test("of any other key leaves the one that signs alone", async () => {
    const { chain, first, second } = await rotated();
    await chain.revoke(first, "local operator");
    expect([chain.ring.kid, states(chain)]).toEqual([second, ["revoked", "active"]]);
  });

  test("acts in memory before anything is recorded, and does not wait for a verb that is under way", async () => {
    const { chain } = await opened();
    const first = chain.ring.kid;
    const preparing = chain.prepare();
    const revoking = chain.revoke(first, "local operator");
    expect(chain.ring.publicKey(first)).toBeUndefined();
    expect(() => chain.ring.kid).toThrow("No access-token key signs");
    const [{ kid }, { signing }] = await Promise.all([preparing, revoking]);
    expect(signing?.kid).toBe(kid);
  });

  test("while a key is being activated, of that very key, is not undone by the end of the activation", async () => {
    const { folder, chain } = await opened();
    const { kid } = await chain.prepare();
    folder.now += folder.windowMs;
    const activating = chain.activate();
    await chain.revoke(kid, "local operator");
    expect((await activating).state).toBe("revoked");
    expect(states(chain).filter((state) => state === "active")).toHaveLength(1);
    expect(chain.ring.kid).not.toBe(kid);
  });

  test("while a token of the key is being verified, refuses that token", async () => {
    const { folder, chain } = await opened();
    const { ring } = chain;
    const expiresAt = folder.now + 300_000;
    const token = await new SignJWT({ sid: "s", jti: "j" })
      .setProtectedHeader({ alg: "ES256", typ: "at+jwt", kid: ring.kid })
      .setIssuer("https://wayleave.example")
      .setAudience(["billing"])
      .setExpirationTime(expiresAt / 1000)
      .sign(ring.privateKey);
    const verify = () => verifyAccessToken(ring, "https://wayleave.example", token, folder.now);
    expect(await codeOf(verify())).toBe("done");
    const verifying = verify();
    const revoking = chain.revoke(ring.kid, "local operator");
    expect(await codeOf(verifying)).toBe("credential_invalid");
    await revoking;
  });

  test("asked twice is recorded once", async () => {
    const { folder, chain } = await opened();
    const { kid } = chain.ring;
    await Promise.all([chain.revoke(kid, "one"), chain.revoke(kid, "two")]);
    await chain.revoke(kid, "three");
    expect(folder.told().filter((line) => line === `key.revoked ${kid}`)).toHaveLength(1);
  });

  test("that cannot be recorded says so, acts all the same, also after a restart, and is recorded when it can be", async () => {
    const { folder, chain } = await opened();
    const { kid } = chain.ring;
    folder.broken.journal = true;
    expect(await codeOf(chain.revoke(kid, "local operator"))).toBe("journal_unavailable");
    expect(chain.ring.publicKey(kid)).toBeUndefined();
    folder.broken = {};
    const again = await folder.open();
    expect(again.ring.publicKey(kid)).toBeUndefined();
    expect(folder.told()).toContain(`key.revoked ${kid}`);
    expect(again.ring.kid).not.toBe(kid);
  });

  test("that cannot reach the key file stands, says what failed, and the next sweep makes the key that signs", async () => {
    const { folder, chain } = await opened();
    const { kid } = chain.ring;
    folder.broken.file = true;
    expect(await chain.revoke(kid, "local operator")).toMatchObject({ key: { state: "revoked" }, signing: undefined });
    expect(folder.faults.length).toBeGreaterThan(0);
    expect(() => chain.ring.privateKey).toThrow("No access-token key signs");
    folder.broken = {};
    await chain.sweep();
    expect(chain.ring.kid).not.toBe(kid);
    expect(folder.file?.find((key) => key.kid === kid)).not.toHaveProperty("jwk");
  });

  test("lets who wants to sign wait for the key that takes over, and no longer than there is hope of one", async () => {
    const { folder, chain } = await opened();
    const first = chain.ring.kid;
    const revoking = chain.revoke(first, "local operator");
    await chain.ring.ready();
    expect(chain.ring.kid).not.toBe(first);
    await revoking;
    folder.broken.file = true;
    const failing = chain.revoke(chain.ring.kid, "local operator");
    expect(await codeOf(chain.ring.ready())).toBe("key_unavailable");
    await failing;
    expect(await codeOf(chain.ring.ready())).toBe("key_unavailable");
  });

  test("of two keys at once is recorded for both", async () => {
    const { folder, chain, first, second } = await rotated();
    await Promise.all([chain.revoke(first, "one"), chain.revoke(second, "two")]);
    expect(folder.told()).toEqual(expect.arrayContaining([`key.revoked ${first}`, `key.revoked ${second}`]));
    expect((await folder.open()).lost).toEqual([]);
  });

  test("is retried by the sweep until the journal takes it", async () => {
    const { folder, chain } = await opened();
    const { kid } = chain.ring;
    folder.broken.journal = true;
    await codeOf(chain.revoke(kid, "local operator"));
    expect(await codeOf(chain.sweep())).toBe("journal_unavailable");
    folder.broken = {};
    await chain.sweep();
    expect(folder.told()).toContain(`key.revoked ${kid}`);
  });
});

describe("a key file from a backup", () => {
  test("does not bring a revoked key back", async () => {
    const { folder, chain } = await opened();
    const { kid } = chain.ring;
    const backup = folder.file;
    const { signing } = await chain.revoke(kid, "local operator");
    folder.file = backup;
    const again = await folder.open();
    expect(again.ring.liveKids()).not.toContain(kid);
    expect(again.lost).toEqual([signing?.kid]);
    expect(folder.told()).toContain(`key.revoked ${signing?.kid}`);
    expect(folder.file?.some((key) => key.kid === kid && key.jwk !== undefined)).toBe(false);
  });

  test("does not make a retired key sign, nor one that was replaced", async () => {
    const { folder, chain, first, second } = await rotated();
    const [, beforeRotation] = folder.backups;
    folder.now += folder.lifeMs;
    await chain.sweep();
    folder.file = beforeRotation;
    const again = await folder.open();
    expect(again.ring.kid).not.toBe(first);
    expect(again.ring.liveKids()).not.toContain(first);
    expect(again.lost).toEqual([second]);
  });

  test("that has the key which signs only as prepared costs nothing", async () => {
    const { folder, chain } = await opened();
    const { kid } = await chain.prepare();
    const backup = folder.file;
    folder.now += folder.windowMs;
    await chain.activate();
    folder.file = backup;
    const again = await folder.open();
    expect([again.ring.kid, again.lost, states(again)]).toEqual([kid, [], ["retiring", "active"]]);
  });

  test("or none at all: every key the journal knows in use is refused, and a new one signs", async () => {
    const { folder, chain } = await opened();
    const { kid } = chain.ring;
    folder.file = undefined;
    const again = await folder.open();
    expect(again.lost).toEqual([kid]);
    expect(again.ring.kid).not.toBe(kid);
    expect(folder.records.find((record) => record.kind === "key.revoked")?.data).toMatchObject({
      by: "the broker: its private key is not in the key file",
    });
  });
});

test("a journal from a backup does not bring a revoked key back, and hears of it again", async () => {
  const { folder, chain } = await opened();
  const { kid } = chain.ring;
  const backup = [...folder.records];
  const { signing } = await chain.revoke(kid, "local operator");
  folder.records = backup;
  const again = await folder.open();
  expect([again.ring.kid, again.ring.publicKey(kid)]).toEqual([signing?.kid, undefined]);
  expect(folder.told().slice(2)).toEqual([`key.revoked ${kid}`, `key.activated ${signing?.kid}`]);
});
