import { configJsonSchema } from "../../src/config/schema.ts";
import { generatedNote, table } from "./markdown.ts";
import { keyRows, meaningOf, type Schema, shapeOf } from "./schema-rows.ts";

/** `docs/reference/config.md`. */
export function configPage(): string {
  const rows = keyRows(configJsonSchema() as Schema).map(({ key, required, schema }) => [
    `\`${key}\`${required ? " \\*" : ""}`,
    shapeOf(schema),
    meaningOf(schema),
  ]);
  return `${generatedNote}# wayleave.yaml

One YAML file. Paths are relative to it. A secret stands in a file (\`…_file\`) or in an environment variable (\`\${NAME}\`; between
\`{\` and \`}\` write it with quotes), never in the file itself. \`wayleave config check\` reports every problem at once;
[the JSON Schema](../../schemas/config.schema.json) helps editors. Keys with a star are required.

${table(["Key", "Value", "Meaning"], rows)}`;
}
