import { stringify } from "yaml";
import { vocabulary } from "../../src/ci/providers.ts";
import { situations } from "../../src/ci/situations.ts";
import { type IssuerType, issuerTypes, type SelectorField } from "../../src/core/identity.ts";
import { cell, generatedNote } from "./markdown.ts";

/** `docs/reference/selectors.md`: every field and every situation of every issuer. */
export function selectorsPage(): string {
  return `${generatedNote}# Selectors

Which jobs a role or a deny is about: \`for: [{ <issuer>: { <field>: <value> } }]\`, where the issuer is a configured name or a type. All fields must
match; a list holds alternatives; \`*\` matches inside one segment, \`**\` across segments. A claim that a token lacks is a mismatch in a role and a
match in a deny. In a role, a selector names at least one *anchor*. Each row below is a test.

Every issuer knows besides: \`kind\` (\`job\`, \`agent\`, \`person\`), \`fork: true\` (also jobs that are, or may be, a fork's; all others match none
of those) and \`caused_by\` (jobs of pipelines that this event started, which match nothing else).

${issuerTypes.map(issuerSection).join("\n")}`;
}

function issuerSection(type: IssuerType): string {
  const fields: Readonly<Record<string, SelectorField>> = vocabulary[type];
  const rows = Object.entries(fields).map(
    ([name, field]) => `| \`${name}\` | ${kindOf(field)} | ${cell(field.doc)} |\n`,
  );
  const kinds = Object.values(situations[type]).map(
    ({ what, says, selector }) => `| ${cell(what)} | ${cell(says)} | \`${cell(written(type, selector))}\` |\n`,
  );
  return `## ${type}

| Field | | Means |
|---|---|---|
${rows.join("")}
| Job | Its CI says | Selector |
|---|---|---|
${kinds.join("")}`;
}

function kindOf({ type, arity, anchors }: SelectorField): string {
  const lists = { one: "", every: "every one must match", any: "any one may match" };
  const words = [anchors ? "anchor" : "", type === "boolean" ? "true or false" : "", lists[arity]];
  return words.filter(Boolean).join(", ");
}

function written(type: IssuerType, selector: object): string {
  return stringify({ [type]: selector }, { collectionStyle: "flow", lineWidth: 0 })
    .trim()
    .replace(/^\{ (.*) \}$/s, "$1");
}
