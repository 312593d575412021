import { expect, onTestFinished, test } from "vitest";
import { countingBytes, startedAt } from "./ca.fake.ts";
import { newSerial } from "./ca-own.ts";
import { createCaSigner } from "./ca-signer.ts";

const validity = { serial: newSerial(countingBytes), notBefore: startedAt, notAfter: startedAt + 3_600_000 };

function open() {
  const signer = createCaSigner();
  onTestFinished(() => signer.close());
  return signer;
}

test("the thread answers each question, in any number at once", async () => {
  const signer = open();
  const made = await Promise.all(
    ["a.example", "b.example", "c.example"].map((trustDomain) => signer.ask("root", { trustDomain, validity })),
  );
  const facts = await Promise.all(made.map(({ certificate }) => signer.ask("read", { certificate })));
  expect(facts.map((fact) => "uris" in fact && fact.uris)).toEqual([
    ["spiffe://a.example"],
    ["spiffe://b.example"],
    ["spiffe://c.example"],
  ]);
});

test("a fault inside is `key_unavailable`, and the next question is answered", async () => {
  const signer = open();
  const issuer = { certificate: new Uint8Array(3), privateKey: new Uint8Array(3), keyId: "00" };
  const asks = { issuer, name: { spiffeId: "spiffe://a/b" }, validity, from: { publicKey: new Uint8Array(3) } };
  await expect(signer.ask("leaf", asks)).rejects.toMatchObject({ code: "key_unavailable" });
  expect(await signer.ask("read", { certificate: new Uint8Array(3) })).toHaveProperty("problem");
});

test("what cannot even be sent is an error, and nothing waits for it", async () => {
  const signer = open();
  const asks = { trustDomain: (() => "") as unknown as string, validity };
  await expect(signer.ask("root", asks)).rejects.toMatchObject({ code: "key_unavailable" });
  expect(await signer.ask("read", { certificate: new Uint8Array(3) })).toHaveProperty("problem");
});

test("too many questions at once are refused, not kept", async () => {
  const signer = open();
  const certificate = new Uint8Array(3);
  const answers = await Promise.allSettled(Array.from({ length: 1100 }, () => signer.ask("read", { certificate })));
  const refused = answers.filter(({ status }) => status === "rejected");
  expect(refused).toHaveLength(100);
  expect(refused[0]).toMatchObject({ reason: { code: "key_unavailable" } });
});

test("once closed it signs nothing, and whoever waited is told", async () => {
  const signer = createCaSigner();
  const waiting = signer.ask("root", { trustDomain: "a.example", validity });
  const refused = expect(waiting).rejects.toMatchObject({ code: "key_unavailable" });
  await signer.close();
  await refused;
  await expect(signer.ask("root", { trustDomain: "a.example", validity })).rejects.toMatchObject({
    code: "key_unavailable",
  });
});
