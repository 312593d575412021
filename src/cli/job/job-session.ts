import { randomBytes } from "node:crypto";
import type { TokenResponse } from "../../api/contract.ts";
import { WayleaveError } from "../../core/errors.ts";
import type { CommandIo } from "../command-io.ts";
import { Broker, type Caller } from "./broker.ts";
import { ciJob, isCiJob } from "./ci-job.ts";
import { type Handle, HandleFolder } from "./handle.ts";
import { createProofKey, importProofKey, type ProofKey } from "./proof-key.ts";
import { retrying } from "./retry.ts";
import { type SubjectSource, subjectSource } from "./subject-token.ts";
import { trustedCa } from "./trust.ts";

export interface SessionOptions {
  readonly idTokenEnv?: string;
  readonly caFile?: string;
  /** Target names to narrow the access token to; empty: everything the job may reach. */
  readonly targets: readonly string[];
  /** This command's lease: beaten when the session turns out to be suspended. */
  readonly lease?: string;
}

/** The job's session, opened by this command or by an earlier one. */
export interface JobSession {
  readonly broker: Broker;
  readonly folder: HandleFolder;
  readonly caller: Caller & { readonly refreshToken: string };
  readonly opened: boolean;
  readonly trace: string;
  readonly token: TokenResponse;
  /** Another access token, by refresh, or by a fresh identity token where the session's end comes near and the CI gives one. */
  renew(): Promise<TokenResponse>;
  /** An access token of the session for other targets than those it was asked for. */
  renewFor(targets: readonly string[]): Promise<TokenResponse>;
}

/** Sessions whose end is nearer than this are renewed with a fresh identity token, where the CI gives one. */
const renewBeforeEndMs = 10 * 60_000;

/**
 * Joins the job's session, or opens it: two commands of one job, in a row or at once, exchange once. Throws what the broker
 * refuses with, `broker_unreachable` after five tries, `invalid_request` outside a CI job.
 */
export async function jobSession(io: CommandIo, options: SessionOptions): Promise<JobSession> {
  const ca = trustedCa(io, options.caFile);
  const source = lazySource(io, options);
  const { folder, subject } = await locate(io, source);
  return folder.locked(io, async () => {
    const handle = folder.read();
    const joined = await join(io, options, { folder, handle, source, ca });
    return joined ?? open(io, options, folder, subject ?? source(), ca, handle);
  });
}

/** The pipeline's variables say which job this is; only where they do not must the token be looked into. */
async function locate(
  io: CommandIo,
  source: () => SubjectSource,
): Promise<{ readonly folder: HandleFolder; readonly subject?: SubjectSource }> {
  try {
    return { folder: new HandleFolder(io, ciJob(io)) };
  } catch (error) {
    if (!(error instanceof WayleaveError) || isCiJob(io)) throw error;
    const subject = source();
    return { folder: new HandleFolder(io, ciJob(io, await subject.token())), subject };
  }
}

async function open(
  io: CommandIo,
  options: SessionOptions,
  folder: HandleFolder,
  source: SubjectSource,
  ca: readonly string[] | undefined,
  before: Handle | undefined,
): Promise<JobSession> {
  const key = createProofKey();
  const trace = before?.trace ?? randomBytes(16).toString("hex");
  const runnerSvid = io.env.WAYLEAVE_RUNNER_SVID;
  const broker = new Broker({
    url: source.brokerUrl,
    ca,
    now: io.now,
    trace,
    ...(runnerSvid ? { runnerSvid } : {}),
  });
  const idempotencyKey = randomBytes(24).toString("base64url");
  try {
    const subjectToken = await retrying(io, () => source.token());
    const token = await retrying(io, () => broker.exchange(subjectToken, key, idempotencyKey, options.targets));
    return live(io, options, { broker, folder, key, trace, opened: true, source: () => source }, token);
  } catch (error) {
    await broker.close();
    throw ownEnd(error, before) ?? error;
  }
}

