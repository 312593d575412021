import type { ConfigDirective } from "./parse-config.ts";

/** A block with what it inherits: `http`, `server`, `location`, `if`, `limit_except`. */
export interface Scope {
  readonly directive: ConfigDirective;
  readonly statements: readonly ConfigDirective[];
  readonly parent: Scope | undefined;
}

const blocks: ReadonlySet<string> = new Set(["http", "server", "location", "if", "limit_except"]);

/** Every block of the HTTP part, outer ones first. */
export function scopesOf(directives: readonly ConfigDirective[], parent?: Scope): Scope[] {
  return directives.flatMap((directive) => {
    if (directive.block === undefined || !blocks.has(directive.name)) return [];
    const scope: Scope = { directive, statements: directive.block, parent };
    return [scope, ...scopesOf(directive.block, scope)];
  });
}

export function own(scope: Scope, name: string): readonly ConfigDirective[] {
  return scope.statements.filter((statement) => statement.name === name);
}

/** What counts here by NGINX's rule: a level that says nothing itself takes all that the level above has. */
export function effective(scope: Scope, name: string): readonly ConfigDirective[] {
  const mine = own(scope, name);
  if (mine.length > 0) return mine;
  return scope.parent === undefined ? [] : effective(scope.parent, name);
}

export function firstArgument(directive: ConfigDirective | undefined): string {
  return directive?.args[0]?.text ?? "";
}

/** The target whose decision is asked for in this scope. */
export function targetOf(scope: Scope): string | undefined {
  return /^\/_wayleave\/authz\/(.+)$/.exec(firstArgument(effective(scope, "auth_request")[0]))?.[1];
}

export function serverOf(scope: Scope): Scope | undefined {
  return scope.directive.name === "server" ? scope : scope.parent && serverOf(scope.parent);
}

/** Locations and what is inside them, where NGINX may pass a request on. */
export function isLocation(scope: Scope): boolean {
  return scope.directive.name === "location" || (scope.parent !== undefined && isLocation(scope.parent));
}

/** One of the locations that Wayleave rendered: named, or the question itself. */
export function isRendered(scope: Scope): boolean {
  return scope.directive.args.some(({ text }) => text.startsWith("@wayleave_") || text.startsWith("/_wayleave/"));
}

const passes = ["proxy_pass", "grpc_pass", "fastcgi_pass", "uwsgi_pass", "scgi_pass", "memcached_pass"];

/** The directive of this very block that hands the request to an upstream. */
export function passOf(scope: Scope): ConfigDirective | undefined {
  return scope.statements.find((statement) => passes.includes(statement.name));
}

/** Where a pass leads, without scheme and path: what two locations with the same upstream share. */
export function upstreamOf(pass: ConfigDirective): string {
  const address = firstArgument(pass).replace(/^[a-z]+:\/\//, "");
  return address.startsWith("unix:")
    ? address.replace(/:[^:]*$/, (part) => (part.startsWith(":/") && address.split(":").length > 2 ? "" : part))
    : address.replace(/\/.*$/, "");
}
