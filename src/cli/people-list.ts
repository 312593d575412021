import type { SignInSummary } from "../api/contract.ts";
import { actorText } from "../core/person.ts";
import { type CliCommand, jsonOption, operatorOptions, printJson } from "./command.ts";
import { connectOperator } from "./operator.ts";
import { painter, printable, table } from "./terminal.ts";

export const peopleList: CliCommand = {
  path: ["people", "list"],
  summary: "list who is signed in as an operator, oldest first",
  options: [...operatorOptions, jsonOption],
  examples: ["people list", "people list --json"],
  async run(io, input) {
    const operator = await connectOperator(io, input);
    try {
      const found = await operator.get<{ sign_ins: readonly SignInSummary[] }>("/v1/sign-ins");
      if (input.flag("json")) printJson(io, found);
      else if (found.sign_ins.length === 0) io.stdout.write("nobody is signed in\n");
      else {
        const head = ["sign-in", "until", "from", "roles", "who"];
        io.stdout.write(table(painter(io, io.stdout), head, found.sign_ins.map(row)));
      }
      return 0;
    } finally {
      await operator.close();
    }
  },
};

function row({ sign_in: id, who, roles, expires_at: until, from }: SignInSummary): readonly string[] {
  // All of one issuer, which is not repeated.
  const name = who.by === "person" ? `${who.name ?? ""} (${who.sub})`.trimStart() : actorText(who);
  return [id, until.slice(0, 19), from ?? "", roles.join(","), name].map(printable);
}
