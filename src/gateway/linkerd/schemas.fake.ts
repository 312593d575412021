import { readFileSync } from "node:fs";
import { Ajv2020 } from "ajv/dist/2020.js";

const schemas = JSON.parse(readFileSync(new URL("testdata/schemas.json", import.meta.url), "utf8"));

/** What Linkerd's resource definitions, written down by hand, have against a resource; empty where it is valid. */
export function schemaProblems(resource: { readonly kind: string }): string[] {
  const { $defs, ...kinds } = schemas;
  const schema = kinds[resource.kind];
  if (schema === undefined) return [`no schema for ${resource.kind}`];
  const validate = new Ajv2020({ strict: false, allErrors: true }).compile({ $defs, ...schema });
  return validate(resource) ? [] : (validate.errors ?? []).map((error) => `${error.instancePath} ${error.message}`);
}
