import { X509Certificate } from "node:crypto";
import { beforeEach, describe, expect, test } from "vitest";
import { WayleaveError } from "../../core/errors.ts";
import { fakeAuthority } from "./svid-authority.fake.ts";
import { type FakeSvidBroker, fakeSvidBroker, outage, sessionEnded } from "./svid-broker.fake.ts";
import { type SvidSource, svidSource } from "./svid-source.ts";

let now = 0;
let pauses: { readonly at: number; readonly done: () => void }[] = [];
let broker: FakeSvidBroker;
let source: SvidSource;
let told = 0;

beforeEach(async () => {
  now = Date.now();
  pauses = [];
  told = 0;
  broker = await fakeSvidBroker("acme.example", () => now);
  source = svidSource({ now: () => now, pause }, broker);
});

function pause(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const entry = { at: now + ms, done: resolve };
    pauses.push(entry);
    signal?.addEventListener("abort", () => {
      pauses = pauses.filter((each) => each !== entry);
      resolve();
    });
  });
}

/** Everything that is due by then happens, in order. */
async function passTo(time: number): Promise<void> {
  for (;;) {
    const next = pauses.toSorted((a, b) => a.at - b.at)[0];
    if (next === undefined || next.at > time) break;
    now = Math.max(now, next.at);
    pauses = pauses.filter((each) => each !== next);
    next.done();
    await idle();
  }
  now = time;
}

/** Until what time set off has come to its end: identities and SVIDs each wait for their next time. */
async function idle(): Promise<void> {
  while (pauses.length < 2) await new Promise((resolve) => setTimeout(resolve, 1));
}

async function followed(): Promise<() => void> {
  await source.x509.current();
  const stop = source.x509.follow(() => (told += 1));
  await idle();
  return stop;
}

function refusal(): string | undefined {
  try {
    source.x509.latest();
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
}

const serials = () => source.x509.latest()?.svids.map(({ certificates }) => serial(certificates[0]));
const serial = (der: Uint8Array | undefined) => new X509Certificate(der ?? "").serialNumber;

describe("the session's SVIDs", () => {
  test("are renewed at half life with new keys, and told to who follows", async () => {
    broker.ttlMs = 120_000;
    const stop = await followed();
    const [first, key] = [serials(), source.x509.latest()?.svids[0]?.privateKey];
    await passTo(now + 59_000);
    expect(serials()).toEqual(first);
    await passTo(now + 2000);
    expect(serials()).not.toEqual(first);
    expect(source.x509.latest()?.svids[0]?.privateKey).not.toEqual(key);
    expect(told).toBe(1);
    stop();
    expect(pauses).toEqual([]);
  });

  test("are made anew when a bundle changes", async () => {
    const stop = await followed();
    broker.federated.set("mesh.example", await fakeAuthority("mesh.example"));
    await passTo(now + 31_000);
    await expect
      .poll(() => [...(source.x509.latest()?.bundles.keys() ?? [])])
      .toEqual(["acme.example", "mesh.example"]);
    stop();
  });

  test("go when the role goes", async () => {
    const stop = await followed();
    broker.roles = ["read-billing"];
    await passTo(now + 31_000);
    await expect.poll(() => source.x509.latest()?.svids.map(({ role }) => role)).toEqual(["read-billing"]);
    broker.roles = [];
    await passTo(now + 31_000);
    await expect.poll(refusal).toContain("no SPIFFE ID");
    stop();
  });

  test("go when the broker says that the session ended, not later", async () => {
    const stop = await followed();
    broker.failure = sessionEnded();
    await passTo(now + 31_000);
    await expect.poll(refusal).toContain("ended");
    stop();
  });

  test.each([
    { what: "the broker is away", failure: outage() },
    { what: "the session is suspended", failure: new WayleaveError("session_suspended", "Session is suspended.") },
  ])("stay while $what, until they expire", async ({ failure }) => {
    broker.ttlMs = 60_000;
    const stop = await followed();
    const first = serials();
    broker.failure = failure;
    await passTo(now + 59_000);
    expect(serials()).toEqual(first);
    await passTo(now + 2000);
    await expect.poll(refusal).toBe(failure.message);
    broker.failure = undefined;
    await passTo(now + 4000);
    await expect.poll(serials).not.toEqual(first);
    stop();
  });

  test("one refused role takes nothing from the others; one lost answer is an outage of all", async () => {
    const x509 = broker.x509.bind(broker);
    const fail = (failure: Error) => {
      broker.x509 = (csr, role) => (role === "release" ? Promise.reject(failure) : x509(csr, role));
    };
    fail(new WayleaveError("spiffe_id_refused", "This role has none."));
    expect((await source.x509.current()).svids.map(({ role }) => role)).toEqual(["read-billing"]);
    const other = svidSource({ now: () => now, pause }, broker);
    fail(outage());
    await expect(other.x509.current()).rejects.toMatchObject({ code: "broker_unreachable" });
  });
});
