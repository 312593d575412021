import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { findSignIn, forgetSignIn, type KeptSignIn, keepSignIn, keptSignIns } from "./sign-in-file.ts";

let home: string;
const io = () => ({ env: { HOME: home } });
const folder = () => join(home, ".config", "wayleave");
const file = () => join(folder(), "sign-ins.json");
const kept = (brokerUrl: string, token = "wlo_1"): KeptSignIn => ({
  brokerUrl,
  token,
  key: { kty: "EC", d: "secret" },
  expiresAt: "2030-01-01T00:00:00.000Z",
});

beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), "wayleave-home-"));
});
afterEach(() => rmSync(home, { recursive: true, force: true }));

test("each broker has one sign-in, the latest first, in a file only its user can open", () => {
  expect(keptSignIns(io())).toEqual([]);
  keepSignIn(io(), kept("https://a.example"));
  keepSignIn(io(), { ...kept("https://b.example"), caFile: "/ca.pem" });
  expect(keepSignIn(io(), kept("https://a.example", "wlo_2"))).toBe(file());
  expect(keptSignIns(io())).toEqual([
    kept("https://a.example", "wlo_2"),
    { ...kept("https://b.example"), caFile: "/ca.pem" },
  ]);
  expect([statSync(file()).mode & 0o777, statSync(folder()).mode & 0o777]).toEqual([0o600, 0o700]);
});

test("found by its URL, with or without a final slash; without one named, the latest", () => {
  keepSignIn(io(), kept("https://a.example"));
  keepSignIn(io(), kept("https://b.example"));
  expect(findSignIn(io(), undefined)?.brokerUrl).toBe("https://b.example");
  expect(findSignIn(io(), "https://a.example/")?.brokerUrl).toBe("https://a.example");
  expect(findSignIn(io(), "https://a.example.evil")).toBeUndefined();
  forgetSignIn(io(), "https://b.example");
  expect(keptSignIns(io()).map(({ brokerUrl }) => brokerUrl)).toEqual(["https://a.example"]);
  expect(readFileSync(file(), "utf8")).not.toContain("b.example");
});

test.each([
  { what: "others can read it", spoil: () => chmodSync(file(), 0o644), says: /can be opened by other users/ },
  { what: "it is damaged", spoil: () => writeFileSync(file(), "{"), says: /is damaged/ },
  { what: "it is of another shape", spoil: () => writeFileSync(file(), '{"v":2}'), says: /is damaged/ },
  {
    what: "it is a link",
    spoil: () => {
      rmSync(file());
      writeFileSync(join(home, "elsewhere"), "{}", { mode: 0o600 });
      symlinkSync(join(home, "elsewhere"), file());
    },
    says: /is a symbolic link/,
  },
])("not used where $what", ({ spoil, says }) => {
  keepSignIn(io(), kept("https://a.example"));
  spoil();
  expect(() => findSignIn(io(), undefined)).toThrow(says);
});

test("not kept in a folder that others can enter", () => {
  mkdirSync(folder(), { recursive: true, mode: 0o755 });
  chmodSync(folder(), 0o755);
  expect(() => keepSignIn(io(), kept("https://a.example"))).toThrow(/can be opened by other users/);
});
