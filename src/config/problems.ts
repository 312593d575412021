import type { z } from "zod";
import type { Diagnostic } from "./diagnostic.ts";
import type { ConfigDocument, KeyPath } from "./document.ts";
import { nearest } from "./nearest.ts";
import { ConfigFile } from "./schema.ts";

/** One Zod issue as diagnostics that point into the file. No value is repeated: it might be a secret. */
export function issueDiagnostics(issue: z.core.$ZodIssue, document: ConfigDocument): readonly Diagnostic[] {
  if (issue.code === "unrecognized_keys") return issue.keys.map((key) => unknownKey(document, issue.path, key));
  const name = keyName(issue.path);
  const last = issue.path.at(-1);
  if (valueIn(document.value, issue.path) === undefined && typeof last === "string") {
    return [
      {
        severity: "error",
        code: "missing_key",
        message: `${name} is required`,
        place: document.valueAt(issue.path),
        help: `add \`${last}\`: ${describe(document, issue.path)}`,
      },
    ];
  }
  const place = document.valueAt(issue.path);
  if (issue.message === "literal_secret") {
    const file = `${String(last)}_file`;
    return [
      {
        severity: "error",
        code: "literal_secret",
        message: `${name} holds the secret itself`,
        place,
        help: `put it into a file and name that as \`${file}\`, or into an environment variable and write \${NAME}`,
      },
    ];
  }
  if (issue.code === "invalid_type") {
    return [
      {
        severity: "error",
        code: "wrong_type",
        message: `${name} must be ${article(issue.expected)}`,
        place,
        help: describe(document, issue.path),
      },
    ];
  }
  if (issue.code === "invalid_union") {
    const choices = variantsAt(document, issue.path.slice(0, -1)).flatMap(kindsOf);
    return [invalidChoice(choices, name, place, document, issue.path)];
  }
  if (issue.code === "invalid_value")
    return [invalidChoice(issue.values.map(String), name, place, document, issue.path)];
  return [
    {
      severity: "error",
      code: "invalid_value",
      message: `${name} ${issue.message}`,
      place,
      help: describe(document, issue.path),
    },
  ];
}

function unknownKey(document: ConfigDocument, path: KeyPath, key: string): Diagnostic {
  const known = Object.keys(bare(schemaAt(document, path))?.shape ?? {});
  const near = nearest(key, known);
  return {
    severity: "error",
    code: "unknown_key",
    message: `there is no key ${JSON.stringify(key)}${path.length > 0 ? ` in ${keyName(path)}` : ""}`,
    place: document.keyAt([...path, key]),
    help: near === undefined ? `known keys: ${known.join(", ")}` : `did you mean ${JSON.stringify(near)}?`,
  };
}

function invalidChoice(
  choices: readonly string[],
  name: string,
  place: Diagnostic["place"],
  document: ConfigDocument,
  path: KeyPath,
): Diagnostic {
  const found = valueIn(document.value, path);
  const near = typeof found === "string" ? nearest(found, choices) : undefined;
  const help = near === undefined ? describe(document, path) : `did you mean ${JSON.stringify(near)}?`;
  return { severity: "error", code: "invalid_value", message: `${name} must be ${choices.join(" or ")}`, place, help };
}

/** `issuers[0].api.token`. */
export function keyName(path: KeyPath): string {
  return (
    path.map((part, at) => (typeof part === "number" ? `[${part}]` : `${at > 0 ? "." : ""}${String(part)}`)).join("") ||
    "the file"
  );
}

interface Schema {
  readonly description?: string | undefined;
  readonly shape?: Readonly<Record<string, Schema>>;
  readonly element?: Schema;
  /** Of a union told apart by `kind`. */
  readonly options?: readonly Schema[];
  readonly values?: ReadonlySet<unknown>;
  readonly unwrap?: () => Schema;
}

/** The schema at a path; of a union, the variant that the file's `kind` names there. */
function schemaAt(document: ConfigDocument, path: KeyPath): Schema | undefined {
  let schema: Schema | undefined = ConfigFile as unknown as Schema;
  for (const [at, part] of path.entries()) {
    const inner: Schema | undefined = bare(schema);
    schema = typeof part === "number" ? inner?.element : inner?.shape?.[String(part)];
    if (schema?.options !== undefined) schema = variant(schema.options, document, path.slice(0, at + 1));
  }
  return schema;
}

function variant(options: readonly Schema[], document: ConfigDocument, path: KeyPath): Schema | undefined {
  const kind = valueIn(document.value, [...path, "kind"]);
  return options.find((option) => kindsOf(option).includes(String(kind))) ?? options[0];
}

function variantsAt(document: ConfigDocument, path: KeyPath): readonly Schema[] {
  return bare(schemaAt(document, path.slice(0, -1)))?.element?.options ?? [];
}

const kindsOf = ({ shape }: Schema): readonly string[] => [...(shape?.kind?.values ?? [])].map(String);

/** The schema inside `optional`. Arrays can be unwrapped too, to their element, which is not meant here. */
function bare(schema: Schema | undefined): Schema | undefined {
  return schema?.shape === undefined && schema?.element === undefined && schema?.unwrap ? schema.unwrap() : schema;
}

function describe(document: ConfigDocument, path: KeyPath): string {
  const schema = schemaAt(document, path);
  return schema?.description ?? bare(schema)?.description ?? "see docs/reference/config.md";
}

function valueIn(value: unknown, path: KeyPath): unknown {
  let found = value;
  for (const part of path) found = (found as Record<PropertyKey, unknown> | null | undefined)?.[part];
  return found;
}

function article(type: string): string {
  const words: Readonly<Record<string, string>> = {
    object: "a map of keys",
    array: "a list",
    string: "text",
    boolean: "true or false",
  };
  return words[type] ?? `a ${type}`;
}
