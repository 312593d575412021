import type { IssuerType, Vocabulary } from "../core/identity.ts";
import { coversValue, sharesValue } from "./covers-pattern.ts";
import type { SelectorModel } from "./model.ts";

/** What comparing selectors needs to know of issuers. */
export interface Issuers {
  /** Type by configured name. */
  readonly types: ReadonlyMap<string, IssuerType>;
  readonly vocabulary: Vocabulary;
}

/** Whether every job in a role by `narrow` is in it by `wide`, acting as the same kind. Never true where that is not so. */
export function coversAudience(wide: SelectorModel, narrow: SelectorModel, issuers: Issuers): boolean {
  if ((wide.kind ?? "job") !== (narrow.kind ?? "job") || (narrow.fork && !wide.fork)) return false;
  if (wide.causedBy === undefined ? narrow.causedBy !== undefined : !coversCauses(wide.causedBy, narrow)) return false;
  return coversIssuer(wide, narrow, issuers) && coversClauses(wide, narrow);
}

/** Whether a deny by `wide` is about every job that one by `narrow` is about. Never true where that is not so. */
export function coversDenied(wide: SelectorModel, narrow: SelectorModel, issuers: Issuers): boolean {
  if ((wide.kind !== undefined && wide.kind !== narrow.kind) || (narrow.fork && !wide.fork)) return false;
  if (wide.causedBy !== undefined && !coversCauses(wide.causedBy, narrow)) return false;
  return coversIssuer(wide, narrow, issuers) && coversClauses(wide, narrow);
}

/** Whether a deny by `deny` is about every job in a role by `role`. Never true where it is not. */
export function deniesAudience(deny: SelectorModel, role: SelectorModel, issuers: Issuers): boolean {
  const { kind = "job" } = role;
  return coversDenied(deny, { ...role, kind }, issuers);
}

/** Whether a deny by `deny` may be about some job in a role by `role`; `agents`: whether the role may make a job an agent. */
export function mayDenyAudience(deny: SelectorModel, role: SelectorModel, agents: boolean, issuers: Issuers): boolean {
  if (deny.kind === "agent" && !agents && role.kind !== "agent") return false;
  if (deny.causedBy !== undefined && role.causedBy === undefined) return false;
  if (!sharesIssuer(deny, role, issuers)) return false;
  const type = role.issuer === undefined ? undefined : (issuers.types.get(role.issuer) ?? (role.issuer as IssuerType));
  const fields = type === undefined ? undefined : issuers.vocabulary[type];
  return deny.clauses.every(({ field, values }) => {
    const other = role.clauses.find((clause) => clause.field === field);
    if (other === undefined || fields?.[field]?.arity === "any") return true;
    return values.some((value) => other.values.some((one) => sharesValue(value, one)));
  });
}

function coversCauses(wide: readonly string[], { causedBy }: SelectorModel): boolean {
  if (causedBy === undefined) return false;
  return wide.includes("*") || causedBy.every((event) => wide.includes(event));
}

function coversIssuer(wide: SelectorModel, narrow: SelectorModel, { types }: Issuers): boolean {
  if (wide.issuer === undefined || wide.issuer === narrow.issuer) return true;
  return narrow.issuer !== undefined && types.get(narrow.issuer) === wide.issuer;
}

function sharesIssuer(a: SelectorModel, b: SelectorModel, issuers: Issuers): boolean {
  return coversIssuer(a, b, issuers) || coversIssuer(b, a, issuers);
}

function coversClauses(wide: SelectorModel, narrow: SelectorModel): boolean {
  return wide.clauses.every(({ field, values }) => {
    const other = narrow.clauses.find((clause) => clause.field === field);
    return other?.values.every((value) => values.some((one) => coversValue(one, value))) ?? false;
  });
}
