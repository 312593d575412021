import { WayleaveError } from "../core/errors.ts";
import { type CliCommand, type CliWord, caOption, type Input, idTokenOption } from "./command.ts";
import type { CommandIo } from "./command-io.ts";
import { sessionOptions } from "./exec.ts";
import type { NatsAnswer } from "./job/broker.ts";

const formats = ["sh", "dotenv", "json", "url"] as const;

/** Options that say which credential. */
export const natsOptions: readonly CliWord[] = [
  { spec: "--target <name>", doc: "the NATS target (default: the job's only one)" },
  { spec: "--gateway <name>", doc: "the NATS gateway (default: the only one that fronts it)" },
];

export const natsEnv: CliCommand = {
  path: ["nats", "env"],
  summary: "print how this job connects to NATS: address, user and password",
  details: [
    "Prints NATS_URL, NATS_USER and NATS_PASSWORD, which the nats command reads; other clients are handed them. The password is a " +
      'SECRET, and printing it is what this command is for: eval "$(wayleave nats env)" keeps it out of the log. To a terminal, ' +
      "and under CI_DEBUG_TRACE, nothing is printed. Where it fails, what it prints makes eval fail too.",
    "It is good at this one gateway only, for any number of connections, for as long as the job's session is active. The same " +
      "session always gets the same password.",
  ],
  options: [
    ...natsOptions,
    {
      spec: "--format <format>",
      doc: `${formats.join(", ")} (default: sh); url is one URL with user and password in it`,
    },
    idTokenOption,
    caOption,
  ],
  examples: ['nats env > "$TMPDIR/nats.sh"', "nats env --target events --format dotenv", "nats env --format url"],
  async run(io, input) {
    const format = formatOf(input.text("format") ?? "sh");
    const print = async () => {
      refuseTraced(io);
      refuseTerminal(io);
      const answer = await natsCredential(io, input, "password");
      io.stdout.write(await written(answer, format));
      return 0;
    };
    return format === "sh" ? evaluated(io, print) : print();
  },
};

type Format = (typeof formats)[number];

function formatOf(text: string): Format {
  const format = formats.find((known) => known === text);
  if (format !== undefined) return format;
  throw new WayleaveError("invalid_request", `--format ${JSON.stringify(text)} is none of ${formats.join(", ")}.`);
}

/** A trace shows what each command of the script is given. */
function refuseTraced({ env }: Pick<CommandIo, "env">): void {
  if (env.CI_DEBUG_TRACE !== "true") return;
  throw new WayleaveError(
    "invalid_request",
    "CI_DEBUG_TRACE is on, so the password would be printed. Use `wayleave exec --target` or `wayleave nats creds`.",
  );
}

function refuseTerminal({ stdout }: Pick<CommandIo, "stdout">): void {
  if (stdout.isTTY !== true) return;
  throw new WayleaveError(
    "invalid_request",
    'A terminal keeps what it shows. Use it as eval "$(wayleave nats env)", or send it to a file.',
  );
}

async function written(answer: NatsAnswer, format: Format): Promise<string> {
  const { natsVariables, natsUrl } = await import("./job/nats-variables.ts");
  const variables = natsVariables(answer);
  switch (format) {
    case "url":
      return `${natsUrl(answer)}\n`;
    case "json":
      return `${JSON.stringify(variables, null, 2)}\n`;
    case "dotenv":
      return lines(variables, (name, value) => `${name}=${value}`);
    case "sh":
      return lines(variables, (name, value) => `export ${name}=${shellQuoted(value)}`);
  }
}

function lines(variables: Readonly<Record<string, string>>, line: (name: string, value: string) => string): string {
  return Object.entries(variables)
    .map(([name, value]) => `${line(name, value)}\n`)
    .join("");
}

/** One word of POSIX sh, whatever is in it. */
export function shellQuoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

/**
 * For what is printed to be read by `eval`, which takes nothing for success: where the work fails, the shell is told to fail
 * too, so that a job does not go on without a credential.
 */
export async function evaluated<T>({ stdout }: Pick<CommandIo, "stdout">, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (stdout.isTTY !== true) stdout.write("false\n");
    throw error;
  }
}

/** A NATS credential of the job's session, opened or joined. Throws what the broker refuses with. */
export async function natsCredential(io: CommandIo, input: Input, form: "password" | "creds"): Promise<NatsAnswer> {
  const [{ jobSession }, { openedLine }] = await Promise.all([
    import("./job/job-session.ts"),
    import("./job/opened-line.ts"),
  ]);
  const session = await jobSession(io, { ...sessionOptions(input), targets: [] });
  try {
    if (session.opened) io.stderr.write(`${openedLine(io, session.token, true)}\n`);
    const target = input.text("target");
    const gateway = input.text("gateway");
    return await session.broker.nats(session.caller, {
      form,
      ...(target === undefined ? {} : { target }),
      ...(gateway === undefined ? {} : { gateway }),
    });
  } finally {
    await session.broker.close();
  }
}
