import type { KeyResponse, KeySummary } from "../api/contract.ts";
import { type CliCommand, jsonOption, operatorOptions, printJson } from "./command.ts";
import { classArgument, clockTime, keyPath, keyText } from "./key-text.ts";
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
        const retiring = found.keys.filter(({ state }) => state === "retiring");
        const lines = retiring.map((key) => ({ label: "before it", text: leaving(key, io.now()) }));
        io.stdout.write(keyText(painter(io, io.stdout), found.key, lines));
      }
      return 0;
    } finally {
      await operator.close();
    }
  },
};

function leaving({ kid, last_token_expires_at }: KeySummary, nowMs: number): string {
  return `${kid} retires by itself at ${clockTime(last_token_expires_at, nowMs)}`;
}
