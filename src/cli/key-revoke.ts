import type { KeyRevocationResponse } from "../api/contract.ts";
import { type CliCommand, jsonOption, operatorOptions, printJson } from "./command.ts";
import { classArgument, keyPath, keyText, kidArgument, revocationLines } from "./key-text.ts";
import { connectOperator } from "./operator.ts";
import { painter } from "./terminal.ts";

export const keyRevoke: CliCommand = {
  path: ["key", "revoke"],
  summary: "refuse everything a key ever signed, at once and for good",
  details: [
    "For a key that leaked. If it signs, the prepared key takes over, or a new one is made. Jobs that hold a token of it are refused until they have another.",
  ],
  args: [classArgument, kidArgument],
  options: [...operatorOptions, jsonOption],
  examples: ["key revoke access-token NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"],
  async run(io, input) {
    const operator = await connectOperator(io, input);
    try {
      const found = await operator.post<KeyRevocationResponse>(keyPath(input, "revoke"), {});
      if (input.flag("json")) printJson(io, found);
      else {
        const { key, gateways } = found;
        io.stdout.write(keyText(painter(io, io.stdout), key, revocationLines(found, io.now()), gateways));
      }
      return 0;
    } finally {
      await operator.close();
    }
  },
};
