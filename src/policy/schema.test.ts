import { expect, test } from "vitest";
import { policyJsonSchema } from "./schema.ts";

type Schema = Readonly<Record<string, unknown>>;

/** Every property's schema with its path. */
function properties(schema: Schema, path: string): [string, Schema][] {
  const named = Object.entries((schema.properties ?? {}) as Record<string, Schema>).map(
    ([key, one]) => [`${path}.${key}`, one] as const,
  );
  const nested = [schema.items, schema.additionalProperties, ...((schema.anyOf ?? []) as unknown[])]
    .filter((one): one is Schema => typeof one === "object" && one !== null)
    .flatMap((one) => properties(one, `${path}[]`));
  return [...named.flatMap(([at, one]): [string, Schema][] => [[at, one], ...properties(one, at)]), ...nested];
}

const all = properties(policyJsonSchema(), "policy");

test("the JSON Schema holds the language", () => {
  const names = all.map(([path]) => path);
  expect(names.length).toBeGreaterThan(50);
  for (const path of [
    "policy.version",
    "policy.targets",
    "policy.deny",
    "policy.tests",
    "policy.events",
    "policy.mode",
  ]) {
    expect(names).toContain(path);
  }
});

test.each(all)("%s says what it is", (_, schema) => {
  expect(schema.description).toMatch(/\w/);
});

test("unknown keys are refused in the editor as well, but where an issuer's name is the key", () => {
  const open = all.filter(([, one]) => one.properties !== undefined && one.additionalProperties !== false);
  expect(open.map(([path]) => path)).toEqual(expect.arrayContaining(["policy.tests[].as"]));
  for (const [path, one] of open) expect(typeof one.additionalProperties, path).toBe("object");
});
