import { recordJsonSchema } from "../src/audit/record-schema.ts";
import { configJsonSchema } from "../src/config/schema.ts";
import { policyJsonSchema } from "../src/policy/schema.ts";
import { apiPage } from "./pages/api-page.ts";
import { cliPage } from "./pages/cli-page.ts";
import { configPage } from "./pages/config-page.ts";
import { openApi } from "./pages/openapi.ts";
import { outagePage } from "./pages/outage-page.ts";
import { policyPage } from "./pages/policy-page.ts";
import { recordsPage } from "./pages/records-page.ts";
import { selectorsPage } from "./pages/selectors-page.ts";

export interface GeneratedFile {
  /** From the repository's root. */
  readonly path: string;
  readonly text: string;
}

/** Everything in the repository that is made from code: schemas for editors and machines, and the reference pages. */
export async function generatedFiles(): Promise<readonly GeneratedFile[]> {
  return [
    { path: "schemas/config.schema.json", text: json(configJsonSchema()) },
    { path: "schemas/openapi.json", text: json(openApi()) },
    { path: "schemas/policy.schema.json", text: json(policyJsonSchema()) },
    { path: "schemas/record.schema.json", text: json(recordJsonSchema()) },
    { path: "docs/reference/api.md", text: apiPage() },
    { path: "docs/reference/cli.md", text: await cliPage() },
    { path: "docs/reference/config.md", text: configPage() },
    { path: "docs/reference/outage.md", text: outagePage() },
    { path: "docs/reference/policy.md", text: policyPage() },
    { path: "docs/reference/records.md", text: recordsPage() },
    { path: "docs/reference/selectors.md", text: selectorsPage() },
  ];
}

function json(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}
