import "reflect-metadata";
import { ExtendedKeyUsage, ExtendedKeyUsageExtension, KeyUsageFlags } from "@peculiar/x509";
import { describe, expect, test } from "vitest";
import { type CaParts, dayMs, directSigner, startedAt, type TestCa, testCa } from "./ca.fake.ts";
import { openOperatorCa } from "./ca-operator.ts";

const signer = directSigner();
const open = (cert: string, key: string, now = startedAt) =>
  openOperatorCa({ trustDomain: "acme.example", cert, key, signer, clock: { now: () => now } });

async function chainOf(root: Partial<CaParts> = {}, intermediate: Partial<CaParts> = {}) {
  const top = await testCa({ name: "Acme root", ...root });
  const below = await testCa({ name: "Acme SVIDs", ...intermediate }, top);
  return { top, below };
}

const pems = (...cas: readonly TestCa[]) => cas.map(({ pem }) => pem).join("");

describe("an intermediate that signs", () => {
  test.each<{ of: string; root?: Partial<CaParts>; intermediate?: Partial<CaParts> }>([
    { of: "P-256 under P-256" },
    { of: "P-384 under RSA", root: { kind: "RSA-2048" }, intermediate: { kind: "P-384" } },
    { of: "RSA that names the trust domain", intermediate: { kind: "RSA-2048", uri: "spiffe://acme.example" } },
    { of: "path lengths that just suffice", root: { pathLength: 1 }, intermediate: { pathLength: 0 } },
  ])("$of", async ({ root, intermediate }) => {
    const { top, below } = await chainOf(root, intermediate);
    const ca = await open(pems(below, top), below.keyPem);
    expect(ca.signing().chain.map((der) => Buffer.compare(der, Buffer.from(below.certificate.rawData)))).toEqual([0]);
    expect(Buffer.compare(ca.roots()[0]!, Buffer.from(top.certificate.rawData))).toBe(0);
  });

  test("through one between it and the root", async () => {
    const { top, below } = await chainOf();
    const lowest = await testCa({ name: "Acme lowest" }, below);
    const ca = await open(pems(lowest, below, top), lowest.keyPem);
    expect(ca.signing().chain).toHaveLength(2);
  });

  test("signs until the first of its chain expires, and warns before", async () => {
    const until = startedAt + 30 * dayMs;
    const { top, below } = await chainOf({ until });
    let now = startedAt;
    const ca = await openOperatorCa({
      trustDomain: "acme.example",
      cert: pems(below, top),
      key: below.keyPem,
      signer,
      clock: { now: () => now },
    });
    expect([ca.signing().notAfter, ca.warnings()]).toEqual([until, []]);
    now = until - dayMs;
    expect(ca.warnings()).toHaveLength(1);
    now = until;
    expect(() => ca.signing()).toThrow(expect.objectContaining({ code: "key_unavailable" }));
  });
});

describe("a chain that is refused", () => {
  const codeSigning = new ExtendedKeyUsageExtension([ExtendedKeyUsage.codeSigning]);
  test.each<{ of: string; root?: Partial<CaParts>; intermediate?: Partial<CaParts>; says: RegExp }>([
    { of: "no CA bit", intermediate: { ca: false }, says: /certificate 1 .* is no CA/ },
    { of: "a root without CA bit", root: { ca: false }, says: /certificate 2 .* is no CA/ },
    { of: "no keyCertSign", intermediate: { usages: KeyUsageFlags.cRLSign }, says: /lacks keyCertSign/ },
    {
      of: "a path length that is used up",
      root: { pathLength: 0 },
      says: /allows 0 CAs below itself, and the chain has 1/,
    },
    { of: "another trust domain", intermediate: { uri: "spiffe://evil.example" }, says: /of spiffe:\/\/evil\.example/ },
    { of: "a trust domain in other letters", intermediate: { uri: "SPIFFE://acme.example" }, says: /trust_domain is/ },
    { of: "a SPIFFE ID with a path", intermediate: { uri: "spiffe://acme.example/ca" }, says: /trust_domain is/ },
    { of: "an expired intermediate", intermediate: { until: startedAt }, says: /certificate 1 .* expired at/ },
    { of: "an expired root", root: { until: startedAt - 1000 }, says: /certificate 2 .* expired at/ },
    { of: "one that is not valid yet", intermediate: { from: startedAt + 1000 }, says: /not valid before/ },
    { of: "a weak key", intermediate: { kind: "RSA-1024" }, says: /only 1024 bits/ },
    { of: "another curve", root: { kind: "P-521" }, says: /curve other than/ },
    { of: "a SHA-1 signature", intermediate: { hash: "SHA-1" }, says: /signed with SHA-1/ },
    { of: "another use", intermediate: { more: [codeSigning] }, says: /other uses/ },
  ])("for $of", async ({ root, intermediate, says }) => {
    const { top, below } = await chainOf(root, intermediate);
    await expect(open(pems(below, top), below.keyPem)).rejects.toMatchObject({
      code: "config_invalid",
      message: expect.stringMatching(says),
    });
  });

  test("with one problem of form", async () => {
    const { top, below } = await chainOf();
    const stranger = await testCa({ name: "Acme root" });
    const cases: readonly (readonly [string, string, RegExp])[] = [
      ["", below.keyPem, /at least two/],
      [below.pem, below.keyPem, /at least two/],
      [pems(top, below), top.keyPem, /certificate 1 .* was not signed by the one after it/],
      [pems(below, stranger), below.keyPem, /was not signed by the one after it/],
      [pems(top, top), top.keyPem, /self-signed and not the last/],
      [pems(await testCa({ name: "low" }, below), below), below.keyPem, /not a self-signed root/],
      [pems(below, top), top.keyPem, /is not the intermediate's/],
      [pems(below, top), "nonsense", /holds no unencrypted private key/],
      [pems(below, top).replace("MII", "AAA"), below.keyPem, /is damaged/],
      [pems(...Array.from({ length: 9 }, () => top)), top.keyPem, /8 is the most/],
    ];
    for (const [cert, key, says] of cases) {
      await expect(open(cert, key)).rejects.toMatchObject({
        code: "config_invalid",
        message: expect.stringMatching(says),
      });
    }
  });

  test("and no message holds the key", async () => {
    const { top, below } = await chainOf();
    const error = await open(pems(below, top), `${top.keyPem}`).catch(String);
    expect(String(error)).not.toContain(top.keyPem.slice(40, 80));
  });
});
