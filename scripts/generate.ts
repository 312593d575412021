import { mkdirSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { generatedFiles } from "./generated-files.ts";

for (const { path, text } of await generatedFiles()) {
  const absolute = fileURLToPath(new URL(`../${path}`, import.meta.url));
  mkdirSync(dirname(absolute), { recursive: true });
  writeFileSync(absolute, text);
  console.log(path);
}
