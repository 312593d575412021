import type { TokenResponse } from "../api/contract.ts";
import { WayleaveError } from "../core/errors.ts";
import { type CliCommand, caOption, idTokenOption } from "./command.ts";
import { refuseTraced, sessionOptions } from "./exec.ts";

export const token: CliCommand = {
  path: ["token"],
  summary: "write an access token of this job's session to a file",
  details: [
    "Prints the file's path. The file has mode 0600 and lies outside the project. The token lives a few minutes and is not " +
      "renewed: scripts that run longer use `wayleave exec`. With --stdout the token itself is printed, and nothing else.",
  ],
  options: [
    { spec: "--target <name>", doc: "narrow it to this target (default: all of the job's)", repeats: true },
    { spec: "--stdout", doc: "print the token instead of the file's path; a job's log keeps what is printed" },
    idTokenOption,
    caOption,
  ],
  examples: [
    "token --target billing",
    "token --stdout | sed 's/^/Authorization: Bearer /' | curl -H @- https://billing.internal/",
  ],
  async run(io, input) {
    const stdout = input.flag("stdout");
    if (stdout) refuseTraced(io);
    if (stdout && io.stdout.isTTY) {
      throw new WayleaveError(
        "invalid_request",
        "A terminal keeps what it shows. Pipe --stdout into a command, or leave it out.",
      );
    }
    const [{ jobSession }, { openedLine }, { writePrivate }, { join }] = await Promise.all([
      import("./job/job-session.ts"),
      import("./job/opened-line.ts"),
      import("./job/private-file.ts"),
      import("node:path"),
    ]);
    const session = await jobSession(io, { ...sessionOptions(input), targets: input.list("target") });
    try {
      // What `wayleave verify` looks for in the job's log.
      if (session.opened) io.stderr.write(`${openedLine(io, session.token, true)}\n`);
      refuseBound(session.token);
      const text = session.token.access_token;
      const file = join(session.folder.path, "token");
      if (!stdout) writePrivate(file, text);
      io.stdout.write(`${stdout ? text : file}\n`);
      return 0;
    } finally {
      await session.broker.close();
    }
  },
};

/** A token that is good only with proofs by a key, which stays in the session's handle, would help nobody. */
function refuseBound({ token_type: type, targets }: TokenResponse): void {
  if (type === "Bearer") return;
  const names = targets.map(({ name }) => name).join(", ");
  throw new WayleaveError(
    "proof_required",
    `Each request to ${names} needs a proof by the job's key. Run the command under \`wayleave exec --target ${targets[0]?.name}\`, whose URL makes them.`,
  );
}
