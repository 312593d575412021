import fc from "fast-check";
import { expect, test } from "vitest";
import { parseLock, renderLock } from "./lock.ts";

const read = (text: string) => parseLock({ name: "policy.lock", text });
const codes = (text: string) =>
  read(text).diagnostics.map((one) => `${one.code} ${one.place.line}:${one.place.column}`);

test("what is rendered is read again, and the order of pins changes no byte", () => {
  const key = fc.tuple(
    fc.stringMatching(/^[a-z0-9-]{1,16}$/),
    fc.stringMatching(/^[\w.-]{1,10}(\/[\w.-]{1,10}){1,3}$/),
  );
  const pins = fc.array(fc.tuple(key, fc.stringMatching(/^[0-9a-f-]{1,36}$/)), { maxLength: 20 });
  fc.assert(
    fc.property(pins, (list) => {
      const entries = list.map(([[issuer, path], id]) => [`${issuer}/${path}`, id] as const);
      const text = renderLock(Object.fromEntries(entries));
      expect(read(text)).toEqual({ pins: Object.fromEntries(entries), diagnostics: [] });
      const known = Object.entries(Object.fromEntries(entries));
      expect(renderLock(Object.fromEntries(known.toReversed()))).toBe(text);
    }),
  );
});

test.each([
  { text: "", why: "empty", found: ["version_unsupported 1:1", "wrong_type 1:1"] },
  { text: "pins: {}\n", why: "without a version", found: ["version_unsupported 1:1"] },
  { text: "version: 2\npins: {}\n", why: "of another version", found: ["version_unsupported 1:10"] },
  { text: "version: 1\npins: []\n", why: "with a list of pins", found: ["wrong_type 2:1"] },
  { text: "version: 1\npin: {}\n", why: "with a wrong key", found: ["wrong_type 1:1", "unknown_key 2:1"] },
  { text: "version: 1\npins: { gitlab/acme/shop: 1042 }\n", why: "with a number", found: ["pin_invalid 2:27"] },
  { text: 'version: 1\npins: { shop: "1042" }\n', why: "with a path of no issuer", found: ["pin_invalid 2:9"] },
  { text: 'version: 1\npins: { gitlab/acme/shop: "10 42" }\n', why: "with a broken id", found: ["pin_invalid 2:27"] },
  {
    text: 'version: 1\npins: { gitlab/a: "1", gitlab/a: "2" }\n',
    why: "with one pin twice",
    found: ["duplicate_key 2:24"],
  },
])("a lock file $why is refused whole", ({ text, found }) => {
  expect(codes(text)).toEqual(found);
  expect(read(text).pins).toBeUndefined();
});
