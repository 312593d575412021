import { factTable } from "../../src/core/fact.ts";
import { jobFields, requestFields } from "../../src/policy/condition-scope.ts";
import { defaultVariables } from "../../src/policy/parse-template.ts";
import { policyJsonSchema } from "../../src/policy/schema.ts";
import { cell, generatedNote, table } from "./markdown.ts";
import { keyRows, meaningOf, type Schema, shapeOf } from "./schema-rows.ts";

type Documented = Readonly<Record<string, { readonly type: string; readonly doc: string }>>;

/** `docs/reference/policy.md`. */
export function policyPage(): string {
  const schema = policyJsonSchema() as Schema;
  const sections = Object.keys(schema.properties ?? {});
  return `${generatedNote}# The policy language

YAML files of version 1, loaded whole or not at all. \`wayleave policy check\` reports every problem with file, line and fix;
[the JSON Schema](../../schemas/policy.schema.json) helps editors. What NATS adds: [policy-nats.md](policy-nats.md). Keys with a
star are required; \`<name>\` is a word of yours, or the name of an issuer, a claim or a target. A \`for\` takes what stands under \`who\`.

${sections.map((name) => sectionOf(name, schema)).join("\n")}
## What \`when\` may read

CEL, type-checked when the policy is loaded. What is not there is *missing*: a role then does not apply, a \`deny\` does.

${table(["Name", "Type", "Is"], [...documented("job.", jobFields), ...documented("", factTable), ...documented("request.", requestFields), ["`now`", "timestamp", "the moment of the request"]])}
A condition that reads \`request\` is decided by call-out only.

## What \`\${…}\` may hold

${defaultVariables.map((name) => `\`\${${name}}\``).join(", ")}: from verified claims, one segment; a value that would need escaping is a refusal.
`;
}

function sectionOf(name: string, { properties = {} }: Schema): string {
  const schema = properties[name] ?? {};
  const selector = JSON.stringify(properties.who?.additionalProperties);
  const isSelector = (inner: Schema) => name !== "who" && JSON.stringify(inner) === selector;
  const rows = keyRows({ properties: { [name]: schema } }, "", isSelector).map(({ key, required, schema: inner }) => [
    `\`${key}\`${required ? " \\*" : ""}`,
    shapeOf(inner),
    `${meaningOf(inner)}${examplesOf(inner)}`,
  ]);
  return `## ${name}\n\n${table(["Key", "Value", "Meaning"], rows)}`;
}

function examplesOf({ examples = [] }: Schema): string {
  const shown = examples.map((example) =>
    cell(`\`${typeof example === "string" ? example : JSON.stringify(example)}\``),
  );
  return shown.length === 0 ? "" : `. As ${shown.join(", ")}`;
}

const documented = (prefix: string, fields: Documented) =>
  Object.entries(fields).map(([name, { type, doc }]) => [`\`${prefix}${name}\``, type, cell(doc)]);
