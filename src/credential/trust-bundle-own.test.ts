import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { startedAt, testCa } from "./ca.fake.ts";
import { openOwnBundle } from "./trust-bundle-own.ts";

const first = new Uint8Array((await testCa({ name: "one" })).certificate.rawData);
const second = new Uint8Array((await testCa({ name: "two" })).certificate.rawData);

function setUp() {
  const dir = mkdtempSync(join(tmpdir(), "wayleave-own-bundle-"));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  const told: (() => void)[] = [];
  const h = {
    now: startedAt,
    roots: [first] as readonly Uint8Array[],
    faults: 0,
    file: join(dir, "spiffe", "bundle.json"),
    change: () => {
      for (const listener of told) listener();
    },
    open: () =>
      openOwnBundle({
        file: h.file,
        clock: { now: () => h.now },
        onFault: () => {
          h.faults++;
        },
        jwtKeys: { jwks: { keys: [] }, onChange: () => () => undefined },
        authority: {
          roots: () => h.roots,
          onChange: (listener) => {
            told.push(listener);
            return () => told.splice(told.indexOf(listener), 1);
          },
        },
      }),
  };
  return h;
}

const sequenceOf = (bundle: Awaited<ReturnType<typeof openOwnBundle>>) =>
  bundle.current().spiffe_sequence ?? Number.NaN;

test("the sequence grows with each change and with nothing else", async () => {
  const h = setUp();
  const bundle = await h.open();
  const at = sequenceOf(bundle);
  h.change();
  bundle.sweep();
  expect(sequenceOf(bundle)).toBe(at);
  h.roots = [first, second];
  h.change();
  h.roots = [second];
  h.change();
  expect(sequenceOf(bundle)).toBe(at + 2);
  expect(bundle.current().keys).toHaveLength(1);
});

test("it is the same after a restart, and greater where the keys changed meanwhile", async () => {
  const h = setUp();
  const at = sequenceOf(await h.open());
  h.now += 5000;
  expect(sequenceOf(await h.open())).toBe(at);
  h.roots = [second];
  expect(sequenceOf(await h.open())).toBeGreaterThan(at);
});

test.each([
  ["lost", (file: string) => rmSync(file)],
  ["damaged", (file: string) => writeFileSync(file, "{")],
])("it still grows where the file that remembers it is %s", async (_of, damage) => {
  const h = setUp();
  const bundle = await h.open();
  h.roots = [first, second];
  h.change();
  const at = sequenceOf(bundle);
  await bundle.close();
  damage(h.file);
  h.now += 1000;
  expect(sequenceOf(await h.open())).toBeGreaterThanOrEqual(at);
});

test("it grows over a clock that was set back", async () => {
  const h = setUp();
  const at = sequenceOf(await h.open());
  h.now -= 86_400_000;
  h.roots = [second];
  expect(sequenceOf(await h.open())).toBe(at + 1);
});

test("a change is served at once, whether or not its number can be written down", async () => {
  const h = setUp();
  const bundle = await h.open();
  rmSync(h.file);
  mkdirSync(`${h.file}/in the way`, { recursive: true });
  const faulted = Promise.withResolvers<void>();
  Object.defineProperty(h, "faults", { set: () => faulted.resolve(), get: () => 0 });
  h.roots = [];
  h.change();
  expect(bundle.current().keys).toEqual([]);
  await faulted.promise;
});

test("whoever listens hears of a change until it stops", async () => {
  const h = setUp();
  const bundle = await h.open();
  let heard = 0;
  const stop = bundle.onChange(() => heard++);
  h.roots = [second];
  h.change();
  stop();
  h.roots = [first];
  h.change();
  expect(heard).toBe(1);
});
