import { type TargetKind, targetVerbs } from "../core/target.ts";
import { type Parsed, parsed, refused } from "./findings.ts";
import type { HttpPattern, NatsPattern } from "./model.ts";
import { parseHttpPattern } from "./parse-http-pattern.ts";
import { parseNatsPattern, type SubjectUse } from "./parse-nats-pattern.ts";
import { didYouMean } from "./suggest.ts";

/** An operation without its place, which only the caller knows. */
export type OperationShape =
  | { readonly kind: "http"; readonly pattern: HttpPattern }
  | { readonly kind: "nats"; readonly pattern: NatsPattern }
  | { readonly kind: "verb"; readonly verb: string };

/**
 * An operation as the kind of its target reads it: `GET /v1/x/**`, `pub a.b.*`, or one of the kind's verbs.
 * `stream` is only for HTTP, `use` for NATS. Codes: `operation_invalid`, `operation_wrong_kind`, `verb_unknown`, and those of the patterns.
 */
export function parseOperation(
  source: string,
  kind: TargetKind,
  stream: boolean,
  variables: readonly string[],
  use: SubjectUse = "role",
): Parsed<OperationShape> {
  if (stream && kind !== "http" && kind !== "mesh") {
    return refused("stream_not_for_kind", `${kind} targets have no streams`, 0, source.length, "leave stream out");
  }
  if (kind === "http" || kind === "mesh") {
    const wrong = wrongKind(source, kind, /^(pub|sub|req|pull)\s/, "GET /v1/items/**");
    return wrong ?? as("http", parseHttpPattern(source, stream, variables));
  }
  if (kind === "nats") {
    const wrong = wrongKind(source, kind, /^([A-Z]+|\*)\s+\//, "pub builds.*");
    return wrong ?? as("nats", parseNatsPattern(source, variables, use));
  }
  const verbs: readonly string[] = targetVerbs[kind];
  if (verbs.includes(source)) return parsed({ kind: "verb", verb: source });
  const wrong = wrongKind(source, kind, /\s/, verbs[0] ?? "");
  if (wrong) return wrong;
  return refused(
    "verb_unknown",
    `${kind} targets have no verb "${source}"`,
    0,
    source.length,
    didYouMean(source, verbs),
  );
}

function as<K extends string, P>(kind: K, pattern: Parsed<P>): Parsed<{ readonly kind: K; readonly pattern: P }> {
  return pattern.ok ? parsed({ kind, pattern: pattern.value }) : pattern;
}

function wrongKind(source: string, kind: TargetKind, shape: RegExp, example: string): Parsed<never> | undefined {
  if (!shape.test(source)) return undefined;
  const help = `operations of ${kind} targets look like "${example}"`;
  return refused("operation_wrong_kind", `this is not an operation of ${kind} targets`, 0, source.length, help);
}
