import { type CliCommand, jsonOption, operatorOptions, printJson } from "./command.ts";
import { eventText, type ListedEvent } from "./events-text.ts";
import { connectOperator } from "./operator.ts";
import { painter } from "./terminal.ts";

export const eventsRetry: CliCommand = {
  path: ["events", "retry"],
  summary: "try a message again that has not started its pipeline",
  details: [
    "It is judged by the policy in force. Where an earlier attempt may have started a pipeline, that one is looked for first. " +
      "The exit status is 0 where the pipeline has started, 3 where it has not.",
  ],
  args: [{ spec: "<key>", doc: "as `wayleave events list` shows it" }],
  options: [...operatorOptions, jsonOption],
  examples: ["events retry deploy-image/IMAGES/17/1790000000000"],
  async run(io, input) {
    const operator = await connectOperator(io, input);
    try {
      const event = await operator.post<ListedEvent>("/v1/events/retry", { key: input.args[0] ?? "" });
      if (input.flag("json")) printJson(io, event);
      else io.stdout.write(eventText(painter(io, io.stdout), event));
      return event.state === "started" ? 0 : 3;
    } finally {
      await operator.close();
    }
  },
};
