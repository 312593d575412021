import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { createNatsPasswords } from "./nats-password.ts";

const key = Buffer.alloc(32, 7);
const passwords = createNatsPasswords(key);
const grant = { session: "ses_0123456789abcdef", gateway: "jobs-1", target: "events" };

describe("a NATS password", () => {
  test("is derived: the same after a restart, and gives its grant back", () => {
    const password = passwords.password(grant);
    expect(password).toMatch(/^wln_[\w.-]+$/);
    expect(createNatsPasswords(Buffer.alloc(32, 7)).password(grant)).toBe(password);
    expect(passwords.read(password)).toEqual(grant);
  });

  test("fits a URL as it is", () => {
    const url = new URL(`nats://events:${passwords.password(grant)}@127.0.0.1:4222`);
    expect(url.password).toBe(passwords.password(grant));
  });

  test("of another operator's key is none", () => {
    expect(passwords.read(createNatsPasswords(Buffer.alloc(32, 8)).password(grant))).toBeUndefined();
  });

  test.each([
    ["nothing", ""],
    ["the prefix alone", "wln_"],
    ["no code", `wln_${Buffer.from("ses_0123456789abcdef jobs-1 events").toString("base64url")}`],
    ["an empty code", `${passwords.password(grant).split(".")[0]}.`],
    ["three parts", `${passwords.password(grant)}.x`],
    ["padding", `${passwords.password(grant)}=`],
    ["a space behind", `${passwords.password(grant)} `],
    ["another prefix", passwords.password(grant).replace("wln_", "wlr_")],
    ["no prefix", passwords.password(grant).slice(4)],
    ["no end", `${passwords.password(grant)}${"A".repeat(600)}`],
  ])("with %s is none", (_what, text) => {
    expect(passwords.read(text)).toBeUndefined();
  });

  test("changed in any one character is none", () => {
    const password = passwords.password(grant);
    fc.assert(
      fc.property(fc.nat(password.length - 1), fc.constantFrom(..."ABCabc019-_."), (at, character) => {
        fc.pre(password[at] !== character);
        expect(passwords.read(password.slice(0, at) + character + password.slice(at + 1))).toBeUndefined();
      }),
    );
  });

  test("of one grant is never that of another", () => {
    const name = fc.stringMatching(/^[a-z0-9-]{1,12}$/);
    const grants = fc.record({ session: name, gateway: name, target: name });
    fc.assert(
      fc.property(grants, grants, (a, b) => {
        fc.pre(JSON.stringify(a) !== JSON.stringify(b));
        expect(passwords.password(a)).not.toBe(passwords.password(b));
      }),
    );
  });

  test("is not made for a name with a space, which would read as two", () => {
    expect(() => passwords.password({ ...grant, target: "a b" })).toThrow(TypeError);
  });
});
