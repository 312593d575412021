import { type CliCommand, printJson } from "./command.ts";

export const configSchema: CliCommand = {
  path: ["config", "schema"],
  summary: "print the JSON Schema of wayleave.yaml, for editors",
  examples: ["config schema > wayleave.schema.json"],
  async run(io) {
    const { configJsonSchema } = await import("../config/schema.ts");
    printJson(io, configJsonSchema());
    return 0;
  },
};
