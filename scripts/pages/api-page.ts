import { operatorAccess } from "../../src/api/operator-access.ts";
import type { ApiRoute, Body } from "./api-route.ts";
import { apiRoutes, type Caller, callers } from "./api-routes.ts";
import { cell, generatedNote, table } from "./markdown.ts";

/** `docs/reference/api.md`. */
export function apiPage(): string {
  const sections = Object.entries(apiRoutes) as [Caller, readonly ApiRoute[]][];
  return `${generatedNote}# HTTP API

The broker's own routes, by who may use them; [openapi.json](../../schemas/openapi.json) has every member of every body. Errors are
problem documents (RFC 9457) with one of [these codes](errors.md); those of \`/oauth2/\` are RFC 6749 §5.2. What gateways ask at
\`/authz/<kind>\` has the form of each gateway's own protocol.

${sections.map(section).join("\n")}`;
}

const titles: Readonly<Record<Caller, string>> = {
  everybody: "For everybody",
  job: "For jobs",
  gateway: "For gateways",
  hook: "For the CI's webhooks",
  signIn: "Signing in",
  operator: "For operators",
};

function section([caller, routes]: [Caller, readonly ApiRoute[]]): string {
  const rows = routes.map(({ route, does, query, takes, gives }) => [
    `\`${route}\``,
    ...(caller === "operator" ? [operatorAccess[route]?.role ?? ""] : []),
    `${cell(does)}${query === undefined ? "" : ` Query: ${Object.keys(query[1]).join(", ")}.`}`,
    takes === undefined ? "" : words(takes),
    gives === undefined ? "204" : words(gives),
  ]);
  return `## ${titles[caller]}\n\n${callers[caller]}\n\n${table(["Route", ...(caller === "operator" ? ["Role"] : []), "Does", "Takes", "Gives"], rows)}`;
}

function words(body: Body): string {
  if ("json" in body) return body.json;
  if ("schema" in body) return "JSON";
  if ("media" in body) return body.media;
  return `form: ${Object.keys(body.form).join(", ")}`;
}
