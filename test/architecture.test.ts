import { globSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { importsOf, layerOf, violations } from "./import-rules.ts";
import { mayImport } from "./import-table.ts";

const root = fileURLToPath(new URL("..", import.meta.url));
const files = globSync("{src,demo,bench,scripts,test}/**/*.ts", { cwd: root })
  .map((path) => ({ path: path.replaceAll("\\", "/"), text: readFileSync(`${root}/${path}`, "utf8") }))
  .toSorted((a, b) => (a.path < b.path ? -1 : 1));

describe("this repository", () => {
  test("was found, with its imports", () => {
    expect(files.length).toBeGreaterThan(20);
    expect(files.flatMap(importsOf).length).toBeGreaterThan(files.length);
  });

  test("keeps the import table and the rules beside it", () => {
    expect(violations(files).map(({ rule, file, detail }) => `${rule}: ${file}: ${detail}`)).toEqual([]);
  });
});

describe("the import table", () => {
  test("names only layers it has a row for", () => {
    const named = Object.values(mayImport).flat();
    expect(named.filter((layer) => layer !== "*" && !(layer in mayImport))).toEqual([]);
  });

  test("lets nothing below server.ts know cli, server.ts or what stands outside src", () => {
    const outside = ["cli", "server", "main", "demo", "bench", "scripts", "test"];
    const below = Object.entries(mayImport).filter(([layer]) => !outside.includes(layer));
    expect(below.flatMap(([, to]) => to).filter((layer) => outside.includes(layer) || layer === "*")).toEqual([]);
  });
});

/** A small tree: path to source text. One harmless file of src is always in it. */
function rulesBrokenBy(tree: Readonly<Record<string, string>>): string[] {
  const all = { "src/core/harmless.ts": "export const nothing = 0;\n", ...tree };
  const broken = violations(Object.entries(all).map(([path, text]) => ({ path, text })));
  return [...new Set(broken.map(({ rule }) => rule))];
}

describe("the checker refuses", () => {
  test.each<{ what: string; rule: string; tree: Readonly<Record<string, string>> }>([
    { what: "core importing policy", rule: "layer", tree: { "src/core/a.ts": 'import { b } from "../policy/b.ts";' } },
    { what: "core importing a package", rule: "layer", tree: { "src/core/a.ts": 'import { z } from "zod";' } },
    {
      what: "a forbidden import of types only",
      rule: "layer",
      tree: { "src/policy/a.ts": 'import type { B } from "../store/b.ts";' },
    },
    {
      what: "a forbidden import over several lines",
      rule: "layer",
      tree: { "src/session/a.ts": 'import {\n  b,\n  c,\n} from "../policy/b.ts";' },
    },
    {
      what: "a forbidden re-export",
      rule: "layer",
      tree: { "src/audit/a.ts": 'export { b } from "../store/b.ts";\nb();' },
    },
    { what: "a forbidden import for effect", rule: "layer", tree: { "src/audit/a.ts": 'import "../store/b.ts";' } },
    {
      what: "a forbidden import in a type",
      rule: "layer",
      tree: { "src/audit/a.ts": 'export type B = import("../store/b.ts").B;' },
    },
    {
      what: "a forbidden worker",
      rule: "layer",
      tree: { "src/audit/a.ts": 'new Worker(new URL("../store/b.ts", import.meta.url));' },
    },
    {
      what: "one gateway importing another",
      rule: "layer",
      tree: { "src/gateway/nginx/a.ts": 'import { b } from "../envoy/b.ts";' },
    },
    {
      what: "one CI importing another",
      rule: "layer",
      tree: { "src/ci/gitlab/a.ts": 'import { b } from "../oidc/b.ts";' },
    },
    { what: "the API importing the CLI", rule: "layer", tree: { "src/api/a.ts": 'import { b } from "../cli/b.ts";' } },
    {
      what: "a command importing the API",
      rule: "layer",
      tree: { "src/cli/exec.ts": 'import { b } from "../api/b.ts";' },
    },
    {
      what: "a command other than serve and demo importing the server, even lazily",
      rule: "layer",
      tree: { "src/cli/exec.ts": 'await import("../server.ts");' },
    },
    {
      what: "serve importing the server up front",
      rule: "layer",
      tree: { "src/cli/serve.ts": 'import { start } from "../server.ts";' },
    },
    {
      what: "a command importing a gateway that listens, behind a file that does not",
      rule: "layer",
      tree: {
        "src/cli/render.ts": 'import { render } from "../gateway/nginx/render.ts";',
        "src/gateway/nginx/render.ts": 'import { listen } from "./listen.ts";',
        "src/gateway/nginx/listen.ts": 'import { createServer } from "node:http";',
      },
    },
    {
      what: "configuration importing more of a gateway than its schema",
      rule: "layer",
      tree: { "src/config/a.ts": 'import { b } from "../gateway/nginx/render.ts";' },
    },
    {
      what: "main.ts importing the server",
      rule: "layer",
      tree: { "src/main.ts": 'import { start } from "./server.ts";' },
    },
    {
      what: "the server importing the demo",
      rule: "layer",
      tree: { "src/server.ts": 'import { b } from "../demo/b.ts";' },
    },
    {
      what: "demo imported by the demo command up front",
      rule: "layer",
      tree: { "src/cli/demo.ts": 'import { b } from "../../demo/b.ts";' },
    },
    {
      what: "a folder of src that has no row",
      rule: "unknown_layer",
      tree: { "src/plumbing/a.ts": "export const a = 0;" },
    },
    { what: "a file of src that has no row", rule: "unknown_layer", tree: { "src/start.ts": "export const a = 0;" } },
    {
      what: "production importing a fake",
      rule: "test_code",
      tree: { "src/session/a.ts": 'import { b } from "./store.fake.ts";' },
    },
    {
      what: "a test importing a test",
      rule: "test_code",
      tree: { "src/core/a.test.ts": 'import { b } from "./b.test.ts";' },
    },
    {
      what: "an import() of something computed",
      rule: "unreadable_import",
      tree: { "src/cli/a.ts": "await import(name);" },
    },
    { what: "an index.ts", rule: "barrel", tree: { "src/policy/index.ts": "export const a = 0;" } },
    { what: "export *", rule: "barrel", tree: { "src/policy/a.ts": 'export * from "./b.ts";\nexport const a = 0;' } },
    {
      what: "a file of nothing but re-exports",
      rule: "barrel",
      tree: {
        "src/policy/a.ts": '// All of it.\nexport { b } from "./b.ts";\nexport type {\n  C,\n} from "./c.ts";\n',
      },
    },
    {
      what: "two files that import each other, even for types",
      rule: "cycle",
      tree: {
        "src/policy/a.ts": 'import { b } from "./b.ts";',
        "src/policy/b.ts": 'import type { A } from "./a.ts";',
      },
    },
    {
      what: "a cycle of three files",
      rule: "cycle",
      tree: {
        "src/policy/a.ts": 'import { b } from "./b.ts";',
        "src/policy/b.ts": 'import { c } from "./c.ts";',
        "src/policy/c.ts": 'import { a } from "./a.ts";',
      },
    },
    { what: "a file that imports itself", rule: "cycle", tree: { "src/policy/a.ts": 'import { a } from "./a.ts";' } },
    {
      what: "policy importing node:crypto",
      rule: "pure_layer",
      tree: { "src/policy/a.ts": 'import { hash } from "node:crypto";' },
    },
    {
      what: "policy importing undici",
      rule: "pure_layer",
      tree: { "src/policy/a.ts": 'import { fetch } from "undici";' },
    },
    { what: "policy reading the clock", rule: "pure_layer", tree: { "src/policy/a.ts": "const now = Date.now();" } },
    { what: "policy making a date of now", rule: "pure_layer", tree: { "src/policy/a.ts": "const now = new Date();" } },
    { what: "core throwing dice", rule: "pure_layer", tree: { "src/core/a.ts": "const n = Math.random();" } },
    { what: "the graph reading the environment", rule: "pure_layer", tree: { "src/graph/a.ts": "process.env.HOME;" } },
    { what: "policy fetching", rule: "pure_layer", tree: { "src/policy/a.ts": "await fetch(url);" } },
    { what: "a drawer", rule: "drawer", tree: { "src/policy/utils.ts": "export const a = 0;" } },
    {
      what: "a drawer by its last word",
      rule: "drawer",
      tree: { "src/policy/glob-helpers.ts": "export const a = 0;" },
    },
    { what: "a folder that is a drawer", rule: "drawer", tree: { "src/policy/shared/a.ts": "export const a = 0;" } },
    { what: "a file of 401 lines", rule: "too_long", tree: { "src/policy/a.ts": "a;\n".repeat(401) } },
  ])("$what", ({ rule, tree }) => {
    expect(rulesBrokenBy(tree)).toEqual([rule]);
  });

  test("to pass when it saw nothing", () => {
    expect(violations([]).map(({ rule }) => rule)).toEqual(["nothing_seen"]);
    expect(violations([{ path: "test/a.ts", text: "" }]).map(({ rule }) => rule)).toEqual(["nothing_seen"]);
  });
});

describe("the checker accepts", () => {
  test.each<{ what: string; tree: Readonly<Record<string, string>> }>([
    { what: "policy importing core", tree: { "src/policy/a.ts": 'import type { B } from "../core/b.ts";' } },
    {
      what: "a CI importing what all CIs share",
      tree: { "src/ci/gitlab/a.ts": 'import type { B } from "../provider.ts";' },
    },
    { what: "the list of CIs importing each", tree: { "src/ci/list.ts": 'import { b } from "./gitlab/b.ts";' } },
    {
      what: "configuration importing a gateway's schema",
      tree: { "src/config/a.ts": 'import { b } from "../gateway/nginx/config.ts";' },
    },
    {
      what: "a command importing a renderer, which may hash",
      tree: {
        "src/cli/render.ts": 'import { render } from "../gateway/nginx/render.ts";',
        "src/gateway/nginx/render.ts": 'import { hash } from "node:crypto";\nimport type { Server } from "node:http";',
      },
    },
    { what: "serve importing the server lazily", tree: { "src/cli/serve.ts": 'await import("../server.ts");' } },
    {
      what: "the demo command importing the demo lazily",
      tree: { "src/cli/demo.ts": 'await import("../../demo/b.ts");' },
    },
    {
      what: "a test importing a fake of another layer",
      tree: { "src/api/a.test.ts": 'import { b } from "../cli/b.fake.ts";' },
    },
    {
      what: "the server importing every layer",
      tree: { "src/server.ts": 'import { b } from "./gateway/nginx/b.ts";' },
    },
    {
      what: "prose that looks like code",
      tree: {
        "src/core/a.ts":
          '/**\n * Not Date.now(), see import("../store/b.ts").\n */\nexport const a = 0; // not process.env',
      },
    },
    { what: "dates made of an argument", tree: { "src/core/a.ts": "export const at = (ms: number) => new Date(ms);" } },
    {
      what: "a worker that knows the types of its owner",
      tree: {
        "src/store/a.ts": 'new Worker(new URL("./worker.ts", import.meta.url));',
        "src/store/worker.ts": 'import type { A } from "./a.ts";',
      },
    },
    { what: "a file of 400 lines", tree: { "src/policy/a.ts": "a;\n".repeat(400) } },
  ])("$what", ({ tree }) => {
    expect(rulesBrokenBy(tree)).toEqual([]);
  });
});

test.each([
  { path: "src/core/session.ts", layer: "core" },
  { path: "src/ci/provider.ts", layer: "ci" },
  { path: "src/ci/gitlab/hooks/job.ts", layer: "ci/gitlab" },
  { path: "src/policy/check/selector.ts", layer: "policy" },
  { path: "src/server.ts", layer: "server" },
  { path: "demo/gitlab/api.ts", layer: "demo" },
])("$path belongs to $layer", ({ path, layer }) => {
  expect(layerOf(path)).toBe(layer);
});
