import "reflect-metadata";
import {
  BasicConstraintsExtension,
  ChallengePasswordAttribute,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  Extension,
  KeyUsageFlags,
  KeyUsagesExtension,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
} from "@peculiar/x509";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type CsrParts, keyPair, makeCsr, spiffeName } from "./ca.fake.ts";
import { maxCsrBytes, readCsr } from "./svid-csr.ts";

const spiffeId = "spiffe://acme.example/role/release";
const role = { spiffeId };
const gateway = { spiffeId: "spiffe://acme.example/gateway/edge-1", dnsName: "edge-1" };

async function problemOf(parts: CsrParts, name: { spiffeId: string; dnsName?: string } = role) {
  const verdict = readCsr(await makeCsr(parts), name);
  return verdict.ok ? "ok" : verdict.problem;
}

describe("a request that is served", () => {
  test.each<{ of: string; parts: CsrParts }>([
    { of: "nothing but a P-256 key", parts: {} },
    { of: "a P-384 key", parts: { kind: "P-384", hash: "SHA-384" } },
    { of: "an RSA key of 2048 bits", parts: { kind: "RSA-2048" } },
    { of: "its own name", parts: { extensions: [spiffeName(spiffeId)] } },
    {
      of: "what every certificate has",
      parts: {
        extensions: [
          new BasicConstraintsExtension(false),
          new KeyUsagesExtension(KeyUsageFlags.digitalSignature | KeyUsageFlags.keyEncipherment, true),
          new ExtendedKeyUsageExtension([ExtendedKeyUsage.serverAuth, ExtendedKeyUsage.clientAuth]),
          new SubjectKeyIdentifierExtension("00ff"),
        ],
      },
    },
  ])("with $of", async ({ parts }) => {
    expect(await problemOf(parts)).toBe("ok");
  });

  test("gives the public key, and of a gateway may name its DNS name", async () => {
    const keys = await keyPair();
    const both = new SubjectAlternativeNameExtension([
      { type: "url", value: gateway.spiffeId },
      { type: "dns", value: "edge-1" },
    ]);
    const verdict = readCsr(await makeCsr({ keys, extensions: [both] }), gateway);
    const spki = await crypto.subtle.exportKey("spki", keys.publicKey);
    expect(verdict.ok && Buffer.from(verdict.publicKey).equals(Buffer.from(spki))).toBe(true);
  });
});

const names = (...items: ConstructorParameters<typeof SubjectAlternativeNameExtension>[0][]) =>
  new SubjectAlternativeNameExtension(items.flat() as never);

