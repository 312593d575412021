import { X509Certificate } from "node:crypto";
import { describe, expect, test } from "vitest";
import { countingBytes, dayMs, directSigner, EventRecorder, MemoryCaFile, manualClock } from "./ca.fake.ts";
import { type OwnCaOptions, openOwnCa } from "./ca-own.ts";

function setUp() {
  const clock = manualClock();
  const file = new MemoryCaFile();
  const recorder = new EventRecorder();
  const options: OwnCaOptions = {
    trustDomain: "acme.example",
    file,
    recorder,
    signer: directSigner(),
    clock: { now: () => clock.at },
    random: countingBytes,
  };
  return { clock, file, recorder, options, open: () => openOwnCa(options) };
}

const parse = (der: Uint8Array) => new X509Certificate(Buffer.from(der));

describe("the first start", () => {
  test("makes a root and an intermediate, each kept and recorded", async () => {
    const { open, recorder, file } = setUp();
    const ca = await open();
    const [root] = ca.roots().map(parse);
    const { chain, issuer } = ca.signing();
    const [intermediate] = chain.map(parse);
    expect(chain).toHaveLength(1);
    expect(intermediate?.verify(root!.publicKey)).toBe(true);
    expect(root).toMatchObject({ ca: true, subjectAltName: "URI:spiffe://acme.example" });
    expect(recorder.events).toMatchObject([
      { kind: "ca.created", data: { level: "root", serial: root?.serialNumber.toLowerCase() } },
      { kind: "ca.created", data: { level: "intermediate", key_id: issuer.keyId } },
    ]);
    expect(file.cas?.intermediates.every(({ recorded }) => recorded)).toBe(true);
  });

  test.each([
    ["a journal that takes nothing", { journal: true, disk: false }, "journal_unavailable"],
    ["a disk that takes nothing", { journal: false, disk: true }, "key_unavailable"],
  ])("fails with %s", async (_of, { journal, disk }, code) => {
    const { open, recorder, file } = setUp();
    recorder.fail = journal;
    file.full = disk;
    await expect(open()).rejects.toMatchObject({ code });
  });
});

describe("the next start", () => {
  test("finds the same CA and records nothing again", async () => {
    const { open, recorder } = setUp();
    const first = (await open()).signing();
    expect((await open()).signing().issuer).toEqual(first.issuer);
    expect(recorder.events).toHaveLength(2);
  });

  test("records what a crash left unrecorded, before it signs", async () => {
    const { open, recorder, file } = setUp();
    recorder.fail = true;
    await expect(open()).rejects.toThrow();
    const [kept] = file.cas?.roots ?? [];
    recorder.fail = false;
    const ca = await open();
    expect(Buffer.compare(ca.roots()[0]!, kept!.certificate)).toBe(0);
    expect(recorder.kinds()).toEqual(["ca.created", "ca.created"]);
  });

  test("refuses a CA of another trust domain", async () => {
    const { open, options } = setUp();
    await open();
    await expect(openOwnCa({ ...options, trustDomain: "other.example" })).rejects.toMatchObject({
      code: "config_invalid",
    });
  });
});

describe("time", () => {
  test("makes the next intermediate at half of the life of the last", async () => {
    const { open, clock, recorder } = setUp();
    const ca = await open();
    const first = ca.signing().issuer.keyId;
    clock.at += 14 * dayMs;
    await ca.sweep();
    expect(ca.signing().issuer.keyId).toBe(first);
    clock.at += dayMs;
    await ca.sweep();
    expect(ca.signing().issuer.keyId).not.toBe(first);
    expect(ca.roots()).toHaveLength(1);
    expect(recorder.events).toHaveLength(3);
  });

  test("never lets an intermediate outlive its root, and publishes a root before it signs", async () => {
    const { open, clock } = setUp();
    const ca = await open();
    let told = 0;
    ca.onChange(() => told++);
    const [root] = ca.roots().map(parse);
    clock.at += 3650 * dayMs - 729 * dayMs;
    await ca.sweep();
    expect([ca.roots().length, told]).toEqual([2, 1]);
    expect(parse(ca.signing().chain[0]!).verify(root!.publicKey)).toBe(true);
    clock.at += 20 * dayMs;
    await ca.sweep();
    const { chain, notAfter } = ca.signing();
    const next = ca.roots().map(parse).at(-1);
    expect(parse(chain[0]!).verify(next!.publicKey)).toBe(true);
    expect(notAfter).toBeLessThanOrEqual(next!.validToDate.getTime());
  });

  test("caps an intermediate at the end of a root that is almost over, and goes over to the next in time", async () => {
    const { open, clock } = setUp();
    const ca = await open();
    const end = parse(ca.roots()[0]!).validToDate.getTime();
    clock.at = end - 10 * dayMs;
    await ca.sweep();
    expect(ca.signing().notAfter).toBe(end);
    expect(parse(ca.signing().chain[0]!).validToDate.getTime()).toBe(end);
    for (; clock.at < end; clock.at += dayMs / 4) {
      await ca.sweep();
      expect(ca.signing().notAfter - clock.at).toBeGreaterThan(dayMs);
    }
  });

  test.each([
    ["after the last intermediate", 31 * dayMs],
    ["before the first one", -dayMs],
  ])("refuses to sign %s", async (_when, byMs) => {
    const { open, clock } = setUp();
    const ca = await open();
    clock.at += byMs;
    expect(() => ca.signing()).toThrow(expect.objectContaining({ code: "key_unavailable" }));
  });

  test("an expired root leaves the bundle", async () => {
    const { open, clock } = setUp();
    const ca = await open();
    clock.at += 3651 * dayMs;
    expect(ca.roots()).toEqual([]);
  });
});

describe("a root that was taken away", () => {
  test("stops no signing, is warned about, and goes on when it is back", async () => {
    const { open, clock, file } = setUp();
    const ca = await open();
    const first = ca.signing().issuer.keyId;
    file.offline = true;
    clock.at += 16 * dayMs;
    await ca.sweep();
    expect(ca.signing().issuer.keyId).toBe(first);
    expect(ca.warnings()[0]).toMatch(/ca-root\.jwe/);
    file.offline = false;
    await ca.sweep();
    expect(ca.signing().issuer.keyId).not.toBe(first);
    expect(ca.warnings()).toEqual([]);
  });

  test("stops the start once nothing is valid any more", async () => {
    const { open, clock, file } = setUp();
    await open();
    file.offline = true;
    clock.at += 40 * dayMs;
    await expect(open()).rejects.toMatchObject({ code: "key_unavailable" });
  });
});

test("a journal that fails later keeps the new intermediate from signing", async () => {
  const { open, clock, recorder } = setUp();
  const ca = await open();
  const first = ca.signing().issuer.keyId;
  recorder.fail = true;
  clock.at += 16 * dayMs;
  await ca.sweep();
  expect(ca.signing().issuer.keyId).toBe(first);
  recorder.fail = false;
  await ca.sweep();
  expect(ca.signing().issuer.keyId).not.toBe(first);
});
