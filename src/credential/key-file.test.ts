import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { inspect } from "node:util";
import { CompactEncrypt } from "jose";
import { expect, onTestFinished, test } from "vitest";
import { WayleaveError } from "../core/errors.ts";
import { keyFile, type StoredKey } from "./key-file.ts";
import type { KeyClass } from "./key-life.ts";
import { generateKey } from "./key-material.ts";

const operatorKey = new Uint8Array(32).fill(7);
const code = (promise: Promise<unknown>) =>
  promise.then(
    () => "accepted",
    (error: unknown) => (error instanceof WayleaveError ? error.code : `unexpected ${String(error)}`),
  );

function folder(): string {
  const dir = mkdtempSync(join(tmpdir(), "wayleave-keys-"));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

async function someKeys(): Promise<readonly StoredKey[]> {
  const [signing, next] = [await generateKey(), await generateKey()];
  return [
    { kid: "gone", state: "revoked", createdAt: 1, lifeMs: 300_000 },
    { kid: signing.kid, state: "active", createdAt: 2, activatedAt: 3, lifeMs: 300_000, jwk: signing },
    { kid: next.kid, state: "prepared", createdAt: 4, publishedAt: 5, usableAt: 6, lifeMs: 0, jwk: next },
  ];
}

/** A file as earlier versions, or somebody with the operator's key, would write it. */
async function seal(dir: string, keyClass: KeyClass, content: unknown): Promise<void> {
  const text = content === undefined ? "private" : JSON.stringify(content);
  const sealed = await new CompactEncrypt(new TextEncoder().encode(text))
    .setProtectedHeader({ alg: "dir", enc: "A256GCM", typ: `wayleave-keys+${keyClass}` })
    .encrypt(operatorKey);
  writeFileSync(join(dir, `${keyClass}.jwe`), sealed);
}

test("keys come back as they were; at rest they are encrypted, and unreadable for others", async () => {
  const dir = join(folder(), "keys");
  const keys = await someKeys();
  const file = keyFile(dir, "access-token", operatorKey);
  expect(await file.read()).toBeUndefined();
  await file.write(keys);
  expect(await file.read()).toEqual(keys);
  const path = join(dir, "access-token.jwe");
  expect([statSync(dir).mode & 0o777, statSync(path).mode & 0o777]).toEqual([0o700, 0o600]);
  for (const { kid } of keys) expect(readFileSync(path, "utf8")).not.toContain(kid);
});

test("a file from before keys had states opens: its last key signs, the others may have tokens out", async () => {
  const dir = folder();
  const keys = [await generateKey(), await generateKey()];
  await seal(dir, "access-token", { keys });
  const found = await keyFile(dir, "access-token", operatorKey).read();
  expect(found).toMatchObject([
    { kid: keys[0]?.kid, state: "retiring", jwk: keys[0] },
    { kid: keys[1]?.kid, state: "active", jwk: keys[1] },
  ]);
});

test("and a version from before that still finds the key that signs last", async () => {
  const dir = folder();
  const keys = await someKeys();
  await keyFile(dir, "access-token", operatorKey).write(keys);
  const { compactDecrypt } = await import("jose");
  const { plaintext } = await compactDecrypt(readFileSync(join(dir, "access-token.jwe"), "utf8"), operatorKey);
  const { keys: jwks } = JSON.parse(new TextDecoder().decode(plaintext)) as { keys: { kid: string }[] };
  expect(jwks.map(({ kid }) => kid)).toEqual([keys[2]?.kid, keys[1]?.kid]);
});

test.each<{ why: string; damage: (dir: string) => Promise<void> | void; key?: Uint8Array }>([
  { why: "of another operator key", damage: () => undefined, key: new Uint8Array(32) },
  {
    why: "of another class",
    damage: async (dir) => {
      await keyFile(dir, "assertion", operatorKey).write(await someKeys());
      writeFileSync(join(dir, "access-token.jwe"), readFileSync(join(dir, "assertion.jwe")));
    },
  },
  {
    why: "cut short",
    damage: (dir) =>
      writeFileSync(join(dir, "access-token.jwe"), readFileSync(join(dir, "access-token.jwe")).subarray(0, -4)),
  },
  { why: "that is empty", damage: (dir) => writeFileSync(join(dir, "access-token.jwe"), "") },
  { why: "that holds no JSON", damage: (dir) => seal(dir, "access-token", undefined) },
  { why: "without a key", damage: (dir) => seal(dir, "access-token", { keys: [] }) },
  { why: "with a key that has no kid", damage: (dir) => seal(dir, "access-token", { keys: [{ kty: "EC" }] }) },
  {
    why: "with a state of a later version",
    damage: (dir) =>
      seal(dir, "access-token", { keys: [], lives: [{ kid: "a", state: "paused", createdAt: 1, lifeMs: 1 }] }),
  },
])("a file $why is refused and left alone", async ({ damage, key }) => {
  const dir = folder();
  await keyFile(dir, "access-token", operatorKey).write(await someKeys());
  await damage(dir);
  const before = readFileSync(join(dir, "access-token.jwe"));
  const refused: unknown = await keyFile(dir, "access-token", key ?? operatorKey)
    .read()
    .catch((error: unknown) => error);
  expect(refused).toMatchObject({ code: "key_unavailable" });
  expect(inspect(refused)).not.toContain("private");
  expect(readFileSync(join(dir, "access-token.jwe"))).toEqual(before);
});

test("a folder that cannot be written is said, and what was there stays", async () => {
  const dir = folder();
  writeFileSync(join(dir, "file"), "");
  expect(await code(keyFile(join(dir, "file", "keys"), "access-token", operatorKey).write([]))).toBe("key_unavailable");
});
