import { copyFileSync, mkdtempSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { caFile, type StoredCas } from "./ca-file.ts";

const key = new Uint8Array(32).fill(7);
const bytes = (value: number) => new Uint8Array([value, value]);
const cas: StoredCas = {
  roots: [{ certificate: bytes(1), recorded: true }],
  intermediates: [{ certificate: bytes(2), privateKey: bytes(3), recorded: false }],
};

function folder(): string {
  const dir = mkdtempSync(join(tmpdir(), "wayleave-ca-"));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  return join(dir, "keys");
}

test("what was written is read, by nobody else and with nothing in the clear", async () => {
  const dir = folder();
  const file = caFile(dir, key);
  expect([await file.read(), await file.readRoots()]).toEqual([undefined, undefined]);
  await file.write(cas);
  await file.writeRoots([{ certificate: bytes(1), privateKey: bytes(9), recorded: true }]);
  expect(await caFile(dir, key).read()).toEqual(cas);
  expect((await file.readRoots())?.[0]?.privateKey).toEqual(bytes(9));
  for (const name of ["ca.jwe", "ca-root.jwe"]) {
    expect(statSync(join(dir, name)).mode & 0o777).toBe(0o600);
    expect(readFileSync(join(dir, name), "utf8")).not.toContain("certificate");
  }
});

test("the roots' file may be away", async () => {
  const dir = folder();
  const file = caFile(dir, key);
  await file.write(cas);
  expect(await file.readRoots()).toBeUndefined();
});

test.each<[string, (dir: string) => void, Uint8Array]>([
  ["another key", () => undefined, new Uint8Array(32).fill(8)],
  ["a file cut off", (dir) => truncateSync(join(dir, "ca.jwe"), 40), key],
  ["an empty file", (dir) => truncateSync(join(dir, "ca.jwe")), key],
  ["the other file in its place", (dir) => copyFileSync(join(dir, "ca-root.jwe"), join(dir, "ca.jwe")), key],
  ["plain JSON", (dir) => writeFileSync(join(dir, "ca.jwe"), JSON.stringify(cas)), key],
])("with %s there is no CA", async (_of, damage, with_) => {
  const dir = folder();
  const file = caFile(dir, key);
  await file.write(cas);
  await file.writeRoots([]);
  damage(dir);
  await expect(caFile(dir, with_).read()).rejects.toMatchObject({ code: "key_unavailable" });
});
