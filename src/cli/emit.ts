import { WayleaveError } from "../core/errors.ts";
import { type CliCommand, caOption, type Input, idTokenOption, jsonOption, printJson } from "./command.ts";
import type { CommandIo } from "./command-io.ts";
import { sessionOptions } from "./exec.ts";
import { printable } from "./terminal.ts";

/** What the broker takes at /v1/events. */
interface EmitBody {
  readonly type: string;
  readonly data?: unknown;
  readonly subject?: string;
  readonly target?: string;
  readonly key: string;
}

/** What it answers. */
interface Emitted {
  readonly id: string;
  readonly target: string;
  readonly subject: string;
  readonly record: string;
}

export const emit: CliCommand = {
  path: ["emit"],
  summary: "publish an event from this CI job, as a CloudEvent over NATS",
  details: [
    "The broker publishes it in the job's NATS account, where policy lets the job publish there itself: by default on " +
      "build.status.<project id>.<type>. A message that policy lists under events may start a pipeline.",
  ],
  args: [{ spec: "<type>", doc: "what happened, such as image.pushed; it is the event's type" }],
  options: [
    { spec: "--data <json>", doc: "its data: JSON text, or @file for a file of JSON (default: none)" },
    { spec: "--subject <subject>", doc: "NATS subject (default: build.status.<project id>.<type>)" },
    { spec: "--target <name>", doc: "NATS target (default: the only one the job's roles name)" },
    idTokenOption,
    caOption,
    jsonOption,
  ],
  examples: [
    'emit image.pushed --subject image.pushed.shop --data \'{"tag":"1.4.2"}\'',
    "emit tests.passed --data @results.json",
  ],
  async run(io, input) {
    const body = await bodyOf(io, input);
    const [{ jobSession }, { retrying }] = await Promise.all([
      import("./job/job-session.ts"),
      import("./job/retry.ts"),
    ]);
    const targets = body.target === undefined ? [] : [body.target];
    const session = await jobSession(io, { ...sessionOptions(input), targets });
    try {
      const { broker } = session;
      // The key makes the request safe to repeat where an answer was lost.
      const emitted = await retrying(io, () => broker.emit<Emitted>(session.caller, body));
      if (input.flag("json")) printJson(io, emitted);
      else
        io.stdout.write(
          `emitted    ${printable(body.type)}  ${printable(emitted.subject)} at ${printable(emitted.target)}\n  id         ${printable(emitted.id)}\n  record     ${printable(emitted.record)}\n`,
        );
      return 0;
    } finally {
      await session.broker.close();
    }
  },
};

async function bodyOf(io: CommandIo, input: Input): Promise<EmitBody> {
  const { randomBytes } = await import("node:crypto");
  const [type = ""] = input.args;
  const data = await dataOf(io, input.text("data"));
  const subject = input.text("subject");
  const target = input.text("target");
  return {
    type,
    ...(data === undefined ? {} : { data }),
    ...(subject === undefined ? {} : { subject }),
    ...(target === undefined ? {} : { target }),
    key: randomBytes(16).toString("base64url"),
  };
}

const maxDataBytes = 256 * 1024;

async function dataOf(io: CommandIo, given: string | undefined): Promise<unknown> {
  if (given === undefined) return undefined;
  const [{ readFileSync }, { resolve }] = await Promise.all([import("node:fs"), import("node:path")]);
  const file = given.startsWith("@") ? resolve(io.cwd, given.slice(1)) : undefined;
  let text = given;
  try {
    if (file !== undefined) text = readFileSync(file, "utf8");
  } catch (cause) {
    throw new WayleaveError("invalid_request", `--data names ${file}, which cannot be read.`, { cause });
  }
  if (Buffer.byteLength(text) > maxDataBytes)
    throw new WayleaveError(
      "payload_too_large",
      `--data is longer than ${maxDataBytes} bytes; publish where it can be found.`,
    );
  try {
    return JSON.parse(text);
  } catch {
    const fix = "Quote it for the shell, or put it into a file and give --data @file.";
    throw new WayleaveError("invalid_request", `--data is not JSON. ${fix}`);
  }
}
