import { join } from "node:path";
import type { WayleaveError } from "../../core/errors.ts";
import type { CommandIo } from "../command-io.ts";
import { painter } from "../terminal.ts";
import { keepAccess } from "./access.ts";
import { bearerCredential, boundCredential, type Credential, keepBoundAccess } from "./credential.ts";
import { beat } from "./heartbeat.ts";
import type { JobSession } from "./job-session.ts";
import { type JobSvids, jobSvids } from "./job-svids.ts";
import { type Listener, listenForTarget } from "./listener.ts";
import { askedNatsVariables } from "./nats-variables.ts";
import { openedLine } from "./opened-line.ts";
import { writePrivate } from "./private-file.ts";
import { Refusals } from "./refusals.ts";
import { type TargetRoute, targetRoutes } from "./target-address.ts";
import { type Forward, type ForwardRoute, forwardRoutes, forwardToTarget } from "./tcp-forward.ts";
import { openWorkloadSocket } from "./workload-socket.ts";

export interface ExecOptions {
  readonly targets: readonly { readonly name: string; readonly gateway?: string }[];
  /** Ports on loopback that lead to tcp targets. */
  readonly forwards: readonly { readonly name: string; readonly port: number }[];
  readonly ca: readonly string[] | undefined;
  readonly lease: string;
  /** Put the access token itself into the environment too. */
  readonly tokenInEnv: boolean;
  readonly end: boolean;
}

/** Runs `command` with the session's access around it, and takes all of it away again. Gives the command's status. */
export async function execInSession(
  io: CommandIo,
  session: JobSession,
  options: ExecOptions,
  command: (env: NodeJS.ProcessEnv) => Promise<number>,
): Promise<number> {
  const { broker, caller, folder } = session;
  io.stderr.write(`${openedLine(io, session.token, session.opened)}\n`);
  const { targets, proof_targets: proofTargets = [] } = session.token;
  const nats = await askedNatsVariables(broker, caller, targets, options.targets);
  const routes = targetRoutes(io, [...targets, ...proofTargets], options.targets);
  const forwarded = forwardRoutes(io, targets, options.forwards, options.targets);
  const tokenFile = `token-${options.lease}`;
  const svids = jobSvids(io, broker, caller);
  const workload = await openWorkloadSocket(io, { folder: folder.path, lease: options.lease, source: svids.source });
  const say = noteOnce(io);
  const note = (error: WayleaveError): void => {
    say(error);
    if (isOver(error)) svids.end(error);
  };
  // A token bound to the key is of no use to a command, which has none.
  const bearer = session.token.token_type === "Bearer";
  const access = keepAccess(io, {
    first: session.token,
    renew: session.renew,
    onToken: (token) => {
      if (bearer) writePrivate(join(folder.path, tokenFile), token.access_token);
    },
    onRefused: note,
  });
  const boundAccess = bearer ? await keepBoundAccess(io, session, note) : access;
  const credential = (route: TargetRoute) =>
    bearer && !proofTargets.some(({ name }) => name === route.name)
      ? bearerCredential(access)
      : boundCredential(io, boundAccess ?? access, caller.key, route);
  const heartbeat = beat(io, broker, caller, options.lease, note);
  const refusals = new Refusals(io, session);
  const listeners = await Promise.all(
    routes.map((route) => open(io, session, options, { route, credential: credential(route), refusals, svids })),
  );
  let forwards: readonly Forward[] = [];
  let status = 1;
  try {
    forwards = await Promise.all(
      forwarded.map((route) => openForward(io, options, { route, token: access.current, refusals })),
    );
    status = await command({
      ...io.env,
      WAYLEAVE_SESSION: caller.sessionId,
      ...(bearer ? { WAYLEAVE_TOKEN_FILE: join(folder.path, tokenFile) } : {}),
      ...(workload === undefined ? {} : { SPIFFE_ENDPOINT_SOCKET: workload.url }),
      ...nats,
      ...(options.tokenInEnv && bearer ? { WAYLEAVE_TOKEN: session.token.access_token } : {}),
      ...Object.fromEntries(routes.map(({ variable }, at) => [`WAYLEAVE_${variable}_URL`, listeners[at]?.url])),
      ...Object.fromEntries(
        forwarded.map(({ variable }, at) => [`WAYLEAVE_${variable}_ADDRESS`, forwards[at]?.address]),
      ),
    });
  } finally {
    access.stop();
    boundAccess?.stop();
    await refusals.finish(status !== 0);
    await heartbeat.release();
    await Promise.all([workload?.close(), ...[...listeners, ...forwards].map((open) => open.close())]);
    folder.remove(tokenFile);
    if (options.end) await endSession(io, session);
    await broker.close();
  }
  return status;
}

/** Ends the job's session and empties its handle. An end that cannot be told is left to lease, webhook and expiry, and said. */
async function endSession(io: CommandIo, { broker, caller, folder, token }: JobSession): Promise<void> {
  try {
    await broker.end(caller);
  } catch (error) {
    io.stderr.write(
      `wayleave: session ${caller.sessionId} could not be ended from here: ${(error as Error).message}\n`,
    );
    return;
  }
  const { expiresAt, trace, brokerUrl } = folder.read() ?? {
    expiresAt: token.session_expires_at,
    trace: "",
    brokerUrl: broker.url,
  };
  folder.clear();
  folder.write({ brokerUrl, sessionId: caller.sessionId, expiresAt, trace, endedAt: new Date(io.now()).toISOString() });
  io.stderr.write(`wayleave: session ${caller.sessionId} ended\n`);
}

/** What one listener is given. */
interface Around {
  readonly route: TargetRoute;
  readonly credential: Credential;
  readonly refusals: Refusals;
  readonly svids: JobSvids;
}

function open(
  io: CommandIo,
  { trace }: JobSession,
  { ca }: ExecOptions,
  { route, credential, refusals, svids }: Around,
): Promise<Listener> {
  return listenForTarget({
    route,
    ca,
    trace,
    credential,
    svids: svids.source,
    onRefusal: (record, request) => refusals.seen(record, request),
    onImpostor: (detail) => io.stderr.write(`wayleave: ${painter(io, io.stderr)("red", "not sent")}  ${detail}\n`),
    onOutage: outages(io),
  });
}

function openForward(
  io: CommandIo,
  { ca }: ExecOptions,
  around: { readonly route: ForwardRoute; token(): Promise<string>; readonly refusals: Refusals },
): Promise<Forward> {
  const { route, token, refusals } = around;
  return forwardToTarget({
    ...{ route, ca, token },
    onRefusal: (record, request) => refusals.seen(record, request),
    onOutage: outages(io),
  });
}

/** Says the first few times that nobody answers. */
function outages(io: CommandIo): (detail: string) => void {
  let count = 0;
  return (detail) => {
    count += 1;
    if (count <= 5) io.stderr.write(`wayleave: ${painter(io, io.stderr)("yellow", "no answer")}  ${detail}\n`);
  };
}

const overCodes: ReadonlySet<string> = new Set(["session_ended", "session_not_found", "job_over"]);

/** True for a refusal that no later answer takes back. */
function isOver({ code }: WayleaveError): boolean {
  return overCodes.has(code);
}

/** The session is over: said once, whether the heartbeat or the renewal learns it first. */
function noteOnce(io: CommandIo): (error: WayleaveError) => void {
  let noted = false;
  return (error) => {
    if (noted) return;
    noted = true;
    const paint = painter(io, io.stderr);
    io.stderr.write(`wayleave: ${paint("red", "access is over")}  ${error.code}: ${error.message}\n`);
  };
}
