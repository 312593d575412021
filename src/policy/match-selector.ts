import type { AttributeValue, JobIdentity, Kind, SelectorField, Vocabulary } from "../core/identity.ts";
import { addPattern, type FilledSegment, findMatches, type SegmentTrie, segmentTrie } from "./match-path.ts";
import type { SelectorClause, SelectorModel, StringPattern } from "./model.ts";

/** What a selector means: in a deny, whatever is absent or unknown counts as matching. */
export type SelectorUse = "role" | "deny";

export interface SelectorMatch {
  /** Clauses and the other parts (`kind`, `fork`, `caused_by`) that hold, and all of them. */
  readonly met: number;
  readonly of: number;
  /** The first part that does not hold, as it would be written, and the job's own value. */
  readonly failed?: string;
  readonly found?: string;
}

interface CompiledClause {
  readonly model: SelectorClause;
  readonly texts: ReadonlySet<string>;
  readonly booleans: ReadonlySet<boolean>;
  readonly globs: SegmentTrie<true> | undefined;
}

export interface CompiledSelector {
  readonly model: SelectorModel;
  readonly clauses: readonly CompiledClause[];
}

export function compileSelector(model: SelectorModel): CompiledSelector {
  // By field, so that the order they were written in shows nowhere.
  const clauses = model.clauses.toSorted((a, b) => (a.field < b.field ? -1 : 1));
  return { model, clauses: clauses.map(compileClause) };
}

function compileClause(model: SelectorClause): CompiledClause {
  const texts = new Set<string>();
  const booleans = new Set<boolean>();
  let globs: SegmentTrie<true> | undefined;
  for (const value of model.values) {
    if (typeof value === "boolean") booleans.add(value);
    else if (value.kind === "exact") texts.add(value.text);
    else {
      globs ??= segmentTrie<true>();
      addPattern(globs, globSegments(value), true);
    }
  }
  return { model, texts, booleans, globs };
}

/** Templates have no place in a selector; one would be a literal that nothing equals. */
export function globSegments(pattern: Extract<StringPattern, { kind: "glob" }>): readonly FilledSegment[] {
  return pattern.segments.map((segment) =>
    segment.kind === "template" ? { kind: "literal", text: segment.template.source } : segment,
  );
}

/** True where the selector is about this issuer: by configured name, by type, or (in a broad deny) about any. */
export function matchesIssuer(selector: SelectorModel, identity: JobIdentity): boolean {
  const { issuer } = selector;
  return issuer === undefined || issuer === identity.issuer || issuer === identity.issuerType;
}

/**
 * True where every part of the selector holds. In a role, an absent attribute is a mismatch; in a deny it matches, as does
 * an unknown fork status, and one matching value of a list is enough. Without `kind` a role means jobs, a deny anybody.
 * `fork: true` matches forks and everything else alike; `kind: agent` also matches a job, which then acts as an agent.
 * A job that an event caused is in a role only where `caused_by` names the event; a deny without `caused_by` is about it too.
 * Whether there is a cause is known, never unknown: `caused_by` in a deny is about no other job.
 */
export function matchesSelector(
  selector: CompiledSelector,
  identity: JobIdentity,
  use: SelectorUse,
  vocabulary: Vocabulary,
): boolean {
  if (!matchesIssuer(selector.model, identity)) return false;
  if (!kindMatches(selector.model.kind, identity.kind, use)) return false;
  if (!forkMatches(selector.model.fork, identity, use)) return false;
  if (!causeMatches(selector.model.causedBy, identity, use)) return false;
  return selector.clauses.every((clause) => clauseMatches(clause, identity, use, vocabulary));
}

