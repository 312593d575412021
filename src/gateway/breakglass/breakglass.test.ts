import { generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { BreakglassUse } from "../../core/breakglass-record.ts";
import type { Question } from "../decision-point.ts";
import {
  type BreakglassRequest,
  canonical,
  makeRequest,
  maxSeconds,
  parseSigned,
  type SignedRequest,
  signedBytes,
} from "./request.ts";
import { createBreakglassPoint } from "./responder.ts";
import { addSignature, approversOf, publicText } from "./signature.ts";
import { readToken, tokenOf, verifyToken } from "./token.ts";

const dana = generateKeyPairSync("ed25519");
const kim = generateKeyPairSync("ec", { namedCurve: "P-256" });
const stranger = generateKeyPairSync("ed25519");
const approvers = approversOf([
  { name: "dana", publicKey: publicText(dana.publicKey) },
  { name: "kim", publicKey: publicText(kim.publicKey) },
]);
const start = 1_795_300_000;
const parts = {
  id: "bg_0123456789abcdef",
  broker: "https://wayleave.acme.example",
  gateways: ["edge-1"],
  targets: ["billing", "ledger"],
  reason: "the broker lost its disk",
  starts_at: start,
  ends_at: start + 1800,
};
const request = makeRequest(parts);
const both = signed(request);
const use = { approvers, broker: parts.broker, gateway: "edge-1", target: "billing", now: (start + 60) * 1000 };

function signed(
  of: BreakglassRequest,
  by: readonly [string, KeyObject][] = [
    ["dana", dana.privateKey],
    ["kim", kim.privateKey],
  ],
) {
  return by.reduce<SignedRequest>((so, [name, key]) => addSignature(so, { by: name, key }), {
    request: of,
    signatures: [],
  });
}

/** A request that no command makes, signed all the same. */
function forged(more: object): SignedRequest {
  const of = { ...request, ...more } as BreakglassRequest;
  const signature = (key: KeyObject, digest: string | null) =>
    sign(digest, signedBytes(of), { key, dsaEncoding: "ieee-p1363" }).toString("base64url");
  return {
    request: of,
    signatures: [
      { by: "dana", signature: signature(dana.privateKey, null) },
      { by: "kim", signature: signature(kim.privateKey, "sha256") },
    ],
  };
}

const code = (expected: string) => expect.objectContaining({ code: expected });

test("what two listed people signed opens its targets at its gateway in its time, whatever the kind of key", () => {
  expect(verifyToken(tokenOf(both), use)).toMatchObject({
    approvers: ["dana", "kim"],
    request: { reason: parts.reason },
  });
});

const changed = (change: (of: BreakglassRequest) => object): SignedRequest => ({
  request: { ...request, ...change(request) } as BreakglassRequest,
  signatures: both.signatures,
});
const first = both.signatures[0] as SignedRequest["signatures"][0];

test.each<{ what: string; token: () => string; at?: Partial<typeof use>; refused: string }>([
  { what: "nobody's signature", token: () => tokenOf({ request, signatures: [] }), refused: "breakglass_unsigned" },
  { what: "one signature", token: () => tokenOf({ request, signatures: [first] }), refused: "breakglass_unsigned" },
  {
    what: "one person twice",
    token: () => tokenOf({ request, signatures: [first, first] }),
    refused: "breakglass_same_signer",
  },
  {
    what: "one person under two names",
    token: () => tokenOf({ request, signatures: [first, { by: "kim", signature: first.signature }] }),
    refused: "breakglass_signature_invalid",
  },
  {
    what: "somebody who is not listed",
    token: () =>
      tokenOf(
        signed(request, [
          ["dana", dana.privateKey],
          ["eve", stranger.privateKey],
        ]),
      ),
    refused: "breakglass_unlisted",
  },
  {
    what: "a stranger's key under a listed name",
    token: () =>
      tokenOf(
        signed(request, [
          ["dana", dana.privateKey],
          ["kim", stranger.privateKey],
        ]),
      ),
    refused: "breakglass_signature_invalid",
  },
  {
    what: "a third, unlisted signature beside two good ones",
    token: () => tokenOf(addSignature(both, { by: "zoe", key: stranger.privateKey })),
    refused: "breakglass_unlisted",
  },
  {
    what: "other targets",
    token: () => tokenOf(changed(() => ({ targets: ["billing", "vault"] }))),
    refused: "breakglass_signature_invalid",
  },
  {
    what: "another reason",
    token: () => tokenOf(changed(() => ({ reason: "a quite different one" }))),
    refused: "breakglass_signature_invalid",
  },
  {
    what: "a later end",
    token: () => tokenOf(changed((of) => ({ ends_at: of.ends_at + 1 }))),
    refused: "breakglass_signature_invalid",
  },
  {
    what: "another gateway",
    token: () => tokenOf(both),
    at: { gateway: "edge-2" },
    refused: "breakglass_wrong_gateway",
  },
  {
    what: "another broker",
    token: () => tokenOf(both),
    at: { broker: "https://staging.acme.example" },
    refused: "breakglass_wrong_gateway",
  },
  {
    what: "a target that was not signed",
    token: () => tokenOf(both),
    at: { target: "vault" },
    refused: "breakglass_wrong_target",
  },
  {
    what: "a moment before its start",
    token: () => tokenOf(both),
    at: { now: start * 1000 - 1 },
    refused: "breakglass_not_yet",
  },
  { what: "its end", token: () => tokenOf(both), at: { now: (start + 1800) * 1000 }, refused: "breakglass_expired" },
  {
    what: "a replay the next day",
    token: () => tokenOf(both),
    at: { now: (start + 90_000) * 1000 },
    refused: "breakglass_expired",
  },
  {
    what: "more than an hour, though signed",
    token: () => tokenOf(forged({ ends_at: start + maxSeconds + 1 })),
    refused: "breakglass_too_long",
  },
  {
    what: "an end before its start",
    token: () => tokenOf(forged({ ends_at: start })),
    refused: "breakglass_malformed",
  },
  { what: "no targets", token: () => tokenOf(forged({ targets: [] })), refused: "breakglass_malformed" },
  { what: "a star for a target", token: () => tokenOf(forged({ targets: ["*"] })), refused: "breakglass_malformed" },
  { what: "something more", token: () => tokenOf(forged({ admin: true })), refused: "breakglass_malformed" },
  { what: "another version", token: () => tokenOf(forged({ v: 2 })), refused: "breakglass_malformed" },
  { what: "a cut token", token: () => tokenOf(both).slice(0, -5), refused: "breakglass_malformed" },
  { what: "another prefix", token: () => `x${tokenOf(both)}`, refused: "breakglass_malformed" },
  { what: "padding", token: () => `${tokenOf(both)}=`, refused: "breakglass_malformed" },
])("$what: $refused", ({ token, at, refused }) => {
  expect(() => verifyToken(token(), { ...use, ...at })).toThrow(code(refused));
});

test("any change of a token is refused", () => {
  const token = tokenOf(both);
  fc.assert(
    fc.property(fc.nat(token.length - 1), fc.constantFrom(..."abcXYZ019_-"), (at, letter) => {
      fc.pre(token[at] !== letter);
      expect(() => verifyToken(token.slice(0, at) + letter + token.slice(at + 1), use)).toThrow();
    }),
  );
});

test.each([
  { what: "more than an hour", more: { ends_at: start + 3601 }, refused: "breakglass_too_long" },
  { what: "no reason", more: { reason: "" }, refused: "breakglass_malformed" },
  {
    what: "a reason that writes over the line",
    more: { reason: "harmless\r\u001b[2Kreally" },
    refused: "breakglass_malformed",
  },
  { what: "no gateway", more: { gateways: [] }, refused: "breakglass_malformed" },
])("no request is made of $what", ({ more, refused }) => {
  expect(() => makeRequest({ ...parts, ...more })).toThrow(code(refused));
});

test("the signed form is one, in whatever order it was written, and no other is parsed", () => {
  const mixed = makeRequest({ ...parts, targets: ["ledger", "billing", "ledger"] });
  expect(canonical(mixed)).toBe(canonical(request));
  const backwards = Object.fromEntries(Object.entries(request).reverse());
  expect(Buffer.from(signedBytes(parseSigned(JSON.stringify({ request: backwards, signatures: [] })).request))).toEqual(
    Buffer.from(signedBytes(request)),
  );
  expect(readToken(tokenOf(both))).toEqual(both);
});

test("a person signs once", () => {
  expect(() => addSignature(both, { by: "dana", key: dana.privateKey })).toThrow(code("breakglass_same_signer"));
});

test.each([
  {
    what: "one name twice",
    list: [
      ["dana", dana],
      ["dana", kim],
    ] as const,
  },
  {
    what: "one key under two names",
    list: [
      ["dana", dana],
      ["kim", dana],
    ] as const,
  },
  { what: "an RSA key", list: [["dana", generateKeyPairSync("rsa", { modulusLength: 2048 })]] as const },
])("a list with $what is refused", ({ list }) => {
  expect(() => approversOf(list.map(([name, { publicKey }]) => ({ name, publicKey: publicText(publicKey) })))).toThrow(
    code("config_invalid"),
  );
});

describe("the responder", () => {
  const question: Question = {
    gateway: "edge-1",
    target: "billing",
    operation: { kind: "http", method: "POST", host: "billing.internal", path: "/v1/releases", stream: false },
    authorization: `Bearer ${tokenOf(both)}`,
  };

  function responder(full = false) {
    const uses: BreakglassUse[] = [];
    const point = createBreakglassPoint({
      clock: { now: () => use.now, monotonic: () => 0 },
      approvers,
      broker: parts.broker,
      newUse: () => `use_${String(uses.length).padStart(16, "0")}`,
      async record(one) {
        if (full) throw new Error("no space left on device");
        uses.push(one);
      },
    });
    return { point, uses };
  }

  test("lets through only what it wrote down, without the token", async () => {
    const { point, uses } = responder();
    expect(await point.answer(question)).toMatchObject({
      outcome: "allow",
      breakglass: "break_glass",
      consumesAuthorization: true,
    });
    expect(uses).toMatchObject([
      { outcome: "allow", operation: "POST /v1/releases", approvers: ["dana", "kim"], request: { id: parts.id } },
    ]);
    expect(JSON.stringify(uses)).not.toContain(first.signature.slice(0, 20));
  });

  test.each<{ what: string; part: Partial<Question>; said: string }>([
    { what: "a target that was not signed", part: { target: "vault" }, said: "breakglass_wrong_target" },
    { what: "an ambiguous request", part: { ambiguity: "two" }, said: "breakglass_ambiguous" },
    {
      what: "an ambiguous path",
      part: {
        operation: { kind: "http", method: "GET", host: "billing.internal", path: "/a/%2e%2e/b", stream: false },
      },
      said: "breakglass_ambiguous",
    },
    {
      what: "a stream",
      part: { operation: { kind: "http", method: "GET", host: "billing.internal", path: "/a", stream: true } },
      said: "breakglass_ambiguous",
    },
    { what: "a broken token", part: { authorization: "Bearer wlbg_x" }, said: "breakglass_malformed" },
  ])("refuses $what, and writes that down", async ({ part, said }) => {
    const { point, uses } = responder();
    expect(await point.answer({ ...question, ...part })).toMatchObject({ outcome: "deny", breakglass: said });
    expect(uses).toMatchObject([{ outcome: "deny", reason: said }]);
  });

  test.each<{ what: string; authorization: string | undefined }>([
    { what: "no token", authorization: undefined },
    { what: "an access token", authorization: "Bearer eyJhbGciOiJFUzI1NiJ9.e30.x" },
    { what: "a password", authorization: "Basic wlbg_x" },
  ])("knows nothing of $what: an outage, and no record", async ({ authorization }) => {
    const { point, uses } = responder();
    const answer = await point.answer({ ...question, authorization });
    expect(answer).toMatchObject({ outcome: "deny", reason: "outage" });
    expect(uses).toEqual([]);
  });

  test("lets nothing through that it cannot write down", async () => {
    expect(await responder(true).point.answer(question)).toMatchObject({ outcome: "deny", reason: "outage" });
  });

  test("refuses what it cannot write down too, and a flood of refusals is written down in part", async () => {
    expect(await responder(true).point.answer({ ...question, target: "vault" })).toMatchObject({
      breakglass: "breakglass_wrong_target",
    });
    const { point, uses } = responder();
    for (let count = 0; count < 100; count++) await point.answer({ ...question, authorization: "Bearer wlbg_x" });
    expect(uses).toHaveLength(60);
  });
});
