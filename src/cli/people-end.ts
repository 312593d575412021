import { type CliCommand, operatorOptions } from "./command.ts";
import { connectOperator } from "./operator.ts";

export const peopleEnd: CliCommand = {
  path: ["people", "end"],
  summary: "end somebody's sign-in as an operator, now",
  details: ["They may sign in again for as long as their directory and `people.roles` let them."],
  args: [{ spec: "<sign-in>", doc: "id of the sign-in, as `people list` shows it" }],
  options: operatorOptions,
  examples: ["people end sgn_0123456789abcdef"],
  async run(io, input) {
    const operator = await connectOperator(io, input);
    const [id = ""] = input.args;
    try {
      await operator.post(`/v1/sign-ins/${encodeURIComponent(id)}/end`, {});
      io.stdout.write(`${id} is over\n`);
      return 0;
    } finally {
      await operator.close();
    }
  },
};