describe("a request that is refused", () => {
  test.each<{ of: string; parts: CsrParts; name?: typeof gateway; says: RegExp }>([
    { of: "a P-521 key", parts: { kind: "P-521" }, says: /curve other than/ },
    { of: "an Ed25519 key", parts: { kind: "Ed25519" }, says: /signed in a way/ },
    { of: "an RSA key of 1024 bits", parts: { kind: "RSA-1024" }, says: /only 1024 bits/ },
    { of: "a SHA-1 signature", parts: { kind: "P-256", hash: "SHA-1" }, says: /signed in a way/ },
    {
      of: "another trust domain",
      parts: { extensions: [spiffeName("spiffe://evil.example/role/release")] },
      says: /asks for the name "url:spiffe:\/\/evil/,
    },
    {
      of: "another role",
      parts: { extensions: [spiffeName("spiffe://acme.example/role/admin")] },
      says: /asks for the name/,
    },
    {
      of: "two SPIFFE IDs",
      parts: { extensions: [spiffeName(spiffeId, "spiffe://acme.example/role/admin")] },
      says: /role\/admin/,
    },
    { of: "its own name twice", parts: { extensions: [spiffeName(spiffeId, spiffeId)] }, says: /twice/ },
    {
      of: "a DNS name",
      parts: { extensions: [names({ type: "dns", value: "billing.internal" } as never)] },
      says: /dns:billing/,
    },
    { of: "an address", parts: { extensions: [names({ type: "ip", value: "10.0.0.1" } as never)] }, says: /ip:10/ },
    {
      of: "an e-mail address",
      parts: { extensions: [names({ type: "email", value: "a@b" } as never)] },
      says: /email:a@b/,
    },
    {
      of: "another gateway's DNS name",
      name: gateway,
      parts: { extensions: [names({ type: "dns", value: "edge-2" } as never)] },
      says: /dns:edge-2/,
    },
    { of: "a CA bit", parts: { extensions: [new BasicConstraintsExtension(true)] }, says: /asks to be a CA/ },
    { of: "a path length", parts: { extensions: [new BasicConstraintsExtension(true, 3)] }, says: /asks to be a CA/ },
    {
      of: "keyCertSign",
      parts: { extensions: [new KeyUsagesExtension(KeyUsageFlags.keyCertSign)] },
      says: /keyCertSign/,
    },
    {
      of: "cRLSign among others",
      parts: { extensions: [new KeyUsagesExtension(KeyUsageFlags.cRLSign | 1)] },
      says: /cRLSign/,
    },
    {
      of: "code signing",
      parts: { extensions: [new ExtendedKeyUsageExtension([ExtendedKeyUsage.codeSigning])] },
      says: /extended key usage/,
    },
    {
      of: "any use",
      parts: { extensions: [new ExtendedKeyUsageExtension(["2.5.29.37.0"])] },
      says: /extended key usage/,
    },
    {
      of: "an extension nobody knows",
      parts: { extensions: [new Extension("1.2.3.4", true, new Uint8Array([5, 0]))] },
      says: /1\.2\.3\.4/,
    },
    {
      of: "name constraints",
      parts: { extensions: [new Extension("2.5.29.30", false, new Uint8Array([0x30, 0]))] },
      says: /2\.5\.29\.30/,
    },
    {
      of: "an extension twice",
      parts: { extensions: [spiffeName(spiffeId), spiffeName(spiffeId)] },
      says: /2\.5\.29\.17 twice/,
    },
    {
      of: "a challenge password",
      parts: { attributes: [new ChallengePasswordAttribute("hunter2")] },
      says: /attribute that is not understood/,
    },
  ])("for $of", async ({ parts, name, says }) => {
    const problem = await problemOf(parts, name);
    expect(problem).toMatch(says);
    expect(problem).not.toContain("hunter2");
  });

  test("whose signature is another key's", async () => {
    const [mine, other] = [await keyPair(), await keyPair()];
    const stolen = await makeCsr({ keys: { publicKey: other.publicKey, privateKey: mine.privateKey } });
    expect(readCsr(stolen, role)).toMatchObject({ ok: false, problem: expect.stringMatching(/prove possession/) });
  });

  test("of any length cut off or made longer", async () => {
    const csr = await makeCsr({ extensions: [spiffeName(spiffeId)] });
    for (let length = 0; length < csr.length; length++) expect(readCsr(csr.subarray(0, length), role).ok).toBe(false);
    expect(readCsr(Buffer.concat([csr, new Uint8Array([0])]), role).ok).toBe(false);
    expect(readCsr(new Uint8Array(maxCsrBytes + 1), role)).toMatchObject({ problem: expect.stringMatching(/larger/) });
  });

  test("with any one bit turned", async () => {
    const csr = await makeCsr({ extensions: [spiffeName(spiffeId)] });
    const anyBit = fc.integer({ min: 0, max: csr.length * 8 - 1 });
    fc.assert(
      fc.property(anyBit, (bit) => {
        const turned = Uint8Array.from(csr);
        turned[bit >> 3] = (turned[bit >> 3] ?? 0) ^ (1 << (bit & 7));
        // ECDSA has for each signature (r, s) a second one, but no single bit leads from one to the other.
        expect(readCsr(turned, role).ok).toBe(false);
      }),
      { numRuns: 400 },
    );
  });

  test("that is anything else", () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 400 }), (bytes) => !readCsr(bytes, role).ok));
  });
});
