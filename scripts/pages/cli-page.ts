import type { CliCommand } from "../../src/cli/command.ts";
import { allCommands } from "../../src/cli/commands.ts";
import { exitStatuses } from "../../src/cli/exit.ts";
import { cell, generatedNote, table } from "./markdown.ts";

/** `docs/reference/cli.md`. */
export async function cliPage(): Promise<string> {
  const statuses = exitStatuses.map(({ status, means }) => [String(status), means]);
  return `${generatedNote}# Commands

\`wayleave --help\` and \`wayleave <command> --help\` say the same. Data goes to stdout, everything else to stderr; \`--json\` prints
data as JSON, and errors as problem documents (RFC 9457). Colours only on a terminal, and not with \`NO_COLOR\`.

${table(["Exit status", "Means"], statuses)}
\`exec\` gives the command's own status.

${(await allCommands()).map(section).join("\n")}`;
}

function section({ path, summary, details = [], args = [], options = [], examples }: CliCommand) {
  const words = [...args, ...options].map(({ spec, doc, repeats }) => [
    cell(`\`${spec}\``),
    `${cell(doc)}${repeats ? "; repeatable" : ""}`,
  ]);
  const usage = ["wayleave", ...path, ...args.map(({ spec }) => spec)].join(" ");
  return `## ${path.join(" ")}

\`${usage}\`: ${summary}.

${details.map((text) => `${text.includes("\n  ") ? `\`\`\`text\n${text}\n\`\`\`` : text}\n\n`).join("")}${words.length === 0 ? "" : `${table(["", ""], words).replace("|  |  |", "| | |")}\n`}\`\`\`sh
${examples.map((line) => `wayleave ${line}\n`).join("")}\`\`\`
`;
}
