import type { Answer, Request } from "./listener.ts";

export interface Route<Context> {
  readonly method: "GET" | "POST";
  /** Segments, `:name` standing for any one of them: `/projects/:id/jobs/:job_id`. */
  readonly pattern: string;
  handle(context: Context, params: Readonly<Record<string, string>>, request: Request): Answer | Promise<Answer>;
}

export interface Match<Context> {
  readonly route: Route<Context>;
  /** Percent-decoded, so that `acme%2Fshop` is one segment with a slash in it. */
  readonly params: Readonly<Record<string, string>>;
}

/** The first route for a method and a still encoded path, or undefined. */
export function findRoute<Context>(
  routes: readonly Route<Context>[],
  method: string,
  path: string,
): Match<Context> | undefined {
  const segments = decoded(path);
  if (!segments) return undefined;
  for (const route of routes) {
    const params = route.method === method ? match(route.pattern.split("/"), segments) : undefined;
    if (params) return { route, params };
  }
  return undefined;
}

function match(pattern: readonly string[], segments: readonly string[]): Record<string, string> | undefined {
  if (pattern.length !== segments.length) return undefined;
  const params: Record<string, string> = {};
  for (const [index, expected] of pattern.entries()) {
    const actual = segments[index] ?? "";
    if (expected.startsWith(":") && actual !== "") params[expected.slice(1)] = actual;
    else if (expected !== actual) return undefined;
  }
  return params;
}

function decoded(path: string): readonly string[] | undefined {
  try {
    return path.split("/").map(decodeURIComponent);
  } catch {
    return undefined; // not valid percent-encoding: no route can match it
  }
}
