import { recordJsonSchema } from "../src/audit/record-schema.ts";
import { commands } from "../src/cli/commands.ts";
import { exitStatuses } from "../src/cli/exit.ts";
import { configJsonSchema } from "../src/config/schema.ts";
import { policyJsonSchema } from "../src/policy/schema.ts";

export interface GeneratedFile {
  /** From the repository's root. */
  readonly path: string;
  readonly text: string;
}

/** Everything in the repository that is made from code: schemas for editors, and the reference pages of CLI and configuration. */
export function generatedFiles(): readonly GeneratedFile[] {
  return [
    { path: "schemas/config.schema.json", text: json(configJsonSchema()) },
    { path: "schemas/policy.schema.json", text: json(policyJsonSchema()) },
    { path: "schemas/record.schema.json", text: json(recordJsonSchema()) },
    { path: "docs/reference/cli.md", text: cliPage() },
    { path: "docs/reference/config.md", text: configPage() },
  ];
}

function json(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}

const note = "<!-- Made by `npm run generate`. Do not edit. -->\n";

function cliPage(): string {
  const statuses = exitStatuses.map(({ status, means }) => `| ${status} | ${means} |\n`).join("");
  return `${note}# Commands

\`wayleave --help\` and \`wayleave <command> --help\` say the same. Data goes to stdout, everything else to stderr; \`--json\` prints
data as JSON, and errors as problem documents (RFC 9457). Colours only on a terminal, and not with \`NO_COLOR\`.

| Exit status | Means |
|---|---|
${statuses}
\`exec\` gives the command's own status.

${commands.map(commandSection).join("\n")}`;
}

function commandSection({
  path,
  summary,
  details = [],
  args = [],
  options = [],
  examples,
}: (typeof commands)[number]): string {
  const words = [...args, ...options].map(
    ({ spec, doc, repeats }) => `| ${cell(`\`${spec}\``)} | ${cell(doc)}${repeats ? "; repeatable" : ""} |\n`,
  );
  const usage = ["wayleave", ...path, ...args.map(({ spec }) => spec)].join(" ");
  return `## ${path.join(" ")}

\`${usage}\`: ${summary}.

${details.map((text) => `${text.includes("\n  ") ? `\`\`\`text\n${text}\n\`\`\`` : text}\n\n`).join("")}${words.length === 0 ? "" : `| | |\n|---|---|\n${words.join("")}\n`}\`\`\`sh
${examples.map((line) => `wayleave ${line}\n`).join("")}\`\`\`
`;
}

interface Schema {
  readonly type?: string;
  readonly const?: string;
  readonly description?: string;
  readonly enum?: readonly string[];
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  readonly items?: Schema;
  readonly oneOf?: readonly Schema[];
}

function configPage(): string {
  const rows = keyRows(configJsonSchema() as Schema, "");
  return `${note}# wayleave.yaml

One YAML file. Paths are relative to it. A secret stands in a file (\`…_file\`) or in an environment variable (\`\${NAME}\`; between
\`{\` and \`}\` write it with quotes), never in the file itself. \`wayleave config check\` reports every problem at once;
[the JSON Schema](../../schemas/config.schema.json) helps editors. Keys with a star are required.

| Key | Value | Meaning |
|---|---|---|
${rows.join("")}`;
}

function keyRows(schema: Schema, prefix: string): readonly string[] {
  return Object.entries(schema.properties ?? {}).flatMap(([key, inner]) => {
    const list = inner.type === "array";
    const below = list ? joined(inner.items ?? {}) : inner;
    const name = `${prefix}${key}${list && below.properties ? "[]" : ""}`;
    const star = schema.required?.includes(key) ? " \\*" : "";
    const row = `| \`${name}\`${star} | ${valueOfKey(inner)} | ${cell(inner.description ?? "")} |\n`;
    return [row, ...(below.properties ? keyRows(below, `${name}.`) : [])];
  });
}

/** The variants of a list's entries as one entry: a key that only some of them have says which. */
function joined(schema: Schema): Schema {
  const variants = schema.oneOf;
  if (variants === undefined) return schema;
  const kindOf = ({ properties }: Schema) => properties?.kind?.const ?? "";
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

function valueOfKey(schema: Schema): string {
  if (schema.enum) return schema.enum.map((value) => `\`${value}\``).join(", ");
  if (schema.type === "array") return joined(schema.items ?? {}).properties ? "list" : "list of text";
  const words: Readonly<Record<string, string>> = { object: "map", string: "text", boolean: "true or false" };
  return words[schema.type ?? ""] ?? schema.type ?? "";
}

/** A pipe would end the cell; what looks like a tag would vanish, except in code, where it is shown as it is. */
function cell(text: string): string {
  return text
    .replaceAll("|", "\\|")
    .split("`")
    .map((part, at) => (at % 2 === 0 ? part.replaceAll(/<(?=[A-Za-z])/g, "&lt;") : part))
    .join("`");
}
