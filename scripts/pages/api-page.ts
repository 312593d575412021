import { type ApiRoute, apiRoutes, type Body, type Caller, callers } from "./api-routes.ts";
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

function section([caller, routes]: [Caller, readonly ApiRoute[]]): string {
  const rows = routes.map(({ route, does, query, takes, gives }) => [
    `\`${route}\``,
    `${cell(does)}${query === undefined ? "" : ` Query: ${Object.keys(query[1]).join(", ")}.`}`,
    takes === undefined ? "" : words(takes),
    gives === undefined ? "204" : words(gives),
  ]);
  return `## ${caller}\n\n${callers[caller]}\n\n${table(["Route", "Does", "Takes", "Gives"], rows)}`;
}

function words(body: Body): string {
  if ("json" in body) return body.json;
  if ("schema" in body) return "JSON";
  if ("media" in body) return body.media;
  return `form: ${Object.keys(body.form).join(", ")}`;
}
