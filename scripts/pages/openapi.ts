import { fileURLToPath } from "node:url";
import { createGenerator } from "ts-json-schema-generator";
import { z } from "zod";
import packageJson from "../../package.json" with { type: "json" };
import { operatorAccess } from "../../src/api/operator-access.ts";
import type { ApiRoute, Body } from "./api-route.ts";
import { apiRoutes, type Caller, callers } from "./api-routes.ts";

type Json = Readonly<Record<string, unknown>>;

/**
 * `schemas/openapi.json`: OpenAPI 3.1. Answers are the types that the routes' handlers return, bodies and queries the
 * schemas they are read by.
 */
export function openApi(): object {
  return {
    openapi: "3.1.1",
    info: {
      title: "Wayleave",
      version: packageJson.version,
      description:
        "The broker's own HTTP API. What gateways ask at `/authz/<kind>` has the form of each gateway's own protocol and is not told here.",
      license: { name: packageJson.license, identifier: packageJson.license },
    },
    servers: [{ url: "https://wayleave.example", description: "the broker's `issuer`" }],
    tags: Object.entries(callers).map(([name, description]) => ({ name, description })),
    paths: paths(),
    components: { schemas: schemas(), securitySchemes },
  };
}

const securitySchemes = {
  job: { type: "http", scheme: "bearer", description: callers.job },
  gateway: { type: "apiKey", in: "header", name: "X-Wayleave-Gateway-Secret", description: callers.gateway },
  hook: { type: "apiKey", in: "header", name: "X-Gitlab-Token", description: callers.hook },
} as const;

function paths(): Json {
  const found: Record<string, Record<string, Json>> = {};
  for (const [caller, routes] of Object.entries(apiRoutes) as [Caller, readonly ApiRoute[]][]) {
    for (const route of routes) {
      const [method = "", path = ""] = route.route.split(" ");
      const at = `${caller === "signIn" ? "/operator" : ""}${path.replaceAll(/:(\w+)(?=\/|$)/g, "{$1}")}`;
      found[at] = { ...found[at], [method.toLowerCase()]: operation(caller, route) };
    }
  }
  return found;
}

function operation(caller: Caller, { route, does, path = {}, query, takes, gives }: ApiRoute): Json {
  const inPath = Object.entries(path).map(([name, description]) => ({
    name,
    in: "path",
    required: true,
    description,
    schema: { type: "string" },
  }));
  const parameters = [...inPath, ...(query === undefined ? [] : queryParameters(query))];
  return {
    operationId: route
      .replace(/^(\w+) /, (_, method: string) => method.toLowerCase())
      .replaceAll(/[^A-Za-z0-9]+/g, "_"),
    tags: [caller],
    summary: does,
    ...(caller === "operator" ? { "x-role": operatorAccess[route]?.role } : {}),
    ...(caller in securitySchemes ? { security: [{ [caller]: [] }] } : {}),
    ...(parameters.length === 0 ? {} : { parameters }),
    ...(takes === undefined ? {} : { requestBody: { required: true, content: content(takes) } }),
    responses: {
      ...(gives === undefined
        ? { "204": { description: "done" } }
        : { "200": { description: "done", ...(isNothing(gives) ? {} : { content: content(gives) }) } }),
      default: { description: "refused, or failed", content: refusal(route) },
    },
  };
}

const isNothing = (body: Body) => "media" in body && body.media === "";

function queryParameters([schema, docs]: NonNullable<ApiRoute["query"]>): readonly Json[] {
  const { properties = {}, required = [] } = ofZod(schema) as {
    properties?: Record<string, Json>;
    required?: string[];
  };
  return Object.entries(properties).map(([name, inner]) => ({
    name,
    in: "query",
    ...(required.includes(name) ? { required: true } : {}),
    description: docs[name] ?? "",
    schema: inner,
  }));
}

function content(body: Body): Json {
  if ("json" in body) return { "application/json": { schema: reference(body.json) } };
  if ("schema" in body) return { "application/json": { schema: ofZod(body.schema) } };
  if ("media" in body) return { [body.media]: {} };
  const fields = Object.entries(body.form).map(
    ([name, description]) => [name, { type: "string", description }] as const,
  );
  const schema = { type: "object", properties: Object.fromEntries(fields) };
  return { "application/x-www-form-urlencoded": { schema } };
}

/** The token endpoint speaks OAuth (RFC 6749 §5.2), everything else problem documents (RFC 9457). */
function refusal(route: string): Json {
  return route.startsWith("POST /oauth2/")
    ? { "application/json": { schema: reference("OAuthErrorResponse") } }
    : { "application/problem+json": { schema: reference("ProblemResponse") } };
}

const reference = (name: string): Json => ({ $ref: `#/components/schemas/${name}` });

/** What a client sends, before it is read. */
function ofZod(schema: z.ZodType): Json {
  const { $schema: _, ...rest } = z.toJSONSchema(schema, { io: "input", unrepresentable: "any" });
  return rest;
}

/** The named types and all they are made of. Records have a schema of their own, which is stricter. */
function schemas(): Json {
  const bodies = Object.values(apiRoutes).flatMap((routes) => routes.flatMap(({ takes, gives }) => [takes, gives]));
  const named = bodies.flatMap((body) => (body !== undefined && "json" in body ? [body.json] : []));
  const generator = createGenerator({
    path: fileURLToPath(new URL("../../src/{api/*,gateway/gateway-summary,gateway/nats/status}.ts", import.meta.url)),
    tsconfig: fileURLToPath(new URL("../../tsconfig.json", import.meta.url)),
    skipTypeCheck: true,
    additionalProperties: true, // members may be added
  });
  const found: Record<string, unknown> = {};
  for (const name of new Set([...named, "OAuthErrorResponse", "ProblemResponse"])) {
    Object.assign(found, generator.createSchema(name).definitions);
  }
  found.AuditRecord = { $ref: "record.schema.json" };
  return referred(found);
}

/** Without those that only records need, and with references that OpenAPI follows. */
function referred(all: Readonly<Record<string, unknown>>): Json {
  const text = JSON.stringify(all).replaceAll("#/definitions/", "#/components/schemas/");
  const moved = JSON.parse(text) as Record<string, unknown>;
  const named = Object.values(apiRoutes).flatMap((routes) => routes.flatMap(namesOf));
  const used = new Set(["OAuthErrorResponse", "ProblemResponse", ...named]);
  // A set that grows while it is walked: what those need that were found before.
  for (const name of used) {
    for (const [, inner = ""] of JSON.stringify(moved[name]).matchAll(/#\/components\/schemas\/(\w+)/g))
      used.add(inner);
  }
  return Object.fromEntries([...used].sort().map((name) => [name, moved[name]]));
}

const namesOf = ({ takes, gives }: ApiRoute): readonly string[] =>
  [takes, gives].flatMap((body) => (body !== undefined && "json" in body ? [body.json] : []));
