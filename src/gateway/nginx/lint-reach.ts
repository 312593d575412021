import type { Diagnostic, Place } from "../../policy/model.ts";
import {
  effective,
  firstArgument,
  isLocation,
  isRendered,
  own,
  passOf,
  type Scope,
  scopesOf,
  serverOf,
  targetOf,
  upstreamOf,
} from "./config-scope.ts";

/** Ways to a fronted upstream that do not ask. */
export function reachRules(scopes: readonly Scope[], hosts: ReadonlySet<string>, file: string): Diagnostic[] {
  const passing = scopes.filter((scope) => isLocation(scope) && !isRendered(scope) && passOf(scope) !== undefined);
  const asking = passing.filter((scope) => targetOf(scope) !== undefined);
  if (!scopes.some((scope) => isLocation(scope) && !isRendered(scope) && targetOf(scope) !== undefined)) {
    return [nothingAsks(file)];
  }
  const fronted = new Set(asking.flatMap((scope) => passOf(scope) ?? []).map(upstreamOf));
  return [
    ...passing.filter((scope) => targetOf(scope) === undefined).flatMap((scope) => unasked(scope, fronted, hosts)),
    ...asking.flatMap(missingServerInclude),
  ];
}

function nothingAsks(file: string): Diagnostic {
  const place: Place = { file, line: 1, column: 1, length: 1 };
  return {
    severity: "error",
    code: "missing_include",
    message: "no location of this configuration asks Wayleave",
    place,
    help: "include the rendered location file beside the proxy_pass of each fronted target",
  };
}

function unasked(scope: Scope, fronted: ReadonlySet<string>, hosts: ReadonlySet<string>): Diagnostic[] {
  const pass = passOf(scope);
  if (pass === undefined) return [];
  const server = serverOf(scope);
  const names =
    server === undefined ? [] : own(server, "server_name").flatMap(({ args }) => args.map(({ text }) => text));
  const named = names.find((name) => hosts.has(name));
  if (!fronted.has(upstreamOf(pass)) && named === undefined) return [];
  const off = effective(scope, "auth_request").find((directive) => firstArgument(directive) === "off");
  const where =
    named === undefined ? "a protected location leads to the same upstream" : `${named} is a host of a target`;
  if (off !== undefined) {
    const message = `this turns the question off, and ${where}`;
    return [
      {
        severity: "error",
        code: "auth_request_off",
        message,
        place: off.place,
        help: "remove it, or give what is public an upstream of its own",
      },
    ];
  }
  if (own(scope, "internal").length > 0) {
    const message = "X-Accel-Redirect and error pages reach this location without a question";
    return [
      {
        severity: "warning",
        code: "internal_redirect",
        message,
        place: pass.place,
        help: "let it lead to another upstream, or remove it",
      },
    ];
  }
  const message = `requests pass here without a question, and ${where}`;
  return [
    {
      severity: "error",
      code: "missing_include",
      message,
      place: pass.place,
      help: "include the rendered location file in this block",
    },
  ];
}

function missingServerInclude(scope: Scope): Diagnostic[] {
  const target = targetOf(scope);
  const server = serverOf(scope);
  const question = effective(scope, "auth_request")[0];
  if (server === undefined || question === undefined) return [];
  const there = scopesOf(server.statements).some(
    ({ directive }) => directive.args.at(-1)?.text === `/_wayleave/authz/${target}`,
  );
  if (there) return [];
  return [
    {
      severity: "error",
      code: "missing_server_include",
      message: `this server does not know how to ask about ${target}: every request ends in 500`,
      place: server.directive.place,
      help: "include wayleave-server.conf in this server { }",
    },
  ];
}
