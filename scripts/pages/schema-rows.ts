import { cell } from "./markdown.ts";

/** As much of JSON Schema (2020-12) as our own schemas use. */
export interface Schema {
  readonly type?: string | readonly string[];
  readonly const?: unknown;
  readonly description?: string;
  readonly enum?: readonly string[];
  readonly examples?: readonly unknown[];
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly additionalProperties?: Schema | boolean;
  readonly required?: readonly string[];
  readonly items?: Schema;
  readonly oneOf?: readonly Schema[];
  readonly anyOf?: readonly Schema[];
  readonly $ref?: string;
}

/** One key of a file: where it stands, whether it must, what it takes, and what it means in Markdown. */
export interface KeyRow {
  /** As `targets.<name>.http.hosts`; a list's entries as `issuers[].name`. */
  readonly key: string;
  readonly required: boolean;
  readonly schema: Schema;
}

/** Every key that the schema knows, depth first, in the schema's own order. What `elsewhere` knows gets no rows for its own keys. */
export function keyRows(
  schema: Schema,
  prefix = "",
  elsewhere: (schema: Schema) => boolean = () => false,
): readonly KeyRow[] {
  return entriesOf(schema).flatMap(([key, inner]) => {
    const list = inner.type === "array";
    const below = objectOf(list ? joined(inner.items ?? {}) : inner);
    const name = `${prefix}${key}${list && below.properties ? "[]" : ""}`;
    const row = { key: name, required: schema.required?.includes(key) ?? false, schema: inner };
    const rows = elsewhere(below) ? [] : keyRows(below, `${name}.`, elsewhere);
    // A map whose own meaning is nowhere said is told by its keys.
    return key === anyName && inner.description === undefined ? rows : [row, ...rows];
  });
}

/** Stands for a key that is the reader's own word, such as the name of a role. */
const anyName = "<name>";

function entriesOf({ properties = {}, additionalProperties: rest }: Schema): readonly [string, Schema][] {
  return [...Object.entries(properties), ...(typeof rest === "object" ? [[anyName, rest] as [string, Schema]] : [])];
}

/** Of "this word, or that map" the map, since only it has keys of its own; of several maps all their keys. */
function objectOf(schema: Schema): Schema {
  const [first, ...more] = schema.anyOf?.filter(({ properties }) => properties !== undefined) ?? [];
  if (first === undefined || more.length === 0) return first ?? schema;
  return { properties: Object.assign({}, ...[...more, first].map(({ properties }) => properties)) };
}

/** The variants of a list's entries as one entry: a key that only some of them have says which. */
function joined(schema: Schema): Schema {
  const variants = schema.oneOf;
  if (variants === undefined) return schema;
  const kindOf = ({ properties }: Schema) => String(properties?.kind?.const ?? "");
  const keys = [...new Set(variants.flatMap(({ properties }) => Object.keys(properties ?? {})))];
  const properties = keys.map((key): [string, Schema] => {
    if (key === "kind") return [key, { enum: variants.map(kindOf), description: "The software." }];
    const having = variants.filter((variant) => variant.properties?.[key] !== undefined);
    const found = having[0]?.properties?.[key] ?? {};
    const only =
      having.length < variants.length ? `Of ${having.map((variant) => `\`${kindOf(variant)}\``).join(", ")}: ` : "";
    return [key, { ...found, description: only + (found.description ?? "") }];
  });
  const required = keys.filter((key) => variants.every((variant) => variant.required?.includes(key)));
  return { properties: Object.fromEntries(properties), required };
}

/** What a key takes, in a word or as its alternatives. */
export function shapeOf(schema: Schema): string {
  const { enum: words, const: one, anyOf, items } = schema;
  if (schema.$ref) return `\`${schema.$ref.replace("#/$defs/", "")}\``;
  if (words) return words.map((value) => `\`${value}\``).join(", ");
  if (one !== undefined) return `\`${one}\``;
  if (anyOf) return [...new Set(anyOf.map(shapeOf))].join(" or ");
  if (schema.type === "array") return joined(items ?? {}).properties ? "list" : `list of ${shapeOf(items ?? {})}`;
  return [schema.type ?? []]
    .flat()
    .map((type) => typeWords[type] ?? type)
    .join(" or ");
}

const typeWords: Readonly<Record<string, string>> = {
  object: "map",
  string: "text",
  boolean: "true or false",
  integer: "number",
};

/** A key's meaning as a cell; where the schema gives no words, nothing. */
export const meaningOf = ({ description = "" }: Schema): string => cell(description);
