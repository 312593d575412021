import { createHash } from "node:crypto";
import { createServer, type IncomingMessage } from "node:http";
import { type CryptoKey, exportJWK, generateKeyPair, SignJWT } from "jose";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

interface Verifier {
  assertionVerifier(options: {
    issuer: string;
    trustDomain: string;
    target: string;
  }): (
    request: Pick<IncomingMessage, "headersDistinct" | "method" | "url">,
  ) => Promise<Readonly<Record<string, unknown>>>;
}

const example = new URL("../docs/examples/verify-assertion.mjs", import.meta.url).href;
const { assertionVerifier } = (await import(/* @vite-ignore */ example)) as Verifier;
const { privateKey, publicKey } = await generateKeyPair("ES256");
const stranger = await generateKeyPair("ES256");
const jwks = JSON.stringify({ keys: [{ ...(await exportJWK(publicKey)), kid: "k1", alg: "ES256" }] });
const server = createServer((request, response) => {
  response.writeHead(request.url === "/assertion/jwks" ? 200 : 404, { "Content-Type": "application/json" }).end(jwks);
});
let issuer = "";

beforeAll(async () => {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  if (address === null || typeof address === "string") throw new TypeError("no port");
  issuer = `http://127.0.0.1:${address.port}`;
});
afterAll(() => new Promise((resolve) => server.close(resolve)));

const hash = (path: string) => createHash("sha256").update(path).digest("base64url");

interface Change {
  readonly typ?: string;
  readonly key?: CryptoKey;
  readonly claims?: Readonly<Record<string, unknown>>;
}

/** An assertion for GET billing /v1/invoices, with some of it changed. */
function mint({ typ = "txntoken+jwt", key = privateKey, claims = {} }: Change): Promise<string> {
  const now = Math.floor(Date.now() / 1000);
  return new SignJWT({
    iss: issuer,
    aud: "acme.example",
    iat: now,
    exp: now + 30,
    txn: "txn-1",
    sub: "spiffe://acme.example/ci/gitlab/1042",
    scope: "read-billing",
    req_wl: "gateway:edge-1",
    sid: "ses_8f2k8f2k8f2k8f2k",
    tctx: { target: "billing", method: "GET", path_sha256: hash("/v1/invoices") },
    ...claims,
  })
    .setProtectedHeader({ alg: "ES256", typ, kid: "k1" })
    .sign(key);
}

function verify(tokens: readonly string[], method = "GET", url = "/v1/invoices?page=2") {
  const verifyAssertion = assertionVerifier({ issuer, trustDomain: "acme.example", target: "billing" });
  return verifyAssertion({ method, url, headersDistinct: tokens.length > 0 ? { "txn-token": [...tokens] } : {} });
}

test("the example accepts the assertion of this very request, whatever its query", async () => {
  expect(await verify([await mint({})])).toEqual({
    subject: "spiffe://acme.example/ci/gitlab/1042",
    session: "ses_8f2k8f2k8f2k8f2k",
    role: "read-billing",
    transaction: "txn-1",
  });
});

describe("the example refuses", () => {
  const past = Math.floor(Date.now() / 1000) - 600;
  test.each<{ what: string } & Change>([
    { what: "an access token", typ: "at+jwt" },
    { what: "another key's signature", key: stranger.privateKey },
    { what: "another issuer", claims: { iss: "https://evil.example" } },
    { what: "another trust domain", claims: { aud: "evil.example" } },
    { what: "an expired assertion", claims: { iat: past, exp: past + 30 } },
    { what: "one that lives too long", claims: { iat: past } },
    { what: "one without end", claims: { exp: undefined } },
    { what: "one without a context", claims: { tctx: undefined } },
    {
      what: "another target's",
      claims: { tctx: { target: "ledger", method: "GET", path_sha256: hash("/v1/invoices") } },
    },
    {
      what: "another method's",
      claims: { tctx: { target: "billing", method: "POST", path_sha256: hash("/v1/invoices") } },
    },
    {
      what: "another path's",
      claims: { tctx: { target: "billing", method: "GET", path_sha256: hash("/v1/releases") } },
    },
  ])("$what", async (change) => {
    await expect(verify([await mint(change)])).rejects.toThrow();
  });

  test("no assertion, two assertions and rubbish", async () => {
    const token = await mint({});
    await expect(verify([])).rejects.toThrow("not exactly one");
    await expect(verify([token, token])).rejects.toThrow("not exactly one");
    await expect(verify(["a.b.c"])).rejects.toThrow();
    await expect(verify([token], "DELETE")).rejects.toThrow("another method");
    await expect(verify([token], "GET", "/v1/other")).rejects.toThrow("another path_sha256");
  });
});
