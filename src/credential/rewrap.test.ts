import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { rewrapKeys } from "./rewrap.ts";
import { readSealed, writeSealed } from "./sealed-file.ts";
import { openSecretRoot } from "./secret-root.ts";

const before = Buffer.alloc(32, 1);
const key = Buffer.alloc(32, 2);
const foreign = Buffer.alloc(32, 3);
const names = ["a", "b", "c"];

function folder(): string {
  const dir = mkdtempSync(join(tmpdir(), "wayleave-rewrap-"));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

async function filled(): Promise<string> {
  const dir = folder();
  for (const name of names)
    await writeSealed(join(dir, `${name}.jwe`), `typ-${name}`, before, JSON.stringify({ name }));
  writeFileSync(join(dir, "notes.txt"), "not ours");
  return dir;
}

const read = (dir: string, name: string, by: Uint8Array) =>
  readSealed(join(dir, `${name}.jwe`), `typ-${name}`, by, (content) => content);

test("everything is encrypted with the new key, for the same purpose, once", async () => {
  const dir = await filled();
  expect(await rewrapKeys(dir, { key, previous: before })).toEqual(["a.jwe", "b.jwe", "c.jwe"]);
  for (const name of names) {
    expect(await read(dir, name, key)).toEqual({ name });
    await expect(read(dir, name, before)).rejects.toMatchObject({ code: "key_unavailable" });
  }
  expect(await rewrapKeys(dir, { key, previous: before })).toEqual([]);
  expect(readdirSync(dir).sort()).toEqual(["a.jwe", "b.jwe", "c.jwe", "notes.txt"]);
});

test("a stop at any place loses nothing, and the next start goes on", async () => {
  for (const stop of names) {
    const dir = await filled();
    const path = join(dir, `${stop}.jwe`);
    const whole = readFileSync(path);
    writeFileSync(path, "torn");
    await expect(rewrapKeys(dir, { key, previous: before })).rejects.toMatchObject({ code: "key_unavailable" });
    writeFileSync(path, whole);
    const left = names.slice(names.indexOf(stop)).map((name) => `${name}.jwe`);
    expect(await rewrapKeys(dir, { key, previous: before })).toEqual(left);
    for (const name of names) expect(await read(dir, name, key)).toEqual({ name });
  }
});

test("without a previous key, or with a wrong one, nothing is touched", async () => {
  const dir = await filled();
  const bytes = names.map((name) => readFileSync(join(dir, `${name}.jwe`), "utf8"));
  expect(await rewrapKeys(dir, { key })).toEqual([]);
  await expect(rewrapKeys(dir, { key, previous: foreign })).rejects.toThrow(/previous_encryption_key/);
  expect(names.map((name) => readFileSync(join(dir, `${name}.jwe`), "utf8"))).toEqual(bytes);
});

test("what was sealed for one purpose opens for no other afterwards", async () => {
  const dir = await filled();
  await rewrapKeys(dir, { key, previous: before });
  const as = readSealed(join(dir, "a.jwe"), "typ-b", key, (content) => content);
  await expect(as).rejects.toMatchObject({ code: "key_unavailable" });
});

test("a folder that is not there has nothing to do", async () => {
  expect(await rewrapKeys(join(folder(), "none"), { key, previous: before })).toEqual([]);
});

const random = () => Buffer.alloc(32, 9);

test("secrets are derived from random bytes, which outlive the operator's key", async () => {
  const dir = join(folder(), "keys");
  expect(await openSecretRoot(dir, { key: before }, random)).toEqual(random());
  await rewrapKeys(dir, { key, previous: before });
  expect(await openSecretRoot(dir, { key, previous: before }, () => Buffer.alloc(32, 8))).toEqual(random());
});

test.each([
  { why: "the operator's key", keys: { key: before } },
  { why: "the one before it, where that is being replaced", keys: { key, previous: before } },
])("an installation from before goes on with $why", async ({ keys }) => {
  const dir = await filled();
  await rewrapKeys(dir, keys);
  expect(Buffer.from(await openSecretRoot(dir, keys, random))).toEqual(before);
  expect(Buffer.from(await openSecretRoot(dir, { key: keys.key }, random))).toEqual(before);
});
