import type { KeyResponse } from "../api/contract.ts";
import { type CliCommand, jsonOption, operatorOptions, printJson } from "./command.ts";
import { classArgument, keyPath, keyText, kidArgument } from "./key-text.ts";
import { connectOperator } from "./operator.ts";
import { painter } from "./terminal.ts";

export const keyRetire: CliCommand = {
  path: ["key", "retire"],
  summary: "take a key out of the key set, once its last token has expired",
  details: ["The broker does this by itself. By hand it also takes back a prepared key that is not wanted."],
  args: [classArgument, kidArgument],
  options: [...operatorOptions, jsonOption],
  examples: ["key retire access-token NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"],
  async run(io, input) {
    const operator = await connectOperator(io, input);
    try {
      const found = await operator.post<KeyResponse>(keyPath(input, "retire"), {});
      if (input.flag("json")) printJson(io, found);
      else io.stdout.write(keyText(painter(io, io.stdout), found.key, []));
      return 0;
    } finally {
      await operator.close();
    }
  },
};
