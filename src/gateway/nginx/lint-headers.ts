import type { Diagnostic } from "../../policy/model.ts";
import { effective, firstArgument, isLocation, isRendered, own, passOf, type Scope, targetOf } from "./config-scope.ts";
import type { ConfigDirective } from "./parse-config.ts";

/** Whether what the rendered location says of headers still counts, and what of the host's own got lost by it. */
export function headerRules(scopes: readonly Scope[]): Diagnostic[] {
  const sites = scopes.filter((scope) => isLocation(scope) && !isRendered(scope) && targetOf(scope) !== undefined);
  return [
    ...sites.filter((scope) => passOf(scope)?.name === "proxy_pass").flatMap(lostStrip),
    ...sites.flatMap(lostByInclude),
    ...sites.flatMap(saidTwice),
    ...scopes.flatMap(loosened),
  ];
}

const headerName = (directive: ConfigDirective): string => firstArgument(directive).toLowerCase();

/** The include is recognised by what it does, not by its file name. */
function strips(directives: readonly ConfigDirective[]): boolean {
  return directives.some((directive) => headerName(directive) === "x_wayleave_subject");
}

function lostStrip(scope: Scope): Diagnostic[] {
  const set = effective(scope, "proxy_set_header");
  const place = set[0] ?? passOf(scope);
  if (strips(set) || place === undefined) return [];
  return [
    {
      severity: "error",
      code: "lost_proxy_set_header",
      message:
        "a proxy_set_header here drops all inherited ones: clients can send identity headers of their own to the upstream",
      place: place.place,
      help: "include the rendered location file in this very block",
    },
  ];
}

function lostByInclude(scope: Scope): Diagnostic[] {
  const mine = own(scope, "proxy_set_header");
  if (!strips(mine) || scope.parent === undefined) return [];
  const names = new Set(mine.map(headerName));
  return effective(scope.parent, "proxy_set_header")
    .filter((directive) => !names.has(headerName(directive)))
    .map((directive) => ({
      severity: "warning",
      code: "lost_proxy_set_header",
      message: `the include drops this inherited header: ${firstArgument(directive)} is not sent to the upstream any more`,
      place: directive.place,
      help: "repeat it in the protected location, beside the include",
    }));
}

function saidTwice(scope: Scope): Diagnostic[] {
  const mine = own(scope, "proxy_set_header");
  if (!strips(mine)) return [];
  const rendered = mine.find((directive) => headerName(directive) === "x_wayleave_subject")?.place.file;
  const set = new Set(mine.filter(({ place }) => place.file === rendered).map(headerName));
  return mine
    .filter((directive) => directive.place.file !== rendered && set.has(headerName(directive)))
    .map((directive) => ({
      severity: "error",
      code: "duplicate_proxy_set_header",
      message: `the include sets ${firstArgument(directive)} too: the upstream gets both, and may believe either`,
      place: directive.place,
      help: "remove this line",
    }));
}

function loosened(scope: Scope): Diagnostic[] {
  const on = own(scope, "underscores_in_headers").filter((directive) => firstArgument(directive) === "on");
  const off = own(scope, "ignore_invalid_headers").filter((directive) => firstArgument(directive) === "off");
  return [
    ...on.map(
      (directive): Diagnostic => ({
        severity: "warning",
        code: "underscores_in_headers",
        message: "X_Wayleave_Subject and its like come in; many upstreams cannot tell them from the header with dashes",
        place: directive.place,
        help: "turn it off; Wayleave refuses such look-alikes wherever it is asked",
      }),
    ),
    ...off.map(
      (directive): Diagnostic => ({
        severity: "error",
        code: "ignore_invalid_headers_off",
        message: "names such as X.Wayleave.Subject come in, and proxy_set_header cannot remove them",
        place: directive.place,
        help: "turn it on (the default)",
      }),
    ),
  ];
}
