import { randomBytes } from "node:crypto";
import { inspect } from "node:util";
import { createPair, fromPublic, fromSeed, Prefix } from "@nats-io/nkeys";
import { Codec } from "@nats-io/nkeys/lib/codec.js";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { createNkey, openNkey, verifyNkey } from "./nats-nkey.ts";
import { decodeNkeyText, encodeNkeyText, isPublicNkey, type NkeyKind } from "./nats-nkey-text.ts";

const kinds: readonly NkeyKind[] = ["operator", "account", "user", "server", "curve"];
const prefix: Readonly<Record<NkeyKind, number>> = {
  operator: Prefix.Operator,
  account: Prefix.Account,
  user: Prefix.User,
  server: Prefix.Server,
  curve: Prefix.Curve,
};
const letter: Readonly<Record<NkeyKind, string>> = { operator: "O", account: "A", user: "U", server: "N", curve: "X" };
const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
const bytes32 = fc.uint8Array({ minLength: 32, maxLength: 32 });

describe.each(kinds)("%s", (kind) => {
  test("the reference implementation reads our pairs, and we read its", () => {
    for (let round = 0; round < 5; round++) {
      const ours = createNkey(kind, randomBytes);
      expect(ours.publicKey).toMatch(new RegExp(`^${letter[kind]}[A-Z2-7]{55}$`));
      expect(ours.seed).toMatch(new RegExp(`^S${letter[kind]}[A-Z2-7]{56}$`));
      const same = fromSeed(new TextEncoder().encode(ours.seed));
      expect(same.getPublicKey()).toBe(ours.publicKey);

      const theirs = createPair(prefix[kind]);
      const opened = openNkey(text(theirs.getSeed()));
      expect([opened.kind, opened.publicKey, opened.seed]).toEqual([
        kind,
        theirs.getPublicKey(),
        text(theirs.getSeed()),
      ]);
    }
  });

  test("a key pair shows its public half only", () => {
    const pair = createNkey(kind, randomBytes);
    const shown = inspect(pair, { depth: 9, showHidden: true }) + JSON.stringify(pair);
    expect(shown).toContain(pair.publicKey);
    expect(shown).not.toContain(pair.seed);
  });
});

test("signatures are byte for byte the reference implementation's, and each verifies the other's", () => {
  fc.assert(
    fc.property(bytes32, fc.uint8Array({ maxLength: 300 }), (secret, message) => {
      const ours = createNkey("account", () => secret);
      const theirs = fromSeed(new TextEncoder().encode(ours.seed));
      const signature = ours.sign(message);
      expect(signature).toEqual(Buffer.from(theirs.sign(message)));
      expect(fromPublic(ours.publicKey).verify(message, signature)).toBe(true);
      expect(verifyNkey(ours.publicKey, message, theirs.sign(message))).toBe(true);
    }),
    { numRuns: 15 },
  );
});

test("any change of message, signature or key is no signature", () => {
  const pair = createNkey("user", randomBytes);
  const other = createNkey("user", randomBytes);
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 1 }), fc.nat(), fc.integer({ min: 1, max: 255 }), (message, at, flip) => {
      const signature = pair.sign(message);
      const bent = (bytes: Uint8Array) =>
        bytes.map((byte, index) => (index === at % bytes.length ? byte ^ flip : byte));
      expect(verifyNkey(pair.publicKey, message, signature)).toBe(true);
      expect(verifyNkey(pair.publicKey, bent(message), signature)).toBe(false);
      expect(verifyNkey(pair.publicKey, message, bent(signature))).toBe(false);
      expect(verifyNkey(other.publicKey, message, signature)).toBe(false);
    }),
  );
});

test.each([
  { what: "another length", signature: Buffer.alloc(63) },
  { what: "nothing", signature: Buffer.alloc(0) },
  { what: "zeros", signature: Buffer.alloc(64) },
])("a signature of $what is none", ({ signature }) => {
  expect(verifyNkey(createNkey("account", randomBytes).publicKey, Buffer.from("x"), signature)).toBe(false);
});

test("a curve key neither signs nor verifies", () => {
  const pair = createNkey("curve", randomBytes);
  expect(() => pair.sign(Buffer.from("x"))).toThrow(TypeError);
  expect(verifyNkey(pair.publicKey, Buffer.from("x"), Buffer.alloc(64))).toBe(false);
});

test("a text changed in any one place is no key", () => {
  const alphabet = [..."ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"];
  fc.assert(
    fc.property(
      fc.constantFrom(...kinds),
      fc.constantFrom<"public" | "seed">("public", "seed"),
      bytes32,
      fc.nat(),
      fc.constantFrom(...alphabet, "a", "1", "=", " ", "é"),
      (kind, form, key, at, put) => {
        const right = encodeNkeyText(kind, form, key);
        expect(decodeNkeyText(right, form)).toEqual({ kind, bytes: Buffer.from(key) });
        const place = at % right.length;
        fc.pre(right[place] !== put);
        expect(() => decodeNkeyText(right.slice(0, place) + put + right.slice(place + 1), form)).toThrow(TypeError);
      },
    ),
    { numRuns: 2_000 },
  );
});

const seed = createNkey("account", randomBytes).seed;
const { publicKey } = createNkey("account", randomBytes);
test.each([
  { what: "nothing", given: "" },
  { what: "a public key", given: publicKey },
  { what: "lower case", given: seed.toLowerCase() },
  { what: "white space around it", given: ` ${seed}` },
  { what: "a line end", given: `${seed}\n` },
  { what: "padding", given: `${seed}======` },
  { what: "a seed cut short", given: seed.slice(0, -1) },
  { what: "a kind that is not used", given: text(createPair(Prefix.Cluster).getSeed()) },
  { what: "an encoded private key", given: text(fromSeed(new TextEncoder().encode(seed)).getPrivateKey()) },
])("openNkey refuses $what without quoting it", ({ given }) => {
  expect(() => openNkey(given)).toThrow(TypeError);
  if (given !== "") expect(() => openNkey(given)).not.toThrow(given.trim());
});

test("a seed has one spelling: bits that say nothing are 0", () => {
  const alphabet = [..."ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"];
  const same = alphabet.filter((last) => {
    try {
      return openNkey(seed.slice(0, -1) + last).seed !== "";
    } catch {
      return false; // refused, as all but one must be
    }
  });
  expect(same).toEqual([seed.at(-1)]);
});

test.each([
  { what: "another first letter", first: Prefix.Private, second: 0 },
  { what: "stray bits in its prefix", first: Prefix.Seed, second: 1 },
])("what only looks like a seed, its check sum right, is none: $what", ({ first, second }) => {
  const like = text(Codec.encode(first, new Uint8Array([second, ...randomBytes(32)])));
  expect(like).toHaveLength(58);
  expect(() => openNkey(like)).toThrow(TypeError);
});

test("isPublicNkey tells the kinds apart", () => {
  expect(isPublicNkey(publicKey, "account")).toBe(true);
  for (const wrong of [undefined, 7, "", seed, publicKey.toLowerCase()])
    expect(isPublicNkey(wrong, "account")).toBe(false);
  for (const kind of kinds) expect(isPublicNkey(publicKey, kind)).toBe(kind === "account");
});

test("a pair is made of exactly 32 bytes", () => {
  expect(() => createNkey("user", () => randomBytes(31))).toThrow(TypeError);
});
