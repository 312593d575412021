import { readdirSync, readFileSync } from "node:fs";
import Fastify, { type FastifyPluginAsync } from "fastify";
import { expect, test } from "vitest";
import { z } from "zod";
import type { ApiRoute } from "./api-route.ts";
import { apiRoutes } from "./api-routes.ts";

const api = new URL("../../src/api/", import.meta.url);
const routes: readonly ApiRoute[] = Object.values(apiRoutes).flat();

/** Whatever routes may ask of what they are given while they are set up. */
const anything: object = new Proxy(() => anything, {
  get: (_, key) => (key === Symbol.toPrimitive ? () => "" : anything),
});

/** Every route that some `…Routes` of `src/api` would serve. */
async function served(): Promise<readonly string[]> {
  const found: string[] = [];
  for (const file of readdirSync(api).filter((name) => /^[a-z-]+\.ts$/.test(name))) {
    const exported = Object.entries((await import(new URL(file, api).href)) as Record<string, unknown>);
    for (const [name, make] of exported) {
      if (!name.endsWith("Routes") || typeof make !== "function") continue;
      const app = Fastify();
      app.addHook("onRoute", ({ method, url }) => {
        for (const each of [method].flat()) if (each !== "HEAD") found.push(`${each} ${url}`);
      });
      await app.register(
        (make as (deps: unknown) => FastifyPluginAsync)(name === "clientRoutes" ? "#!/bin/sh" : anything),
      );
      await app.close();
    }
  }
  return found;
}

test("every route is told, and every route that is told is served", async () => {
  const written = routes.map(({ route }) => route.replaceAll("discovery::", "discovery:"));
  const real = (await served()).map((route) => route.replaceAll("discovery::", "discovery:"));
  expect(real.length).toBeGreaterThan(50);
  expect(written.toSorted()).toEqual(real.toSorted());
});

test.each(routes)("$route says what stands for each word of its path, and what each parameter means", (told) => {
  const { route, path = {}, query: [schema, docs] = [z.object({}), {}] } = told;
  const inPath = [...route.matchAll(/\/:(\w+)/g)].map(([, name]) => name);
  expect(Object.keys(path).toSorted()).toEqual(inPath.toSorted());
  expect(Object.keys(docs).toSorted()).toEqual(Object.keys(schema.shape).toSorted());
});

test("the document's references lead somewhere, and its operations are told apart", () => {
  const text = readFileSync(new URL("../../schemas/openapi.json", import.meta.url), "utf8");
  const { components, paths } = JSON.parse(text) as {
    components: { schemas: Record<string, unknown> };
    paths: Record<string, Record<string, { operationId: string }>>;
  };
  const names = [...text.matchAll(/#\/components\/schemas\/(\w+)/g)].map(([, name = ""]) => name);
  expect(names.filter((name) => components.schemas[name] === undefined)).toEqual([]);
  const ids = Object.values(paths).flatMap((methods) => Object.values(methods).map(({ operationId }) => operationId));
  expect(new Set(ids).size).toBe(ids.length);
  expect(ids).toHaveLength(routes.length);
});
