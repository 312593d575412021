import { randomBytes } from "node:crypto";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { inspect } from "node:util";
import { describe, expect, onTestFinished, test } from "vitest";
import type { AuditEvent } from "../core/record.ts";
import { openKeyChain } from "./key-chain.ts";
import { keyFile, type StoredKey } from "./key-file.ts";
import type { KeyClass, KeyLife } from "./key-life.ts";
import { natsKeyFile, type StoredNatsKeys } from "./nats-key-file.ts";
import { type NatsKeys, openNatsKeys } from "./nats-keys.ts";

const natsClass = "nats";
const windowMs = 60_000;
const lifeMs = 3_600_000;

/** A data folder in memory, and the process on it. */
class Folder {
  now = Date.parse("2026-11-24T09:30:00Z");
  identities: StoredNatsKeys | undefined;
  signing: readonly StoredKey[] | undefined;
  history: readonly KeyLife[] = [];
  readonly events: AuditEvent[] = [];
  broken = false;
  writes = 0;

  async open(): Promise<NatsKeys> {
    return openNatsKeys({
      random: randomBytes,
      file: {
        read: async () => this.identities,
        write: async (keys) => {
          await new Promise((resolve) => setImmediate(resolve));
          if (this.broken) throw new Error("no space left");
          this.writes++;
          this.identities = structuredClone(keys);
        },
      },
      signing: {
        read: async () => this.signing,
        write: async (keys) => {
          this.signing = structuredClone(keys);
        },
      },
      openChain: (file) =>
        openKeyChain({
          class: natsClass,
          file,
          history: this.history,
          recorder: {
            append: async (events) => {
              this.events.push(...events);
              return [];
            },
          },
          clock: { now: () => this.now },
          windowMs,
          lifeMs,
          onFault: (error) => {
            throw error;
          },
        }),
    });
  }
}

function identities(keys: NatsKeys): readonly string[] {
  const { operator, operatorSigning, system, auth, xkey, proxy, issuer } = keys;
  const all = [operator, operatorSigning, system.account, system.user, auth.account, auth.service, auth.sentinel];
  return [...all, xkey, proxy, issuer].map(({ publicKey }) => publicKey);
}

const states = async (keys: NatsKeys, name = "CI") => (await keys.account(name)).signing.map(({ state }) => state);

test("every identity is of its kind, another than all others, and the same after a restart", async () => {
  const folder = new Folder();
  const keys = await folder.open();
  expect(
    identities(keys)
      .map(([letter]) => letter)
      .join(""),
  ).toBe("OOAUAUUXNA");
  const names = [...identities(keys), (await keys.account("CI")).publicKey, (await keys.account("P_7")).publicKey];
  expect(new Set(names).size).toBe(names.length);
  const again = await folder.open();
  expect(identities(again)).toEqual(identities(keys));
  expect(again.ticketKey).toEqual(keys.ticketKey);
  expect(again.accounts().map(({ name }) => name)).toEqual(["CI", "P_7"]);
  expect(again.find("CI")?.publicKey).toBe(keys.find("CI")?.publicKey);
  expect(again.find("CI")?.current.publicKey).toBe(keys.find("CI")?.current.publicKey);
});

test("two installations share nothing", async () => {
  const [a, b] = [await new Folder().open(), await new Folder().open()];
  expect(new Set([...identities(a), ...identities(b)]).size).toBe(20);
  expect((await a.account("CI")).publicKey).not.toBe((await b.account("CI")).publicKey);
});

describe("accounts", () => {
  test("a new one is durable before anybody has it", async () => {
    const folder = new Folder();
    const keys = await folder.open();
    const asked = keys.account("CI").then(() => folder.identities?.accounts);
    expect(keys.find("CI")).toBeUndefined();
    expect(await asked).toEqual(["CI"]);
    expect(keys.find("CI")?.name).toBe("CI");
  });

  test("one that cannot be written is nobody's, and is there once it can be", async () => {
    const folder = new Folder();
    const keys = await folder.open();
    folder.broken = true;
    await expect(keys.account("CI")).rejects.toThrow("no space left");
    expect([keys.find("CI"), keys.accounts()]).toEqual([undefined, []]);
    folder.broken = false;
    expect((await keys.account("CI")).name).toBe("CI");
  });

  test("many asked for at once are all kept, each made once", async () => {
    const folder = new Folder();
    const keys = await folder.open();
    const written = folder.writes;
    const names = Array.from({ length: 20 }, (_, at) => `P_${at}`);
    const made = await Promise.all([...names, ...names].map((name) => keys.account(name)));
    expect(new Set(made).size).toBe(20);
    expect(folder.writes - written).toBe(20);
    expect(folder.identities?.accounts).toEqual(names);
  });

  test("listeners hear of each new one, and of each verb", async () => {
    const keys = await new Folder().open();
    let heard = 0;
    const stop = keys.onChange(() => heard++);
    await keys.account("CI");
    await keys.account("CI");
    expect(heard).toBe(1);
    await keys.chain.prepare();
    expect(heard).toBeGreaterThan(1);
    stop();
    const before = heard;
    await keys.account("OTHER");
    expect(heard).toBe(before);
  });

  test("one whose name comes back after an old backup has the identity that the servers know", async () => {
    const folder = new Folder();
    const keys = await folder.open();
    const backup = folder.identities;
    const { publicKey } = await keys.account("CI");
    folder.identities = backup;
    const restored = await folder.open();
    expect(restored.find("CI")).toBeUndefined();
    expect((await restored.account("CI")).publicKey).toBe(publicKey);
  });

  test.each([
    "",
    "a.b",
    "a b",
    "$SYS",
    "$G",
    ">",
    "*",
    "ä",
    "a\n",
    "x".repeat(65),
    "../x",
    "SYS",
    "sys",
    "AUTH",
    "Auth",
  ])("%j is no name of one", async (name) => {
    const keys = await new Folder().open();
    await expect(keys.account(name)).rejects.toMatchObject({ code: "config_invalid" });
    expect(keys.accounts()).toEqual([]);
  });

  test.each(["a", "_", "-x", "P_4711", "ACME-prod", "x".repeat(64), "constructor", "__proto__"])(
    "%j is one",
    async (name) => {
      expect((await (await new Folder().open()).account(name)).name).toBe(name);
    },
  );
});

