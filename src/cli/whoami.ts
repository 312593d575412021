import type { MeResponse } from "../api/contract.ts";
import { actorText } from "../core/person.ts";
import { type CliCommand, jsonOption, operatorOptions, printJson } from "./command.ts";
import { connectOperator } from "./operator.ts";
import { labelled, painter, printable } from "./terminal.ts";

export const whoami: CliCommand = {
  path: ["whoami"],
  summary: "say who you are to a broker as an operator, and what you may do there",
  options: [...operatorOptions, jsonOption],
  examples: ["whoami", "whoami --broker https://wayleave.acme.example --json"],
  async run(io, input) {
    const operator = await connectOperator(io, input);
    try {
      const me = await operator.get<MeResponse>("/v1/me");
      if (input.flag("json")) printJson(io, me);
      else {
        const lines = [
          { label: "you are", text: printable(actorText(me.who)) },
          { label: "roles", text: me.roles.join(", ") },
          ...(me.expires_at === undefined ? [] : [{ label: "until", text: me.expires_at }]),
          { label: "may", text: me.may.join(", ") },
        ];
        io.stdout.write(labelled(painter(io, io.stdout), lines));
      }
      return 0;
    } finally {
      await operator.close();
    }
  },
};
