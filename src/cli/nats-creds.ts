import { WayleaveError } from "../core/errors.ts";
import { type CliCommand, caOption, type Input, idTokenOption } from "./command.ts";
import type { CommandIo } from "./command-io.ts";
import type { ciJob as CiJobOf } from "./job/ci-job.ts";
import { evaluated, natsCredential, natsOptions, shellQuoted } from "./nats-env.ts";

export const natsCreds: CliCommand = {
  path: ["nats", "creds"],
  summary: "write a NATS credentials file for this job",
  details: [
    "For tools that take a file. It has mode 0600 and holds a SECRET key, good at one Wayleave gateway only, for as long as the " +
      "job's session is active. Prints NATS_URL and NATS_CREDS, the file's path; neither is a secret.",
    "A file in the project folder ends in artifacts and caches, so it is refused there, unless --in-project says otherwise.",
  ],
  options: [
    { spec: "--out <file>", doc: "where to write it" },
    ...natsOptions,
    { spec: "--in-project", doc: "write it also where the file lies in the project folder" },
    idTokenOption,
    caOption,
  ],
  examples: ['nats creds --out "$XDG_RUNTIME_DIR/job.creds"', "nats creds --target events --out /run/job/events.creds"],
  run: (io, input) => evaluated(io, () => write(io, input)),
};

async function write(io: CommandIo, input: Input): Promise<number> {
  const path = await outPath(io, input);
  const { url, creds } = await natsCredential(io, input, "creds");
  if (creds === undefined) throw new WayleaveError("broker_unreachable", "The broker gave no credentials file. Retry.");
  const { writePrivate } = await import("./job/private-file.ts");
  try {
    writePrivate(path, creds);
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    throw new WayleaveError("invalid_request", `${path} cannot be written (${code}). Correct --out.`, { cause });
  }
  io.stdout.write(`export NATS_URL=${shellQuoted(url)}\nexport NATS_CREDS=${shellQuoted(path)}\n`);
  return 0;
}

/** Where the file is to be, before anything is asked for. */
async function outPath(io: CommandIo, input: Input): Promise<string> {
  const [{ ciJob }, { inside }, { statSync }, { resolve }] = await Promise.all([
    import("./job/ci-job.ts"),
    import("./job/handle.ts"),
    import("node:fs"),
    import("node:path"),
  ]);
  const out = input.text("out");
  if (!out) throw new WayleaveError("invalid_request", "--out is missing. See `wayleave nats creds --help`.");
  const path = resolve(io.cwd, out);
  const project = projectFolder(ciJob, io);
  if (project !== undefined && inside(path, project) && !input.flag("inProject")) {
    throw new WayleaveError(
      "invalid_request",
      `${path} lies in the project folder, whose files may become artifacts or caches. Choose another --out, or add --in-project.`,
    );
  }
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory() === true) {
    throw new WayleaveError("invalid_request", `${path} is a folder. Name a file with --out.`);
  }
  return path;
}

function projectFolder(ciJob: typeof CiJobOf, io: CommandIo): string | undefined {
  try {
    return ciJob(io).projectFolder;
  } catch {
    return undefined; // nothing says which job this is: then there is no project folder to keep out of
  }
}
