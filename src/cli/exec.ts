import { WayleaveError } from "../core/errors.ts";
import { type CliCommand, caOption, type Input, idTokenOption } from "./command.ts";
import type { CommandIo } from "./command-io.ts";

export const exec: CliCommand = {
  path: ["exec"],
  summary: "run a command with this CI job's access",
  details: [
    "Opens the job's session, or joins the one an earlier command opened, and runs the command with:\n" +
      "  WAYLEAVE_<TARGET>_URL  a listener on loopback that attaches and renews the credential\n" +
      "  WAYLEAVE_TOKEN_FILE    an access token, mode 0600, renewed in place\n" +
      "  WAYLEAVE_SESSION       the session's id\n" +
      "  WAYLEAVE_<TARGET>_ADDRESS  host:port on loopback of a tcp target, for --forward\n" +
      "  NATS_URL, NATS_USER, NATS_PASSWORD  where --target names a NATS target\n" +
      "  SPIFFE_ENDPOINT_SOCKET the SPIFFE Workload API, and SDS for the job's own Envoys",
    "Each listener's URL holds a random path: append to it, and treat it as a secret of the job. Requests with another " +
      "Host, and those that a web page makes, are refused. The gateway's certificate must name the target's host.",
    "Signals and the exit status are the command's own (128 and the signal's number where one ended it); without it, the " +
      "statuses below. Refusals are explained on stderr. The session lives on for the job's next command: end it with " +
      "`wayleave end` in after_script, or with --end.",
  ],
  args: [{ spec: "<command...>", doc: "the command and its arguments, after --" }],
  options: [
    {
      spec: "--target <name>",
      doc: "reach this target only; name=https://gateway:8443 says where its gateway is (default: all; WAYLEAVE_TARGET_<NAME>_URL, or the target's own host)",
      repeats: true,
    },
    {
      spec: "--forward <name>",
      doc: "name=port: lead this port on loopback to a tcp target, through the Wayleave proxy that --target name=https://proxy:8780 says",
      repeats: true,
    },
    { spec: "--end", doc: "end the job's session when the command exits" },
    { spec: "--env", doc: "also put the access token into WAYLEAVE_TOKEN; it is not renewed there" },
    idTokenOption,
    caOption,
  ],
  examples: [
    "exec --target billing -- ./release.sh",
    "exec --forward db=5432 --target db=https://proxy.acme.example:8780 -- psql -h 127.0.0.1",
    "exec --target billing=https://edge.acme.example:8443 --end -- make deploy",
  ],
  async run(io, input) {
    const { runCommand } = await import("./job/run-command.ts");
    return runExec(io, input, (command, env) => runCommand(command, env, io.cwd));
  },
};

/** `exec` with the way commands are started as an argument. */
export async function runExec(
  io: CommandIo,
  input: Input,
  start: (command: readonly string[], env: NodeJS.ProcessEnv) => Promise<number>,
): Promise<number> {
  const [{ jobSession }, { execInSession }, { parseTargetOption }, { leaseId }, { trustedCa }, { parseForwardOption }] =
    await Promise.all([
      import("./job/job-session.ts"),
      import("./job/exec-session.ts"),
      import("./job/target-address.ts"),
      import("./job/heartbeat.ts"),
      import("./job/trust.ts"),
      import("./job/tcp-forward.ts"),
    ]);
  const tokenInEnv = input.flag("env");
  if (tokenInEnv) refuseTraced(io);
  const targets = input.list("target").map(parseTargetOption);
  const forwards = input.list("forward").map(parseForwardOption);
  const names = targets.map(({ name }) => name);
  const asked = names.length === 0 ? names : [...new Set([...names, ...forwards.map(({ name }) => name)])];
  const lease = leaseId();
  const session = await jobSession(io, { ...sessionOptions(input), targets: asked, lease });
  const ca = trustedCa(io, input.text("caFile"));
  const options = { targets, forwards, ca, lease, tokenInEnv, end: input.flag("end") };
  return execInSession(io, session, options, (env) => start(input.args, env));
}

/** Options of every command that opens or joins the job's session. */
export function sessionOptions(input: Input): { readonly idTokenEnv?: string; readonly caFile?: string } {
  const idTokenEnv = input.text("idTokenEnv");
  const caFile = input.text("caFile");
  return { ...(idTokenEnv === undefined ? {} : { idTokenEnv }), ...(caFile === undefined ? {} : { caFile }) };
}

/** A debug trace prints every variable: no token goes where it would be printed. */
export function refuseTraced({ env }: Pick<CommandIo, "env">): void {
  if (env.CI_DEBUG_TRACE === "true") {
    throw new WayleaveError(
      "invalid_request",
      "CI_DEBUG_TRACE is on, so the token would be printed. Use WAYLEAVE_TOKEN_FILE or a listener.",
    );
  }
}
