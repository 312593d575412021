import type { SessionSummary } from "../api/contract.ts";
import { type CliCommand, jsonOption, operatorOptions, printJson } from "./command.ts";
import { connectOperator } from "./operator.ts";
import { sessionText } from "./session-show.ts";
import { painter } from "./terminal.ts";

export const sessionEnd: CliCommand = {
  path: ["session", "end"],
  summary: "end somebody's session, now and for good",
  args: [{ spec: "<session>", doc: "a session id, or the id of its CI job" }],
  options: [{ spec: "--because <text>", doc: "why; it is kept in the record" }, ...operatorOptions, jsonOption],
  examples: ['session end ses_0123456789abcdef --because "token pasted into a chat"'],
  async run(io, input) {
    const operator = await connectOperator(io, input);
    try {
      const because = input.text("because");
      const body = because === undefined ? {} : { because };
      const found = await operator.post<SessionSummary>(
        `/v1/sessions/${encodeURIComponent(input.args[0] ?? "")}/end`,
        body,
      );
      if (input.flag("json")) printJson(io, found);
      else io.stdout.write(sessionText(painter(io, io.stdout), found));
      return 0;
    } finally {
      await operator.close();
    }
  },
};
