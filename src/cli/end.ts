import { WayleaveError } from "../core/errors.ts";
import { type CliCommand, caOption } from "./command.ts";
import type { CommandIo } from "./command-io.ts";

export const end: CliCommand = {
  path: ["end"],
  summary: "end this CI job's session, now",
  details: ["For after_script (GitLab) and the pre-exit hook (Buildkite). A session that is over already is no error."],
  options: [caOption],
  examples: ["end"],
  async run(io, input) {
    const [{ HandleFolder }, { ciJob }] = await Promise.all([import("./job/handle.ts"), import("./job/ci-job.ts")]);
    const folder = new HandleFolder(io, ciJob(io, io.env.WAYLEAVE_ID_TOKEN));
    const handle = folder.read();
    if (handle === undefined) {
      io.stderr.write("wayleave: this job has no session to end\n");
      return 0;
    }
    const over = handle.credential === undefined || (await told(io, handle, handle.credential, input.text("caFile")));
    folder.clear();
    const { credential: _, ...rest } = handle;
    folder.write({ ...rest, endedAt: handle.endedAt ?? new Date(io.now()).toISOString() });
    const when = handle.endedAt === undefined ? "" : ` (${handle.endedAt})`;
    io.stderr.write(`wayleave: session ${handle.sessionId} ${over ? `was over already${when}` : "ended"}\n`);
    return 0;
  },
};

type Handle = NonNullable<ReturnType<import("./job/handle.ts").HandleFolder["read"]>>;

/** Tells the broker; true where it says that there is nothing left to end. Throws when it cannot be told. */
async function told(
  io: CommandIo,
  { brokerUrl, sessionId, trace }: Handle,
  credential: NonNullable<Handle["credential"]>,
  caFile: string | undefined,
): Promise<boolean> {
  const [{ Broker }, { importProofKey }, { retrying }, { trustedCa }] = await Promise.all([
    import("./job/broker.ts"),
    import("./job/proof-key.ts"),
    import("./job/retry.ts"),
    import("./job/trust.ts"),
  ]);
  const broker = new Broker({ url: brokerUrl, ca: trustedCa(io, caFile), now: io.now, trace });
  const caller = { key: importProofKey(credential.key), sessionId, refreshToken: credential.refreshToken };
  try {
    await retrying(io, () => broker.end(caller));
    return false;
  } catch (error) {
    if (error instanceof WayleaveError && over.has(error.code)) return true;
    throw error;
  } finally {
    await broker.close();
  }
}

const over: ReadonlySet<string> = new Set([
  "session_ended",
  "session_not_found",
  "refresh_token_invalid",
  "credential_invalid",
]);
