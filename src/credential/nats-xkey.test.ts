import { randomBytes } from "node:crypto";
import { createCurve, fromCurveSeed } from "@nats-io/nkeys";
import fc from "fast-check";
import { expect, test } from "vitest";
import { createNkey } from "./nats-nkey.ts";
import { encodeNkeyText } from "./nats-nkey-text.ts";
import { openXkey, sealXkey } from "./nats-xkey.ts";

const own = createNkey("curve", randomBytes);
const peer = createNkey("curve", randomBytes);
const stranger = createNkey("curve", randomBytes);

test("the reference implementation opens what we seal, and we open what it seals", () => {
  const theirs = createCurve();
  const ours = fromCurveSeed(new TextEncoder().encode(own.seed));
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 1, maxLength: 2_000 }), (plain) => {
      const sealed = sealXkey(own, theirs.getPublicKey(), plain);
      expect(Buffer.from(theirs.open(sealed, own.publicKey) ?? [])).toEqual(Buffer.from(plain));
      expect(openXkey(own, theirs.getPublicKey(), theirs.seal(plain, own.publicKey))).toEqual(Buffer.from(plain));
      expect(Buffer.from(ours.open(sealXkey(peer, own.publicKey, plain), peer.publicKey) ?? [])).toEqual(
        Buffer.from(plain),
      );
    }),
    { numRuns: 20 },
  );
});

test("nothing seals the same twice", () => {
  const seen = new Set(
    Array.from({ length: 100 }, () => sealXkey(own, peer.publicKey, Buffer.from("x")).toString("hex")),
  );
  expect(seen.size).toBe(100);
});

const sealed = sealXkey(peer, own.publicKey, Buffer.from("a request"));

test("anything changed, cut off or added is refused", () => {
  fc.assert(
    fc.property(fc.nat({ max: sealed.length - 1 }), fc.integer({ min: 1, max: 255 }), (at, flip) => {
      expect(openXkey(own, peer.publicKey, sealed).toString()).toBe("a request");
      const bent = sealed.map((byte, index) => (index === at ? byte ^ flip : byte));
      expect(() => openXkey(own, peer.publicKey, bent)).toThrow(TypeError);
      expect(() => openXkey(own, peer.publicKey, sealed.subarray(0, at))).toThrow(TypeError);
      expect(() => openXkey(own, peer.publicKey, Buffer.concat([sealed, Buffer.from([flip])]))).toThrow(TypeError);
    }),
  );
});

test.each([
  { what: "sealed by another", open: () => openXkey(own, stranger.publicKey, sealed) },
  { what: "sealed to another", open: () => openXkey(stranger, peer.publicKey, sealed) },
  {
    what: "opened with a key that signs",
    open: () => openXkey(createNkey("user", randomBytes), peer.publicKey, sealed),
  },
  { what: "from a peer that signs", open: () => openXkey(own, createNkey("user", randomBytes).publicKey, sealed) },
  { what: "from no key", open: () => openXkey(own, "", sealed) },
  { what: "from a seed", open: () => openXkey(own, peer.seed, sealed) },
  {
    what: "to a peer that signs",
    open: () => sealXkey(own, createNkey("user", randomBytes).publicKey, Buffer.from("x")),
  },
])("$what: refused", ({ open }) => {
  expect(open).toThrow(TypeError);
});

/** Points whose secret with anybody is all zeros, as everybody knows. */
test.each([
  ["0000000000000000000000000000000000000000000000000000000000000000"],
  ["0100000000000000000000000000000000000000000000000000000000000000"],
  ["e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"],
  ["5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"],
  ["ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"],
])("a peer of low order is refused: %s", (hex) => {
  const weak = encodeNkeyText("curve", "public", Buffer.from(hex, "hex"));
  expect(() => sealXkey(own, weak, Buffer.from("x"))).toThrow("low order");
});

test("more peers than are remembered still work", () => {
  for (let round = 0; round < 300; round++) {
    const one = createNkey("curve", randomBytes);
    expect(openXkey(one, own.publicKey, sealXkey(own, one.publicKey, Buffer.from("x"))).toString()).toBe("x");
  }
  expect(openXkey(own, peer.publicKey, sealed).toString()).toBe("a request");
});