/** How near a role's selector came; for explaining only. Not meant for selectors of another issuer. */
export function explainSelector(
  selector: CompiledSelector,
  identity: JobIdentity,
  vocabulary: Vocabulary,
): SelectorMatch {
  const { model } = selector;
  const parts: { readonly holds: boolean; readonly text: string; readonly found?: string }[] = selector.clauses.map(
    (clause) => {
      const found = showAttribute(attributeOf(identity, clause.model.field));
      const part = { holds: clauseMatches(clause, identity, "role", vocabulary), text: showClause(clause.model) };
      return found === undefined ? part : { ...part, found };
    },
  );
  if (!kindMatches(model.kind, identity.kind, "role")) {
    parts.push({ holds: false, text: `kind: ${model.kind ?? "job"}`, found: identity.kind });
  }
  if (!forkMatches(model.fork, identity, "role")) {
    parts.push({ holds: false, text: "fork: true", found: `fork ${identity.fork}` });
  }
  if (!causeMatches(model.causedBy, identity, "role")) {
    const text = `caused_by: ${model.causedBy?.join(", ") ?? identity.cause?.event}`;
    parts.push({ holds: false, text, found: identity.cause?.event ?? "no event" });
  }
  const failed = parts.find((part) => !part.holds);
  return {
    met: parts.filter((part) => part.holds).length,
    of: parts.length,
    ...(failed === undefined ? {} : { failed: failed.text }),
    ...(failed?.found === undefined ? {} : { found: failed.found }),
  };
}

function kindMatches(wanted: Kind | undefined, kind: Kind, use: SelectorUse): boolean {
  if (wanted === undefined) return use === "deny" || kind === "job";
  return wanted === kind || (wanted === "agent" && kind === "job");
}

function forkMatches(fork: boolean, identity: JobIdentity, use: SelectorUse): boolean {
  return fork || identity.fork === "no" || (use === "deny" && identity.fork !== "yes");
}

function causeMatches(wanted: readonly string[] | undefined, { cause }: JobIdentity, use: SelectorUse): boolean {
  if (wanted === undefined) return cause === undefined || use === "deny";
  return cause !== undefined && (wanted.includes(cause.event) || wanted.includes("*"));
}

function clauseMatches(
  clause: CompiledClause,
  identity: JobIdentity,
  use: SelectorUse,
  vocabulary: Vocabulary,
): boolean {
  const attribute = attributeOf(identity, clause.model.field);
  if (attribute === undefined) return use === "deny";
  if (!Array.isArray(attribute)) return valueMatches(clause, attribute as string | boolean);
  // An empty list says nothing, as an absent claim does.
  if (attribute.length === 0) return use === "deny";
  const any = use === "deny" || fieldOf(identity, clause.model.field, vocabulary)?.arity === "any";
  const matches = (value: string) => valueMatches(clause, value);
  return any ? attribute.some(matches) : attribute.every(matches);
}

function fieldOf(identity: JobIdentity, field: string, vocabulary: Vocabulary): SelectorField | undefined {
  const fields = vocabulary[identity.issuerType];
  return fields !== undefined && Object.hasOwn(fields, field) ? fields[field] : undefined;
}

function valueMatches(clause: CompiledClause, value: string | boolean): boolean {
  if (typeof value === "boolean") return clause.booleans.has(value);
  if (clause.texts.has(value)) return true;
  return clause.globs !== undefined && findMatches(clause.globs, value.split("/")).length > 0;
}

export function attributeOf(identity: JobIdentity, field: string): AttributeValue | undefined {
  return Object.hasOwn(identity.attributes, field) ? identity.attributes[field] : undefined;
}

export function valuesOf(value: AttributeValue): readonly (string | boolean)[] {
  return typeof value === "object" ? value : [value];
}

function showClause(clause: SelectorClause): string {
  const values = clause.values.map((value) =>
    typeof value === "boolean" ? String(value) : value.kind === "exact" ? value.text : value.source,
  );
  return `${clause.field}: ${values.length === 1 ? values[0] : `[${values.join(", ")}]`}`;
}

function showAttribute(value: AttributeValue | undefined): string | undefined {
  return value === undefined ? undefined : valuesOf(value).join(", ");
}