/** The job's one token was used by its own session, and the job ended that itself: no thief, and a plainer story. */
function ownEnd(error: unknown, before: Handle | undefined): WayleaveError | undefined {
  if (before?.endedAt === undefined) return undefined;
  if (!(error instanceof WayleaveError) || error.code !== "subject_token_replayed") return undefined;
  return new WayleaveError(
    "session_ended",
    `This job ended its session ${before.sessionId} itself (${before.endedAt}), and its token opens no second one. Run \`wayleave end\` after the last command.`,
    { cause: error },
  );
}

/** The session of an earlier command; undefined where there is none, or the broker knows nothing of it. */
async function join(
  io: CommandIo,
  options: SessionOptions,
  from: {
    readonly folder: HandleFolder;
    readonly handle: Handle | undefined;
    readonly source: () => SubjectSource;
    readonly ca: readonly string[] | undefined;
  },
): Promise<JobSession | undefined> {
  const { folder, handle, source, ca } = from;
  if (handle?.credential === undefined || Date.parse(handle.expiresAt) <= io.now()) return undefined;
  const { brokerUrl, trace, sessionId, credential } = handle;
  const key = importProofKey(credential.key);
  const broker = new Broker({ url: brokerUrl, ca, now: io.now, trace });
  const caller = { key, sessionId, refreshToken: credential.refreshToken };
  try {
    const token = await retrying(io, () => refreshed(broker, caller, options));
    return live(io, options, { broker, folder, key, trace, opened: false, source }, token);
  } catch (error) {
    await broker.close();
    if (error instanceof WayleaveError && error.code === "refresh_token_invalid") return undefined;
    throw error;
  }
}

interface Ground {
  readonly broker: Broker;
  readonly folder: HandleFolder;
  readonly key: ProofKey;
  readonly trace: string;
  readonly opened: boolean;
  readonly source: () => SubjectSource;
}

function live(io: CommandIo, options: SessionOptions, ground: Ground, token: TokenResponse): JobSession {
  const { broker, folder, key, trace } = ground;
  const caller = { key, sessionId: token.session_id, refreshToken: token.refresh_token };
  const keep = (latest: TokenResponse): TokenResponse => {
    endsAt = Date.parse(latest.session_expires_at);
    folder.write({
      brokerUrl: broker.url,
      sessionId: latest.session_id,
      expiresAt: latest.session_expires_at,
      trace,
      credential: { key: key.jwk, refreshToken: latest.refresh_token },
    });
    return latest;
  };
  let endsAt = 0;
  keep(token);
  return {
    broker,
    folder,
    caller,
    trace,
    opened: ground.opened,
    token,
    async renew() {
      if (endsAt - io.now() < renewBeforeEndMs) {
        const source = renewableSource(ground.source);
        if (source !== undefined) {
          const idempotencyKey = randomBytes(24).toString("base64url");
          return keep(await broker.exchange(await source.token(), key, idempotencyKey, options.targets));
        }
      }
      return refreshed(broker, caller, options);
    },
    renewFor: (targets) => refreshed(broker, caller, { ...options, targets }),
  };
}

/** A refresh; a session that fell silent while the network was away is first woken by this command's heartbeat. */
async function refreshed(
  broker: Broker,
  caller: Caller & { readonly refreshToken: string },
  options: SessionOptions,
): Promise<TokenResponse> {
  const refresh = () => broker.refresh(caller.refreshToken, caller.key, options.targets);
  try {
    return await refresh();
  } catch (error) {
    if (!(error instanceof WayleaveError) || error.code !== "session_suspended" || options.lease === undefined)
      throw error;
    await broker.beat(caller, options.lease);
    return refresh();
  }
}

function lazySource(io: CommandIo, options: SessionOptions): () => SubjectSource {
  let found: SubjectSource | undefined;
  return () => {
    found ??= subjectSource(io, options.idTokenEnv === undefined ? {} : { idTokenEnv: options.idTokenEnv });
    return found;
  };
}

function renewableSource(source: () => SubjectSource): SubjectSource | undefined {
  try {
    const found = source();
    return found.renewable ? found : undefined;
  } catch {
    return undefined; // a later command of the job need not have the identity token
  }
}
