import { z } from "zod";
import type { IssuerType, Vocabulary } from "../core/identity.ts";
import { jobFields, requestFields } from "./condition-scope.ts";
import { keysAt, namesIn, type PolicyNames, wordAt } from "./cursor.ts";
import type { ConfiguredIssuer } from "./reading.ts";
import { Role, Target } from "./schema.ts";

/** Something that may stand at the cursor, and a word on what it means. */
export interface Completion {
  readonly label: string;
  readonly detail: string;
}

/** What an editor knows besides the text under the cursor. */
export interface Surroundings {
  /** All files of the policy, the one being edited included. */
  readonly texts: readonly string[];
  readonly vocabulary: Vocabulary;
  readonly issuers: readonly ConfiguredIssuer[];
}

export interface Cursor {
  readonly text: string;
  /** From 0; `character` in UTF-16 units. */
  readonly line: number;
  readonly character: number;
}

/** What may be written at the cursor: names of targets, selectors and roles where they mean something, fields of selectors. */
export function completionsAt(cursor: Cursor, around: Surroundings): readonly Completion[] {
  const keys = keysAt(cursor.text, cursor.line, cursor.character);
  const names = namesIn(around.texts);
  const last = keys.at(-1) ?? "";
  const fields = fieldsOf(keys, around);
  if (fields !== undefined) return Object.entries(fields).map(([label, { doc }]) => ({ label, detail: doc }));
  if (last === "for") return listed(names.who, "jobs");
  if (last === "caused_by") return listed(names.events, "event");
  if (last === "allow" || last === "operations" || last === "on") return listed(names.targets, "target");
  if (last === "targets" && keys.length > 1) return listed(names.targets, "target");
  if (last === "targets" && keys[0] !== "targets") return listed(names.targets, "target");
  if (last === "can" || last === "cannot") return listed(names.targets, "target");
  if (last === "roles") return listed(names.roles, "role");
  return [];
}

const listed = (names: ReadonlyMap<string, unknown>, what: string): readonly Completion[] =>
  [...names].map(([label, value]) => ({ label, detail: `${what}: ${brief(value)}` }));

/** Fields of the issuer whose selector the cursor is in. */
function fieldsOf(keys: readonly string[], { vocabulary, issuers }: Surroundings): Vocabulary[IssuerType] | undefined {
  const within = keys.findIndex((key) => key === "who" || key === "for" || key === "as");
  const last = keys.at(-1);
  if (within === -1 || last === undefined) return undefined;
  const type = issuers.find(({ name }) => name === last)?.type ?? last;
  return Object.hasOwn(vocabulary, type) ? vocabulary[type as IssuerType] : undefined;
}

/** What the word under the cursor means, as Markdown; undefined where nothing is known of it. */
export function hoverAt(cursor: Cursor, around: Surroundings): string | undefined {
  const { word, from } = wordAt(cursor.text, cursor.line, cursor.character);
  if (word === "") return undefined;
  const keys = keysAt(cursor.text, cursor.line, from);
  const field = fieldsOf(keys, around)?.[word];
  if (field !== undefined) return `**${word}**: ${field.doc}`;
  return namedHover(word, keys, namesIn(around.texts)) ?? variableHover(word) ?? keyHover(word, keys);
}

function namedHover(word: string, keys: readonly string[], names: PolicyNames): string | undefined {
  const section = keys.at(-1);
  const kinds = [
    ["selector", names.who, section === "for" || section === "who"],
    ["target", names.targets, section !== "for" && section !== "who"],
    ["role", names.roles, section === "roles"],
    ["event", names.events, section === "events" || section === "caused_by"],
  ] as const;
  const found = kinds.find(([, known, fits]) => fits && known.has(word));
  if (found === undefined) return undefined;
  const [kind, known] = found;
  return `${kind} **${word}**\n\n\`\`\`json\n${JSON.stringify(known.get(word), null, 2)}\n\`\`\``;
}

/** In a condition: `job.ref`, `request.method`. */
function variableHover(word: string): string | undefined {
  const [variable, field = ""] = word.split(".");
  const fields = variable === "job" ? jobFields : variable === "request" ? requestFields : {};
  const known: { readonly doc: string } | undefined = Object.hasOwn(fields, field)
    ? (fields as Readonly<Record<string, { readonly doc: string }>>)[field]
    : undefined;
  return known === undefined ? undefined : `**${word}**: ${known.doc}`;
}

/** A key of a role or target, as the schema describes it. */
function keyHover(word: string, keys: readonly string[]): string | undefined {
  const schema = keys[0] === "roles" ? Role : keys[0] === "targets" ? Target : undefined;
  const shape: Readonly<Record<string, z.core.$ZodType>> = schema?.shape ?? {};
  const own = Object.hasOwn(shape, word) ? shape[word] : undefined;
  const text = (own instanceof z.ZodOptional ? z.globalRegistry.get(own.unwrap()) : own && z.globalRegistry.get(own))
    ?.description;
  return text === undefined ? undefined : `**${word}**: ${text}`;
}

function brief(value: unknown): string {
  const text = JSON.stringify(value) ?? "";
  return text.length > 80 ? `${text.slice(0, 79)}…` : text;
}
