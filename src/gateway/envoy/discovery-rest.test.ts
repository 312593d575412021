import { mkdtempSync, readdirSync, readFileSync } from "node:fs";
import { rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { WayleaveError } from "../../core/errors.ts";
import { discoveryWorld, proof, resourceName, ttlMs } from "./discovery.fake.ts";
import { writeDiscoveryFile } from "./discovery-file.ts";

const node = { id: "envoy-1", metadata: { wayleave: { gateway: "inner" } }, extensions: [{ name: "x" }] };
const body = { node, resource_names: [resourceName], type_url: "" };
const inner = new Map(Object.entries(proof("inner")));
const ended = (world: ReturnType<typeof discoveryWorld>, more: object = {}) =>
  JSON.stringify(world.discovery.rest(inner, { ...body, ...more }).body?.resources);

test("a poll is answered with the document Envoy reads", () => {
  const world = discoveryWorld();
  world.end("ses_a");
  const { status, body: document } = world.discovery.rest(inner, body);
  expect(status).toBe(200);
  expect(document).toMatchObject({
    version_info: "run.1",
    type_url: "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig",
    resources: [{ "@type": "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig", name: resourceName }],
  });
  expect(ended(world)).toContain("ses_a");
});

test("an end is in the very next answer, and nothing new is 304", () => {
  const world = discoveryWorld();
  expect(world.discovery.rest(inner, body).status).toBe(200);
  const has = { ...body, version_info: "run.1" };
  expect(world.discovery.rest(inner, has)).toEqual({ status: 304 });
  world.end("ses_a");
  expect(world.discovery.rest(inner, has).body?.version_info).toBe("run.2");
  expect(ended(world)).toContain("ses_a");
});

test("whoever polls at least every sixth of the time to live has half of it left at any moment", async () => {
  const world = discoveryWorld();
  let has = "";
  let validUntil = 0;
  for (let passed = 0; passed < 4 * ttlMs; passed += ttlMs / 6) {
    const document = world.discovery.rest(inner, { ...body, version_info: has }).body;
    if (document !== undefined) {
      has = document.version_info;
      validUntil = Date.parse(/"(20[^"]*Z)"/.exec(JSON.stringify(document))?.[1] ?? "");
    }
    expect(validUntil - world.time.now()).toBeGreaterThanOrEqual(ttlMs / 2);
    await world.time.pass(ttlMs / 6);
  }
});

test("polls hold no timer", () => {
  const world = discoveryWorld();
  world.discovery.rest(inner, body);
  world.end("ses_a");
  expect(world.time.waiting).toBe(0);
});

test("the version a poll has is its acknowledgement, in either spelling; what it refused is told of", () => {
  const world = discoveryWorld();
  world.discovery.rest(inner, body);
  world.discovery.rest(inner, { node, resourceNames: [resourceName], versionInfo: "run.1" });
  world.discovery.rest(inner, { ...body, version_info: "of another run" });
  world.discovery.rest(inner, { ...body, version_info: "run.1", error_detail: { message: "no" } });
  expect(world.seen).toEqual([
    "heard envoy-1 nothing",
    "heard envoy-1 run.1",
    "heard envoy-1 nothing",
    "heard envoy-1 run.1",
    "refused envoy-1 run.1 no",
  ]);
});

const huge = Array.from({ length: 17 }, (_, at) => `n${at}`);

test.each([
  { why: "without proof", metadata: {}, body, code: "gateway_unauthenticated" },
  {
    why: "with another's secret",
    metadata: { ...proof("other"), "x-wayleave-gateway": "inner" },
    body,
    code: "gateway_unauthenticated",
  },
  { why: "of another gateway's node", metadata: proof("other"), body, code: "gateway_unauthenticated" },
  { why: "that is no object", metadata: proof("inner"), body: "x", code: "invalid_request" },
  { why: "that is nothing", metadata: proof("inner"), body: undefined, code: "invalid_request" },
  {
    why: "with names that are no list",
    metadata: proof("inner"),
    body: { resource_names: "x" },
    code: "invalid_request",
  },
  { why: "with endless names", metadata: proof("inner"), body: { resource_names: huge }, code: "invalid_request" },
  { why: "for another type", metadata: proof("inner"), body: { type_url: "x" }, code: "invalid_request" },
])("refuses a poll $why", ({ metadata, body: sent, code }) => {
  const world = discoveryWorld();
  const poll = () => world.discovery.rest(new Map(Object.entries(metadata)), sent);
  expect(poll).toThrow(expect.objectContaining({ code }));
  expect(poll).toThrow(WayleaveError);
  expect(world.seen).toEqual([]);
});

const folder = mkdtempSync(join(tmpdir(), "wayleave-discovery-"));
afterAll(() => rm(folder, { recursive: true }));

test("a file holds the version and the resources, replaced in one move", async () => {
  const path = join(folder, "refusals.json");
  const world = discoveryWorld();
  const moves: string[][] = [];
  const files = {
    writeFile,
    rm,
    rename: (async (from: string, to: string) => {
      moves.push([from, to]);
      await rename(from, to);
    }) as typeof rename,
  };
  for (const session of ["ses_a", "ses_b"]) {
    world.end(session);
    await writeDiscoveryFile(path, world.discovery.rest(inner, body).body!, files);
  }
  const document = JSON.parse(readFileSync(path, "utf8"));
  expect(Object.keys(document)).toEqual(["version_info", "resources"]);
  expect(JSON.stringify(document)).toContain("ses_b");
  expect(moves.map(([, to]) => to)).toEqual([path, path]);
  expect(readdirSync(folder)).toEqual(["refusals.json"]);
});

test("a file that cannot be moved leaves the old one and nothing beside it", async () => {
  const path = join(folder, "refusals.json");
  const before = readFileSync(path, "utf8");
  const failing = (() => Promise.reject(new Error("no"))) as unknown as typeof rename;
  const { body: document } = discoveryWorld().discovery.rest(inner, body);
  await expect(writeDiscoveryFile(path, document!, { writeFile, rm, rename: failing })).rejects.toThrow("no");
  expect(readFileSync(path, "utf8")).toBe(before);
  expect(readdirSync(folder)).toEqual(["refusals.json"]);
});
