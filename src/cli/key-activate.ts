import type { KeyResponse } from "../api/contract.ts";
import { type CliCommand, jsonOption, operatorOptions, printJson } from "./command.ts";
import { classArgument, keyPath, keyText, retiringLines } from "./key-text.ts";
import { connectOperator } from "./operator.ts";
import { painter } from "./terminal.ts";

export const keyActivate: CliCommand = {
  path: ["key", "activate"],
  summary: "let the prepared key sign from now on",
  details: [
    "Refused until every gateway has had time to learn the key. The key that signed until now stays published.",
  ],
  args: [classArgument],
  options: [...operatorOptions, jsonOption],
  examples: ["key activate access-token"],
  async run(io, input) {
    const operator = await connectOperator(io, input);
    try {
      const found = await operator.post<KeyResponse>(keyPath(input, "activate"), {});
      if (input.flag("json")) printJson(io, found);
      else {
        io.stdout.write(keyText(painter(io, io.stdout), found.key, retiringLines(found.keys, io.now())));
      }
      return 0;
    } finally {
      await operator.close();
    }
  },
};
