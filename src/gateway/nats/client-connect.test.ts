import { expect, test } from "vitest";
import { parseConnect } from "./client-connect.ts";

const parse = (fields: unknown) => parseConnect(JSON.stringify(fields), "nonce");

test.each([
  ["a token", { auth_token: "t" }, { secret: "t" }],
  ["a password", { pass: "p" }, { secret: "p" }],
  ["a password with the target's name", { user: "events", pass: "p" }, { secret: "p", user: "events" }],
  ["a credentials file", { jwt: "j", sig: "s", nkey: "U" }, { secret: "j", proof: { nonce: "nonce", signature: "s" } }],
  ["a token, other fields being null or empty", { auth_token: "t", pass: null, jwt: "" }, { secret: "t" }],
])("a client may present %s", (_, fields, presented) => {
  expect(parse(fields).presented).toEqual(presented);
});

test("a client is taken by its word about itself only as a label, in one short line", () => {
  const { client } = parse({ auth_token: "t", name: `a\r\nPUB b 0 ${"x".repeat(500)}`, lang: "js", version: "3" });
  expect(client).toMatchObject({ lang: "js", version: "3" });
  expect(client.name).toMatch(/^a {2}PUB b 0 x{117}$/);
});

test("what a client leaves out is as NATS has it", () => {
  expect(parse({ auth_token: "t" })).toMatchObject({ verbose: false, echo: true, headers: false, noResponders: false });
  expect(parse({ auth_token: "t", headers: true, no_responders: true, echo: false, verbose: true })).toMatchObject({
    verbose: true,
    echo: false,
    headers: true,
    noResponders: true,
  });
  expect(parse({ auth_token: "t", no_responders: true }).noResponders).toBe(false);
});

test.each([
  ["nothing", {}, "no credential was sent"],
  ["an empty token", { auth_token: "" }, "no credential was sent"],
  ["a user alone", { user: "t" }, "no credential was sent"],
  ["two credentials", { auth_token: "t", pass: "p" }, "two credentials"],
  ["a JWT and a token", { jwt: "j", sig: "s", auth_token: "t" }, "two credentials"],
  ["a credentials file without a signature", { jwt: "j" }, "did not sign"],
  ["a token that is no text", { auth_token: 7 }, "auth_token of CONNECT must be a string"],
  ["a flag that is text", { auth_token: "t", echo: "false" }, "echo of CONNECT must be a boolean"],
  ["a number that is text", { auth_token: "t", protocol: "1" }, "protocol of CONNECT must be a number"],
  ["a list", [], "no JSON object"],
  ["text", "auth_token", "no JSON object"],
  ["null", null, "no JSON object"],
])("%s is refused", (_, fields, detail) => {
  expect(() => parse(fields)).toThrow(
    expect.objectContaining({ code: "credential_invalid", message: expect.stringContaining(detail) }),
  );
});

test("what is no JSON is refused without repeating it", () => {
  expect(() => parseConnect('{"auth_token":"secret"', "n")).toThrow(/^CONNECT is no JSON object$/);
});

test("what is inherited is not said: a field named as an object's own method means nothing", () => {
  expect(() => parseConnect('{"__proto__":{"auth_token":"t"}}', "n")).toThrow("no credential");
});
