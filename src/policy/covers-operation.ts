import { coversSegments, sharesSegments } from "./covers-pattern.ts";
import { coversTokens, deniedAs, sharesTokens } from "./match-nats.ts";
import { httpEnd } from "./match-path.ts";
import type { HttpPattern, NatsPattern, OperationModel } from "./model.ts";

/** Whether whatever a role may do by `narrow`, it may do by `wide`. Never true where that is not so. */
export function coversOperation(wide: OperationModel, narrow: OperationModel): boolean {
  if (wide.kind === "http") return narrow.kind === "http" && coversHttp(wide.pattern, narrow.pattern, false);
  if (wide.kind === "verb") return narrow.kind === "verb" && wide.verb === narrow.verb;
  if (narrow.kind !== "nats") return false;
  const [{ verb, queue }, other] = [wide.pattern, narrow.pattern];
  if (verb !== other.verb || (queue !== undefined && queue !== other.queue)) return false;
  return coversTokens(tokensOf(wide.pattern), tokensOf(other));
}

/** Whether a deny of `deny` forbids all that `operation` is. Never true where it does not. */
export function deniesOperation(deny: OperationModel, operation: OperationModel): boolean {
  if (deny.kind === "http") return operation.kind === "http" && coversHttp(deny.pattern, operation.pattern, true);
  if (deny.kind === "verb") return operation.kind === "verb" && deny.verb === operation.verb;
  if (operation.kind !== "nats" || deniedAs[deny.pattern.verb] !== deniedAs[operation.pattern.verb]) return false;
  return coversTokens(tokensOf(deny.pattern), tokensOf(operation.pattern));
}

/** Whether a deny of `deny` may forbid some of what `operation` is. */
export function mayDenyOperation(deny: OperationModel, operation: OperationModel): boolean {
  if (deny.kind === "verb") return operation.kind === "verb" && deny.verb === operation.verb;
  if (deny.kind === "http") {
    if (operation.kind !== "http") return false;
    const [a, b] = [deny.pattern, operation.pattern];
    const methods = a.method === b.method || a.method === "*" || b.method === "*";
    return methods && sharesSegments(a.segments, b.segments);
  }
  if (operation.kind !== "nats" || deniedAs[deny.pattern.verb] !== deniedAs[operation.pattern.verb]) return false;
  return sharesTokens(tokensOf(deny.pattern, "*"), tokensOf(operation.pattern, "*"));
}

function coversHttp(wide: HttpPattern, narrow: HttpPattern, deny: boolean): boolean {
  if (wide.method !== "*" && wide.method !== narrow.method) return false;
  if (!deny && narrow.stream && !wide.stream) return false;
  const { slash } = httpEnd(wide, deny);
  if (slash !== "free" && slash !== httpEnd(narrow).slash) return false;
  return coversSegments(wide.segments, narrow.segments);
}

/** A template is a word of its own, equal to itself only; or whatever `asTemplate` says. */
function tokensOf({ tokens }: NatsPattern, asTemplate?: string): readonly string[] {
  return tokens.map((token) => {
    if (token.kind === "literal") return token.text;
    if (token.kind === "star") return "*";
    return token.kind === "rest" ? ">" : (asTemplate ?? token.template.source);
  });
}
