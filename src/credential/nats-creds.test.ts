import { randomBytes } from "node:crypto";
import { createUser, fromSeed } from "@nats-io/nkeys";
import { describe, expect, test } from "vitest";
import { createNatsCreds } from "./nats-creds.ts";
import { encodeNatsJwt } from "./nats-jwt.ts";
import { createNkey } from "./nats-nkey.ts";

const now = Date.parse("2026-11-24T09:30:00Z");
const creds = createNatsCreds(Buffer.alloc(32, 7), randomBytes);
const grant = { session: "ses_0123456789abcdef", gateway: "jobs-1", target: "events" };
const nonce = "Zm9vYmFy_nonce";

/** As the public clients take a file apart. */
function parts(text: string): { readonly jwt: string; readonly seed: string } {
  const found = [...text.matchAll(/\s*(?:(?:[-]{3,}[^\n]*[-]{3,}\n)(.+)(?:\n\s*[-]{3,}[^\n]*[-]{3,}\n))/gi)];
  return { jwt: found[0]?.[1] ?? "", seed: found[1]?.[1] ?? "" };
}

function made() {
  const { text, jwt } = creds.create(grant, now);
  const file = parts(text);
  const sign = (bytes: string, seed = file.seed) =>
    Buffer.from(fromSeed(new TextEncoder().encode(seed)).sign(new TextEncoder().encode(bytes))).toString("base64url");
  return { text, jwt, file, sign };
}

describe("a credentials file", () => {
  test("is read by the clients' own pattern, and its key's signature gives the grant back", () => {
    const { jwt, file, sign } = made();
    expect(file.jwt).toBe(jwt);
    expect(creds.read(file.jwt, { nonce, signature: sign(nonce) })).toEqual(grant);
  });

  test("is good after a restart, and no two have the same key", () => {
    const { file, sign } = made();
    const again = createNatsCreds(Buffer.alloc(32, 7), randomBytes);
    expect(again.read(file.jwt, { nonce, signature: sign(nonce) })).toEqual(grant);
    expect(made().file.seed).not.toBe(file.seed);
  });

  test("takes a signature in either spelling of base64, as clients differ", () => {
    const { file, sign } = made();
    const plain = Buffer.from(sign(nonce), "base64url").toString("base64");
    expect(creds.read(file.jwt, { nonce, signature: plain })).toEqual(grant);
  });
});

describe("a credentials file is refused", () => {
  const { file, sign } = made();
  const other = new TextDecoder().decode(createUser().getSeed());
  const issuer = createNkey("account", randomBytes);
  const user = createNkey("user", randomBytes);
  const claims = {
    sub: user.publicKey,
    aud: "wayleave-nats-gateway",
    name: "ses_0123456789abcdef jobs-1 events",
    nats: { type: "user", subs: -1, data: -1, payload: -1 },
  } as const;
  const signature = (bytes: string) => user.sign(Buffer.from(bytes)).toString("base64url");

  test.each([
    ["with the signature of another nonce", file.jwt, nonce, sign("another nonce")],
    ["with another key's signature", file.jwt, nonce, sign(nonce, other)],
    ["without a signature", file.jwt, nonce, ""],
    ["with a signature of nothing", file.jwt, "", sign("")],
    ["with half a signature", file.jwt, nonce, sign(nonce).slice(0, 40)],
    ["as half a token", file.jwt.slice(0, 100), nonce, sign(nonce)],
    ["as no token", "rubbish", nonce, sign(nonce)],
    ["without end", `${file.jwt}${"A".repeat(5000)}`, nonce, sign(nonce)],
    ["of another issuer", encodeNatsJwt(claims, issuer, now), nonce, signature(nonce)],
  ])("%s", (_why, jwt, of, sent) => {
    expect(creds.read(jwt, { nonce: of, signature: sent })).toBeUndefined();
  });

  test("of another operator's key", () => {
    const theirs = createNatsCreds(Buffer.alloc(32, 9), randomBytes);
    expect(theirs.read(file.jwt, { nonce, signature: sign(nonce) })).toBeUndefined();
  });
});
