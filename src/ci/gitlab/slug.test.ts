import fc from "fast-check";
import { expect, test } from "vitest";
import { environmentSlug, refSlug } from "./slug.ts";

test.each([
  { name: "production", slug: "production" },
  { name: "foo-", slug: "foo" },
  { name: "staging-1234567890123456", slug: "staging-1234567890123456" },
  { name: "staging-12345678-", slug: "staging-12345678" },
  { name: "PRODUCTION", slug: /^production-[a-z0-9]{6}$/ },
  { name: "review/1-foo", slug: /^review-1-foo-[a-z0-9]{6}$/ },
  { name: "1-foo", slug: /^env-1-foo-[a-z0-9]{6}$/ },
  { name: "1/foo", slug: /^env-1-foo-[a-z0-9]{6}$/ },
  { name: "foo--bar", slug: /^foo-bar-[a-z0-9]{6}$/ },
  { name: "foo**bar", slug: /^foo-bar-[a-z0-9]{6}$/ },
  { name: "*-foo", slug: /^env-foo-[a-z0-9]{6}$/ },
  { name: "staging-12345678901234567", slug: /^staging-123456789-[a-z0-9]{6}$/ },
  { name: "9-staging-123456789012345", slug: /^env-9-staging-123-[a-z0-9]{6}$/ },
  { name: "staging-1234567890123456-", slug: /^staging-123456789-[a-z0-9]{6}$/ },
  { name: "staging-12345678-01234567", slug: /^staging-12345678-[a-z0-9]{6}$/ },
])("environment $name", ({ name, slug }) => {
  if (typeof slug === "string") expect(environmentSlug(name)).toBe(slug);
  else expect(environmentSlug(name)).toMatch(slug);
});

test("the suffix is the end of the name's SHA-256 in base 36", () => {
  // python3: int(sha256(b"review/feature-x").hexdigest(), 16) in base 36, the last six digits
  expect(environmentSlug("review/feature-x")).toBe("review-feature-x-bjrazc");
});

test("an environment slug is a DNS label of at most 24 characters that starts with a letter", () => {
  fc.assert(
    fc.property(fc.string({ unit: "grapheme", minLength: 1 }), (name) => {
      expect(environmentSlug(name)).toMatch(/^[a-z](?:[a-z0-9-]{0,22}[a-z0-9])?$/);
    }),
  );
});

test.each([
  { ref: "main", slug: "main" },
  { ref: "feature/Login_Form", slug: "feature-login-form" },
  { ref: "--v1.0.0--", slug: "v1-0-0" },
  { ref: "ÄÖ", slug: "" },
  { ref: "a".repeat(70), slug: "a".repeat(63) },
  { ref: `${"a".repeat(62)}/b`, slug: "a".repeat(62) },
])("ref $ref", ({ ref, slug }) => {
  expect(refSlug(ref)).toBe(slug);
});

test("a ref slug never starts or ends with a dash and has at most 63 characters", () => {
  fc.assert(
    fc.property(fc.string({ unit: "grapheme" }), (ref) => {
      expect(refSlug(ref)).toMatch(/^(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)?$/);
    }),
  );
});
