import { recordJsonSchema } from "../../src/audit/record-schema.ts";
import { cell, generatedNote, table } from "./markdown.ts";
import { keyRows, meaningOf, type Schema, shapeOf } from "./schema-rows.ts";

interface Published extends Schema {
  readonly $defs?: Readonly<Record<string, Schema>>;
}

/** `docs/reference/records.md`. */
export function recordsPage(): string {
  const { $defs = {}, oneOf = [] } = recordJsonSchema() as Published;
  return `${generatedNote}# Records

Every exchange, credential, decision and message is one record, a line of canonical JSON (RFC 8785) in the journal. \`wayleave audit
list\`, \`audit tail\` and \`audit show\` print them; [the JSON Schema](../../schemas/record.schema.json) checks them. Members with a star are
always there; times in \`data\` are ms since the Unix epoch. No token, key or secret is in any of them: a token is named by a keyed
fingerprint.

## Every record

${membersOf(envelopeOf(oneOf[0]))}
${Object.entries($defs).map(definition).join("\n")}
## Kinds

${oneOf.map(kindSection).join("\n")}`;
}

/** What all kinds have in common: their own `kind` and `data` are told of below it. */
function envelopeOf(kind: Schema = {}): Schema {
  const own = {
    kind: { type: "string", description: "what happened: one of the kinds below" },
    data: { type: "object", description: "the kind's own members" },
  };
  return { ...kind, properties: { ...kind.properties, ...own } };
}

function definition([name, schema]: [string, Schema]): string {
  return `### \`${name}\`\n\n${cell(schema.description ?? "")}\n\n${membersOf(schema)}`;
}

function kindSection({ properties = {}, description = "" }: Schema): string {
  const members = membersOf(properties.data ?? {});
  return `### ${String(properties.kind?.const)}\n\n${description}\n${members === "" ? "" : `\n${members}`}`;
}

function membersOf(schema: Schema): string {
  const rows = keyRows(schema).map(({ key, required, schema: inner }) => [
    `\`${key}\`${required ? " \\*" : ""}`,
    shapeOf(inner),
    meaningOf(inner),
  ]);
  return rows.length === 0 ? "" : table(["Member", "Value", "Meaning"], rows);
}
