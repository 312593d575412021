import { WayleaveError } from "../core/errors.ts";
import type { CommandIo } from "./command-io.ts";

/** One command as data: help, reference page and parser all come from it. */
export interface CliCommand {
  /** `["policy", "check"]`. */
  readonly path: readonly string[];
  /** One line, as an answer to "what does it do?". */
  readonly summary: string;
  /** What the summary cannot say; paragraphs. */
  readonly details?: readonly string[];
  readonly args?: readonly CliWord[];
  readonly options?: readonly CliWord[];
  /** Command lines that work, without the leading `wayleave `. At least one. */
  readonly examples: readonly string[];
  /** Gives the exit status; what it throws is reported in one place. */
  run(io: CommandIo, input: Input): Promise<number>;
}

/** An argument (`<record>`, `[path]`, `[command...]`) or option (`--json`, `--target <name>`, `--target <name...>`). */
export interface CliWord {
  readonly spec: string;
  readonly doc: string;
  /** May be given several times. */
  readonly repeats?: boolean;
}

/** What was typed after the command's name. */
export class Input {
  readonly args: readonly string[];
  readonly #options: Readonly<Record<string, unknown>>;

  constructor(args: readonly string[], options: Readonly<Record<string, unknown>>) {
    this.args = args;
    this.#options = options;
  }

  text(name: string): string | undefined {
    const value = this.#options[name];
    return typeof value === "string" ? value : undefined;
  }

  flag(name: string): boolean {
    return this.#options[name] === true;
  }

  list(name: string): readonly string[] {
    const value = this.#options[name];
    return Array.isArray(value) ? value : [];
  }
}

export const jsonOption: CliWord = { spec: "--json", doc: "print data as JSON instead of text" };
export const configOption: CliWord = {
  spec: "--config <file>",
  doc: "the configuration (default: WAYLEAVE_CONFIG, or ./wayleave.yaml)",
};
/** Which broker a command of operators asks: by its socket, or as whoever signed in. */
export const operatorOptions: readonly CliWord[] = [
  {
    spec: "--broker <url>",
    doc: "a broker that `wayleave login` signed in to (default: the latest, without a configuration here)",
  },
  configOption,
];
export const caOption: CliWord = {
  spec: "--ca-file <file>",
  doc: "PEM certificates to trust beside the system's (default: SSL_CERT_FILE)",
};
export const idTokenOption: CliWord = {
  spec: "--id-token-env <name>",
  doc: "variable that holds the job's identity token (default: WAYLEAVE_ID_TOKEN)",
};

/** The configuration file a command was pointed to. */
export function configPath(io: Pick<CommandIo, "env">, input: Input): string {
  return input.text("config") ?? (io.env.WAYLEAVE_CONFIG || "wayleave.yaml");
}

/** Data for programs: one JSON value and a line break. */
export function printJson(io: Pick<CommandIo, "stdout">, value: unknown): void {
  io.stdout.write(`${JSON.stringify(value, null, 2)}\n`);
}

/** The word given for an option, one of those it knows. Throws `invalid_request` for another. */
export function oneOf<const T extends string>(
  input: Input,
  key: string,
  option: string,
  known: readonly T[],
): T | undefined {
  const given = input.text(key);
  if (given === undefined) return undefined;
  const found = known.find((word) => word === given);
  if (found !== undefined) return found;
  throw new WayleaveError(
    "invalid_request",
    `--${option} ${JSON.stringify(given)} is not known. Say ${known.join(", ")}.`,
  );
}
