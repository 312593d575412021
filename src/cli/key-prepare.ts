import type { KeyResponse } from "../api/contract.ts";
import { type CliCommand, jsonOption, operatorOptions, printJson } from "./command.ts";
import { classArgument, clockTime, keyPath, keyText } from "./key-text.ts";
import { connectOperator } from "./operator.ts";
import { painter } from "./terminal.ts";

export const keyPrepare: CliCommand = {
  path: ["key", "prepare"],
  summary: "publish a new signing key, so that every gateway knows it before it signs",
  details: ["Where a key of the class is prepared already, that one is shown: running it twice is running it once."],
  args: [classArgument],
  options: [...operatorOptions, jsonOption],
  examples: ["key prepare access-token"],
  async run(io, input) {
    const operator = await connectOperator(io, input);
    try {
      const found = await operator.post<KeyResponse>(keyPath(input, "prepare"), {});
      if (input.flag("json")) printJson(io, found);
      else {
        const { key, gateways } = found;
        const usable = Date.parse(key.usable_at ?? "") <= io.now();
        const when = usable ? "now" : `after ${clockTime(key.usable_at, io.now())}`;
        const next = { label: "next", text: `activate it ${when}: wayleave key activate ${key.class}` };
        io.stdout.write(keyText(painter(io, io.stdout), key, [next], gateways));
      }
      return 0;
    } finally {
      await operator.close();
    }
  },
};