describe("the four verbs, for all accounts at once", () => {
  test("each account signs with a key of its own, listed for the servers", async () => {
    const keys = await new Folder().open();
    const [a, b] = [await keys.account("A"), await keys.account("B")];
    expect(a.signing).toEqual([{ publicKey: a.current.publicKey, state: "active" }]);
    expect(a.current.publicKey).not.toBe(b.current.publicKey);
    expect([a.identity.publicKey, b.identity.publicKey]).not.toContain(a.current.publicKey);
  });

  test("prepared, then active beside the old one, which goes when its last user JWT has expired", async () => {
    const folder = new Folder();
    const keys = await folder.open();
    const account = await keys.account("CI");
    const old = account.current.publicKey;
    await keys.chain.prepare();
    expect(await states(keys)).toEqual(["active", "prepared"]);
    expect(account.current.publicKey).toBe(old);
    await expect(keys.chain.activate()).rejects.toMatchObject({ code: "key_not_ready" });

    folder.now += windowMs;
    await keys.chain.activate();
    expect(await states(keys)).toEqual(["retiring", "active"]);
    expect(account.current.publicKey).not.toBe(old);
    expect(await states(keys, "NEW")).toEqual(["retiring", "active"]);

    folder.now += lifeMs - 1;
    await keys.chain.sweep();
    expect(account.signing[0]).toEqual({ publicKey: old, state: "retiring" });
    folder.now += 1;
    await keys.chain.sweep();
    expect(account.signing).toEqual([{ publicKey: account.current.publicKey, state: "active" }]);
    expect((await folder.open()).find("CI")?.signing).toEqual(account.signing);
  });

  test("revoked: listed no more from the call on, and another signs", async () => {
    const folder = new Folder();
    const keys = await folder.open();
    const account = await keys.account("CI");
    const old = account.current.publicKey;
    const revoking = keys.chain.revoke(keys.chain.ring.kid, "a test");
    expect(account.signing).toEqual([]);
    expect(() => account.current).toThrow(expect.objectContaining({ code: "key_unavailable" }));
    await revoking;
    expect(account.signing).toEqual([{ publicKey: account.current.publicKey, state: "active" }]);
    expect(account.current.publicKey).not.toBe(old);
    expect(folder.events.at(-1)).toMatchObject({ kind: "key.activated", data: { class: "nats" } });
    expect(folder.events.filter(({ kind }) => kind === "key.revoked")).toHaveLength(1);
  });

  test("a generation whose secret a backup lost is revoked, and what it signed with it", async () => {
    const folder = new Folder();
    const keys = await folder.open();
    const account = await keys.account("CI");
    const backup = folder.signing;
    await keys.chain.prepare();
    folder.now += windowMs;
    await keys.chain.activate();
    const lost = account.current.publicKey;
    folder.history = keys.chain.list();
    folder.signing = backup;
    const restored = await folder.open();
    expect(restored.chain.lost).toHaveLength(1);
    expect(restored.find("CI")?.signing.map(({ publicKey }) => publicKey)).not.toContain(lost);
    expect(restored.find("CI")?.current.publicKey).not.toBe(lost);
  });
});

test("on disk everything is sealed, one file cannot stand for another, and keys show no secret", async () => {
  const dir = mkdtempSync(join(tmpdir(), "wayleave-nats-keys-"));
  onTestFinished(() => rmSync(dir, { recursive: true }));
  const key = randomBytes(32);
  const folder = new Folder();
  const keys = await openNatsKeys({
    random: randomBytes,
    file: natsKeyFile(dir, key),
    signing: keyFile(dir, natsClass, key),
    openChain: (file) =>
      openKeyChain({
        class: natsClass,
        file,
        history: [],
        recorder: { append: async () => [] },
        clock: { now: () => folder.now },
        windowMs,
        lifeMs,
        onFault: () => undefined,
      }),
  });
  const account = await keys.account("CI");
  expect(readdirSync(dir).sort()).toEqual(["nats-identities.jwe", "nats.jwe"]);
  for (const name of readdirSync(dir)) expect(readFileSync(join(dir, name), "utf8").split(".")).toHaveLength(5);
  const shown = inspect({ keys, account }, { depth: 9, showHidden: true, getters: false });
  for (const { seed } of [keys.operator, keys.xkey, account.identity, account.current])
    expect(shown).not.toContain(seed);

  expect((await natsKeyFile(dir, key).read())?.accounts).toEqual(["CI"]);
  await expect(natsKeyFile(dir, randomBytes(32)).read()).rejects.toMatchObject({ code: "key_unavailable" });
  await expect(keyFile(dir, "nats-identities" as string as KeyClass, key).read()).rejects.toMatchObject({
    code: "key_unavailable",
  });
});
