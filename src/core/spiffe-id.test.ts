import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { isUnder, namedIdProblem, parseSpiffeId, roleSpiffeId } from "./spiffe-id.ts";

describe("parseSpiffeId", () => {
  test.each([
    ["spiffe://acme.example/role/release", "acme.example", "/role/release"],
    ["spiffe://a/b", "a", "/b"],
    ["spiffe://A-is-not/b".toLowerCase(), "a-is-not", "/b"],
    ["spiffe://acme.example/ns/Bank/sa/x_1.2-3", "acme.example", "/ns/Bank/sa/x_1.2-3"],
    ["spiffe://acme.example/...", "acme.example", "/..."],
  ])("reads %s", (text, trustDomain, path) => {
    expect(parseSpiffeId(text)).toEqual({ text, trustDomain, path });
  });

  test.each([
    "",
    "spiffe://",
    "spiffe://acme.example",
    "spiffe://acme.example/",
    "spiffe://acme.example/a/",
    "spiffe://acme.example//a",
    "spiffe://acme.example/a//b",
    "spiffe://acme.example/.",
    "spiffe://acme.example/a/../b",
    "spiffe://acme.example/a%2fb",
    "spiffe://acme.example/a?b",
    "spiffe://acme.example/a#b",
    "spiffe://acme.example/a b",
    "spiffe://acme.example/ä",
    "spiffe://acme.example/a\n",
    "spiffe://acme.example:8443/a",
    "spiffe://user@acme.example/a",
    "spiffe://ACME.example/a",
    "SPIFFE://acme.example/a",
    "spiffe:///a",
    "https://acme.example/a",
    " spiffe://acme.example/a",
    `spiffe://${"a".repeat(256)}/b`,
    `spiffe://a/${"b".repeat(2048)}`,
  ])("refuses %j", (text) => {
    expect(parseSpiffeId(text)).toBeUndefined();
  });

  test("gives back what it was given, or nothing", () => {
    fc.assert(
      fc.property(
        fc.string().map((text) => `spiffe://acme.example/${text}`),
        (text) => {
          const id = parseSpiffeId(text);
          return id === undefined || `spiffe://${id.trustDomain}${id.path}` === text;
        },
      ),
    );
  });
});

test.each([
  ["spiffe://a/ci", true],
  ["spiffe://a/ci/", true],
  ["spiffe://a", true],
  ["spiffe://a/", true],
  ["spiffe://a/c", false],
  ["spiffe://a/ci/run", false],
  ["spiffe://", false],
  ["", false],
  ["spiffe://b/ci", false],
])("spiffe://a/ci/runner is under %j: %s", (prefix, expected) => {
  const id = parseSpiffeId("spiffe://a/ci/runner");
  expect(id !== undefined && isUnder(id, prefix)).toBe(expected);
});

describe("what a role may name", () => {
  const allowed = {
    trustDomain: "acme.example",
    prefixes: ["spiffe://acme.example/ns/ci", "spiffe://other.example/ns"],
  };
  const all = { ...allowed, prefixes: ["spiffe://acme.example"] };

  test("is under a prefix of its own trust domain", () => {
    expect(namedIdProblem("spiffe://acme.example/ns/ci/sa/release", allowed)).toBeUndefined();
  });

  test.each([
    ["spiffe://acme.example/ns/cicero", allowed, /none of spiffe\.prefixes/],
    ["spiffe://other.example/ns/x", allowed, /another trust domain/],
    ["nonsense", allowed, /no SPIFFE ID/],
    [roleSpiffeId("acme.example", "admin"), all, /gives out itself/],
    ["spiffe://acme.example/gateway/edge-1", all, /gives out itself/],
    ["spiffe://acme.example/ci/gitlab/1042", all, /gives out itself/],
    ["spiffe://acme.example/role", all, /gives out itself/],
  ] as const)("is never %s", (text, given, says) => {
    expect(namedIdProblem(text, given)).toMatch(says);
  });
});
