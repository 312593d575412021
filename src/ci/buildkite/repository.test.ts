import fc from "fast-check";
import { expect, test } from "vitest";
import { sameRepository } from "./repository.ts";

const forms = [
  "git@github.com:acme/shop.git",
  "git@GitHub.com:acme/shop",
  "https://github.com/acme/shop.git",
  "https://user:pass@github.com/acme/shop/",
  "ssh://git@github.com:22/acme/shop.git",
  "git://github.com/acme/shop.git",
];

test.each(forms.flatMap((one) => forms.map((other) => ({ one, other }))))("$one is $other", ({ one, other }) => {
  expect(sameRepository(one, other)).toBe(true);
});

test.each([
  { what: "another owner", other: "https://github.com/mallory/shop" },
  { what: "another name", other: "https://github.com/acme/shop2" },
  { what: "a longer path", other: "https://github.com/acme/shop/x" },
  { what: "a path that climbs", other: "https://github.com/acme/x/../shop" },
  { what: "another host", other: "https://github.com.evil.example/acme/shop" },
  { what: "a host in the user's place", other: "https://github.com@evil.example/acme/shop" },
  { what: "a host before a slash and an at", other: "https://evil.example/@github.com/acme/shop" },
  { what: "an encoded path", other: "https://github.com/acme/shop%2f" },
  { what: "a query", other: "https://github.com/acme/shop?x" },
  { what: "a path in capitals", other: "https://github.com/Acme/shop" },
  { what: "a line break", other: "https://github.com/acme/shop\n" },
  { what: "another scheme", other: "file://github.com/acme/shop" },
  { what: "nothing", other: "" },
])("$what is another repository", ({ other }) => {
  expect(sameRepository("git@github.com:acme/shop.git", other)).toBe(false);
});

test("what cannot be read is like nothing, not even itself", () => {
  fc.assert(
    fc.property(fc.string(), (text) => {
      fc.pre(!/[:/]/.test(text));
      expect(sameRepository(text, text)).toBe(false);
    }),
  );
});
