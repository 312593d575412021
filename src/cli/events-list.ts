import { type CliCommand, jsonOption, operatorOptions, printJson } from "./command.ts";
import { eventText, type ListedEvent } from "./events-text.ts";
import { connectOperator } from "./operator.ts";
import { painter, printable } from "./terminal.ts";

interface Listed {
  readonly events: readonly ListedEvent[];
  readonly problems: readonly { readonly event: string; readonly problem: string }[];
}

export const eventsList: CliCommand = {
  path: ["events", "list"],
  summary: "list messages that have not started their pipelines: waiting ones and dead letters",
  options: [
    { spec: "--event <name>", doc: "only of this event of the policy (default: all)" },
    { spec: "--dead", doc: "only dead letters: refused or given up" },
    ...operatorOptions,
    jsonOption,
  ],
  examples: ["events list", "events list --event deploy-image --dead"],
  async run(io, input) {
    const operator = await connectOperator(io, input);
    try {
      const listed = await operator.get<Listed>("/v1/events");
      const name = input.text("event");
      const events = listed.events
        .filter(({ event }) => name === undefined || event === name)
        .filter(({ state }) => !input.flag("dead") || state !== "pending");
      const problems = listed.problems.filter(({ event }) => name === undefined || event === name);
      if (input.flag("json")) printJson(io, { events, problems });
      else {
        const paint = painter(io, io.stdout);
        const away = problems.map(
          ({ event, problem }) => `${paint("red", "stopped")}    ${printable(event)}: ${printable(problem)}\n`,
        );
        io.stdout.write(
          away.join("") + (events.map((event) => eventText(paint, event)).join("\n") || "nothing waits\n"),
        );
      }
      return 0;
    } finally {
      await operator.close();
    }
  },
};
