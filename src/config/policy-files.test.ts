import { mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { lockPath, readPolicyFiles } from "./policy-files.ts";

function folder(files: Readonly<Record<string, string>>): string {
  const path = join(mkdtempSync(join(tmpdir(), "wayleave-policy-")), "policy");
  mkdirSync(path);
  for (const [name, text] of Object.entries(files)) writeFileSync(join(path, name), text);
  return path;
}

test("a folder gives its *.yaml files by name, and the lock beside them", async () => {
  const path = folder({ "b.yaml": "B", "a.yaml": "A", "notes.md": "no", "wayleave.lock": "L" });
  expect(await readPolicyFiles(path)).toEqual({
    files: [
      { name: "policy/a.yaml", text: "A" },
      { name: "policy/b.yaml", text: "B" },
    ],
    lock: { name: "policy/wayleave.lock", text: "L" },
  });
});

test("a file gives itself, under the name it is shown as, and the lock beside it", async () => {
  const path = join(folder({ "a.yaml": "A", "wayleave.lock": "L" }), "a.yaml");
  expect(await readPolicyFiles(path, "here/a.yaml")).toEqual({
    files: [{ name: "here/a.yaml", text: "A" }],
    lock: { name: "here/wayleave.lock", text: "L" },
  });
  expect(await lockPath(path)).toBe(join(path, "..", "wayleave.lock"));
});

test.each<{ what: string; path: () => string; says: RegExp }>([
  { what: "nothing at the path", path: () => "/nowhere/policy", says: /does not exist/ },
  { what: "a folder without policy", path: () => folder({ "policy.yml": "" }), says: /holds no \*\.yaml file/ },
])("$what is policy_invalid", async ({ path, says }) => {
  await expect(readPolicyFiles(path())).rejects.toMatchObject({ code: "policy_invalid" });
  await expect(readPolicyFiles(path())).rejects.toThrow(says);
});
