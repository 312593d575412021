import type { Diagnostic } from "../../policy/model.ts";
import {
  effective,
  firstArgument,
  isLocation,
  isRendered,
  own,
  passOf,
  type Scope,
  serverOf,
  targetOf,
} from "./config-scope.ts";
import type { ConfigDirective } from "./parse-config.ts";

/** What a protected location must not do: answer before it asked, change what it asked about, or hide the answer. */
export function locationRules(scopes: readonly Scope[]): Diagnostic[] {
  const protectedScopes = scopes.filter(
    (scope) => isLocation(scope) && !isRendered(scope) && targetOf(scope) !== undefined,
  );
  const servers = new Set(protectedScopes.map(serverOf));
  const aroundProtected = scopes.filter((scope) => !isLocation(scope) && servers.has(serverOf(scope)));
  return [
    ...protectedScopes.flatMap((scope) => rules.flatMap((rule) => rule(scope))),
    ...aroundProtected.flatMap(rewriteChangesPath),
  ];
}

type Rule = (scope: Scope) => Diagnostic[];

function finding(
  severity: Diagnostic["severity"],
  code: string,
  directive: ConfigDirective,
  message: string,
  help: string,
): Diagnostic {
  return { severity, code, message, place: directive.place, help };
}

const returnBeforeAccess: Rule = (scope) =>
  own(scope, "return").flatMap((directive) => {
    const code = Number(firstArgument(directive));
    if (code >= 400) return [];
    const redirect = [301, 302, 303, 307, 308].includes(code) || Number.isNaN(code);
    return [
      finding(
        redirect ? "warning" : "error",
        "return_before_access",
        directive,
        "return answers before NGINX asks Wayleave: everybody gets this answer",
        "move it to a location of its own without the include, if everybody may have it",
      ),
    ];
  });

const rewriteChangesPath: Rule = (scope) =>
  own(scope, "rewrite").flatMap((directive) => {
    const [, replacement, flag] = directive.args.map(({ text }) => text);
    if (flag === "redirect" || flag === "permanent" || /^(https?:\/\/|\$scheme)/.test(replacement ?? "")) return [];
    return [
      finding(
        "error",
        "rewrite_changes_path",
        directive,
        "the upstream is sent another path than the one Wayleave decided on, and the question itself can be rewritten",
        "redirect the client instead (flag permanent), or let the upstream understand the original path",
      ),
    ];
  });

const satisfyAny: Rule = (scope) =>
  effective(scope, "satisfy")
    .filter((directive) => firstArgument(directive) === "any")
    .map((directive) =>
      finding(
        "error",
        "satisfy_any",
        directive,
        "with satisfy any an allowed address or a password passes without Wayleave",
        "say satisfy all in the protected location",
      ),
    );

const uriPartProxyPass: Rule = (scope) =>
  own(scope, "proxy_pass").flatMap((directive) => {
    const address = firstArgument(directive).replace(/^[a-z]+:\/\//, "");
    const path = address.startsWith("unix:") ? address.split(":").slice(2).join(":") : address.replace(/^[^/]*/, "");
    if (path === "" && !/\$\{?(request_)?uri|\$\{?args|\$\d/.test(address)) return [];
    return [
      finding(
        "error",
        "uri_part_proxy_pass",
        directive,
        "a proxy_pass with a path decodes and rewrites the request's: the upstream serves another path than the one decided on",
        "end the address after the host: proxy_pass http://upstream;",
      ),
    ];
  });

const unsupportedPass: Rule = (scope) => {
  const pass = passOf(scope);
  if (pass === undefined || pass.name === "proxy_pass") return [];
  const message = `${pass.name} hands on the client's own identity headers: proxy_set_header does not count for it`;
  return [finding("error", "unsupported_pass", pass, message, "front it over HTTP with proxy_pass")];
};

const errorPageSwallowsDenial: Rule = (scope) => {
  const pages = effective(scope, "error_page");
  return ["401", "403", "500"].flatMap((status) => {
    const page = pages.find(({ args }) => args.slice(0, -1).some(({ text }) => text === status));
    if (page === undefined || page.args.at(-1)?.text.startsWith("@wayleave_")) return [];
    return [
      finding(
        "error",
        "error_page_swallows_denial",
        page,
        `this page stands in for Wayleave's ${status}: the caller does not learn why, and with = may even see a success`,
        "leave 401, 403 and 500 out of it, and put the include before it",
      ),
    ];
  });
};

const interceptedErrors: Rule = (scope) =>
  effective(scope, "proxy_intercept_errors")
    .filter((directive) => firstArgument(directive) === "on")
    .map((directive) =>
      finding(
        "warning",
        "intercepted_errors",
        directive,
        "the upstream's own 401, 403 and 500 are replaced by pages of Wayleave",
        "say proxy_intercept_errors off in the protected location",
      ),
    );

const tryFiles: Rule = (scope) =>
  own(scope, "try_files").map((directive) =>
    finding(
      "error",
      "try_files_in_location",
      directive,
      "try_files moves the request to another location and path than the ones Wayleave decided on",
      "serve files from a location of their own",
    ),
  );

const accessLogOff: Rule = (scope) => {
  const logs = effective(scope, "access_log");
  const off = logs.find((directive) => firstArgument(directive) === "off");
  const kept = logs.some(({ args }) => args[1]?.text === "wayleave");
  if (off === undefined && kept) return [];
  const lost = off ?? logs[0];
  if (lost === undefined) return [];
  const message = "requests through this location are not in Wayleave's log";
  return [finding("warning", "access_log_off", lost, message, "remove it; beside the include other logs may stand")];
};

const proxyMethod: Rule = (scope) =>
  effective(scope, "proxy_method").map((directive) =>
    finding(
      "error",
      "proxy_method_changes_method",
      directive,
      "the upstream is asked with another method than the one Wayleave decided on",
      "remove it from the protected location and what surrounds it",
    ),
  );

const rules: readonly Rule[] = [
  returnBeforeAccess,
  rewriteChangesPath,
  satisfyAny,
  uriPartProxyPass,
  unsupportedPass,
  errorPageSwallowsDenial,
  interceptedErrors,
  tryFiles,
  accessLogOff,
  proxyMethod,
];
