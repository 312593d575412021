import { errorCodes, WayleaveError } from "../../src/core/errors.ts";
import { failureAnswers, failureErrors, failures } from "../../src/gateway/failure-answers.ts";
import { generatedNote } from "./markdown.ts";

/** How each gateway tells an outage from a denial. */
export function outagePage(): string {
  const rows = Object.entries(failureAnswers).flatMap(([gateway, answers]) =>
    failures.map((failure) => {
      const { client, gateway: told, decision, reason } = answers[failure];
      const exit = new WayleaveError(failureErrors[failure], "").wire.exit;
      const words = [gateway, failure.replaceAll("_", " "), client, told, `\`${decision}\``, `\`${reason}\``, exit];
      return `| ${words.join(" | ")} |\n`;
    }),
  );
  const outages = errorCodes.filter((code) => new WayleaveError(code, "").wire.exit === 5);
  return `${generatedNote}# An outage is no denial

A denial is an answer: the same request gets it again. An outage is none: to try again is right. No status stands for both,
\`X-Wayleave-Decision\` says which it is, and a command that met an outage exits with 5.

| Gateway | What happened | Client sees | Gateway is told | \`X-Wayleave-Decision\` | \`X-Wayleave-Reason\`, such as | Exit of a command |
|---|---|---|---|---|---|---|
${rows.join("")}
A gateway that gets no answer at all says the same as one that is told of an outage. With \`on_outage: keep\` an NGINX goes on for
a while, and its log says \`"cache":"STALE"\`, which is recorded as \`enforced: kept\`.

\`exec\` gives its command's own status, and says on stderr which requests met an outage. An outage at NATS ends the connection with
\`Gateway Unavailable\`, a refusal with \`Authorization Violation\` or \`Permissions Violation\`.

Error codes that mean an outage, everywhere with HTTP 503: ${outages.map((code) => `\`${code}\``).join(", ")}.
`;
}
