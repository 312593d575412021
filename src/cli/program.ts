import { Command, CommanderError, Option } from "commander";
import packageJson from "../../package.json" with { type: "json" };
import { type CliCommand, Input } from "./command.ts";
import type { CommandIo } from "./command-io.ts";
import { commandsFor, nouns } from "./commands.ts";
import { exitStatuses, reportError } from "./exit.ts";
import { lineWidth, wrap } from "./terminal.ts";

/** Runs one command line (without `node` and the script) and gives the exit status. Never rejects. */
export async function runCli(argv: readonly string[], io: CommandIo): Promise<number> {
  let status = 0;
  const program = buildProgram(io, await commandsFor(argv), async (command, input) => {
    status = await command.run(io, input);
  });
  try {
    await program.parseAsync([...argv], { from: "user" });
    return status;
  } catch (error) {
    // Help and version are thrown too; usage errors were printed by the parser.
    if (error instanceof CommanderError) return error.exitCode === 0 || error.code === "commander.help" ? 0 : 2;
    return reportError(io, error, jsonAsked(argv));
  }
}

/** The parser, with one subcommand for each command; `run` is called with the one that was typed. */
function buildProgram(
  io: CommandIo,
  commands: readonly CliCommand[],
  run: (command: CliCommand, input: Input) => Promise<void>,
): Command {
  const program = new Command("wayleave")
    .description("Verified identity and short-lived access for CI jobs, gone when the job ends.")
    .version(packageJson.version, "--version", "print the version")
    .helpOption("-h, --help", "print help")
    .helpCommand(false)
    .enablePositionalOptions() // a command may have a --version of its own
    .exitOverride()
    .configureOutput({
      writeOut: (text) => io.stdout.write(text),
      writeErr: (text) => io.stderr.write(text),
      outputError: (text, write) =>
        write(`wayleave: ${text.replace(/^error: /, "error  invalid_request\n  why        ")}`),
      getOutHelpWidth: () => lineWidth,
      getErrHelpWidth: () => lineWidth,
      getOutHasColors: () => false,
      getErrHasColors: () => false,
    })
    .addHelpText("after", exampleText(["exec --target billing -- ./release.sh", "policy check"]) + exitText());
  const groups = new Map<string, Command>();
  for (const command of commands) {
    const [first = "", second] = command.path;
    if (second === undefined) {
      addCommand(program, command, first, run);
      continue;
    }
    const group = groups.get(first) ?? addGroup(program, first, command);
    groups.set(first, group);
    addCommand(group, command, second, run);
  }
  return program;
}

function addGroup(program: Command, noun: string, first: CliCommand): Command {
  return program
    .command(noun)
    .description(nouns[noun] ?? noun)
    .helpCommand(false)
    .addHelpText("after", exampleText(first.examples));
}

function addCommand(
  parent: Command,
  command: CliCommand,
  name: string,
  run: (command: CliCommand, input: Input) => Promise<void>,
): void {
  const added = parent
    .command(name)
    .summary(command.summary)
    .description([command.summary, ...(command.details ?? [])].join("\n\n"))
    .showHelpAfterError(`  next       wayleave ${command.path.join(" ")} --help`);
  for (const { spec, doc } of command.args ?? []) added.argument(spec, doc);
  for (const { spec, doc, repeats } of command.options ?? []) {
    const option = new Option(spec, repeats ? `${doc}; repeatable` : doc);
    if (repeats) option.argParser((value: string, before: readonly string[] | undefined) => [...(before ?? []), value]);
    added.addOption(option);
  }
  added.addHelpText("after", exampleText(command.examples) + exitText());
  added.action(async () => {
    await run(command, new Input(added.args, added.opts()));
  });
}

function exampleText(examples: readonly string[]): string {
  return `\n${examples.length === 1 ? "Example" : "Examples"}:\n${examples.map((line) => `  wayleave ${line}\n`).join("")}`;
}

function exitText(): string {
  const words = exitStatuses.map(({ status, means }) => `${status} ${means}`).join(", ");
  return `\n${wrap(`Exit status: ${words}.`, lineWidth).join("\n")}\n`;
}

/** After `--` everything belongs to the command that is run. */
function jsonAsked(argv: readonly string[]): boolean {
  const end = argv.indexOf("--");
  return argv.slice(0, end === -1 ? argv.length : end).includes("--json");
}
