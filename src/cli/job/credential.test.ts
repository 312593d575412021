import { createHash } from "node:crypto";
import { EmbeddedJWK, jwtVerify } from "jose";
import { describe, expect, test } from "vitest";
import type { TokenResponse } from "../../api/contract.ts";
import { fakeIo } from "./command-io.fake.ts";
import { bearerCredential, boundCredential, keepBoundAccess } from "./credential.ts";
import { createProofKey } from "./proof-key.ts";

const io = { ...fakeIo(), now: () => Date.parse("2026-11-24T14:00:00Z") };
const access = { current: async () => "the-token" };
const route = { gateway: new URL("https://edge.example:8443"), host: "ledger.internal" };

test("a bearer token is sent as it is", async () => {
  const credential = bearerCredential(access);
  expect(await credential({ method: "GET", path: "/v1/x" })).toEqual([["authorization", "Bearer the-token"]]);
});

describe("a bound token", () => {
  const credential = boundCredential(io, access, createProofKey(), route);

  test("goes with a proof for this request as the gateway knows it: its host, no query, the token's hash", async () => {
    const [authorization, proof] = await credential({ method: "PUT", path: "/v1/entries?token=secret" });
    expect(authorization).toEqual(["authorization", "DPoP the-token"]);
    expect(proof?.[0]).toBe("dpop");
    const options = { currentDate: new Date(io.now()) };
    const { payload, protectedHeader } = await jwtVerify(proof?.[1] ?? "", EmbeddedJWK, options);
    expect(protectedHeader).toMatchObject({ typ: "dpop+jwt", alg: "ES256" });
    expect(protectedHeader.jwk).not.toHaveProperty("d");
    expect(payload).toEqual({
      jti: expect.stringMatching(/^[\w-]{22}$/),
      htm: "PUT",
      htu: "https://ledger.internal/v1/entries",
      iat: io.now() / 1000,
      ath: createHash("sha256").update("the-token").digest("base64url"),
    });
  });

  test("has another proof for the same request again", async () => {
    const both = await Promise.all([1, 2].map(() => credential({ method: "GET", path: "/" })));
    expect(new Set(both.map((headers) => headers[1]?.[1])).size).toBe(2);
  });

  test("is not sent where there is none any more", async () => {
    const none = boundCredential(io, { current: () => Promise.reject(new Error("over")) }, createProofKey(), route);
    await expect(none({ method: "GET", path: "/" })).rejects.toThrow("over");
  });
});

describe("access to what wants proofs", () => {
  const token = (more: Partial<TokenResponse>) => ({ expires_in: 300, access_token: "t", ...more }) as TokenResponse;
  const target = { name: "ledger", kind: "http", hosts: ["ledger.internal"] };

  test("is asked for where the session has such targets, for those alone", async () => {
    const asked: (readonly string[])[] = [];
    const renewFor = async (targets: readonly string[]) => {
      asked.push(targets);
      return token({ access_token: "bound" });
    };
    const kept = await keepBoundAccess(io, { token: token({ proof_targets: [target] }), renewFor }, () => undefined);
    expect([await kept?.current(), asked]).toEqual(["bound", [["ledger"]]]);
    kept?.stop();
  });

  test("is none where it has not", async () => {
    const renewFor = () => expect.unreachable("nothing is asked");
    expect(await keepBoundAccess(io, { token: token({}), renewFor }, () => undefined)).toBeUndefined();
  });
});
