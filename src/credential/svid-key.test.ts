import { ECDH, generateKeyPairSync } from "node:crypto";
import fc from "fast-check";
import { expect, test } from "vitest";
import { judgePublicKey } from "./svid-key.ts";

const spki = (key: ReturnType<typeof generateKeyPairSync>["publicKey"]) => key.export({ format: "der", type: "spki" });
const ec = (namedCurve: string, paramEncoding: "named" | "explicit" = "named") =>
  spki(generateKeyPairSync("ec", { namedCurve, paramEncoding }).publicKey);
const rsa = (modulusLength: number, publicExponent = 65537) =>
  spki(generateKeyPairSync("rsa", { modulusLength, publicExponent }).publicKey);

/** The same key with its point in another form. */
function compressed(): Buffer {
  const whole = ec("P-256");
  const point = ECDH.convertKey(whole.subarray(-65), "prime256v1", undefined, undefined, "compressed") as Buffer;
  const head = Buffer.from("3039301306072a8648ce3d020106082a8648ce3d030107032200", "hex");
  return Buffer.concat([head, point]);
}

/** With the last coordinate changed: no point of the curve. */
function offCurve(): Buffer {
  const bytes = Buffer.from(ec("P-256"));
  bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1;
  return bytes;
}

test.each([
  ["P-256", ec("P-256")],
  ["P-384", ec("P-384")],
  ["RSA 2048", rsa(2048)],
])("%s is allowed", (_of, key) => {
  expect(judgePublicKey(key).ok).toBe(true);
});

test.each<[string, Uint8Array, RegExp]>([
  ["P-521", ec("P-521"), /curve other than/],
  ["secp256k1", ec("secp256k1"), /curve other than/],
  ["P-256 spelled out", ec("P-256", "explicit"), /curve other than/],
  ["a compressed point", compressed(), /compressed/],
  ["a point off the curve", offCurve(), /no public key/],
  ["RSA 1024", rsa(1024), /only 1024 bits/],
  ["RSA 2047", rsa(2047), /only 2047 bits/],
  ["RSA 4104", rsa(4104), /4096 is the most/],
  ["RSA with exponent 3", rsa(2048, 3), /exponent/],
  ["RSA-PSS", spki(generateKeyPairSync("rsa-pss", { modulusLength: 2048 }).publicKey), /type rsa-pss/],
  ["Ed25519", spki(generateKeyPairSync("ed25519").publicKey), /type ed25519/],
  ["X25519", spki(generateKeyPairSync("x25519").publicKey), /type x25519/],
  ["nothing", new Uint8Array(), /no public key/],
  ["bytes after the end", Buffer.concat([ec("P-256"), Buffer.from([0])]), /no public key/],
])("%s is refused", (_of, key, says) => {
  expect(judgePublicKey(key)).toEqual({ ok: false, problem: expect.stringMatching(says) });
});

test("whatever the bytes, there is a verdict", () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => judgePublicKey(bytes).ok === false));
});
