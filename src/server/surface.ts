import type { Logger } from "pino";
import type { StatusResponse } from "../api/contract.ts";
import type { HookRouteDeps } from "../api/hooks.ts";
import type { OperatorRouteDeps } from "../api/operator.ts";
import { sessionSummary } from "../api/present.ts";
import type { ProjectIdOf } from "../api/project-ids.ts";
import type { SessionRouteDeps } from "../api/session.ts";
import type { TokenRouteDeps } from "../api/token.ts";
import type { Config } from "../config/config.ts";
import type { Clock } from "../core/clock.ts";
import { WayleaveError } from "../core/errors.ts";
import { type AuditRecord, type Recorder, recordJob } from "../core/record.ts";
import { verifyAccessToken } from "../credential/access-token.ts";
import { isProofRefusal, type ProofVerifier } from "../credential/proof.ts";
import type { Limits } from "../gateway/limits.ts";
import { canOperation } from "../policy/can.ts";
import { refusalLines } from "../policy/refusal.ts";
import { sha256 } from "../session/issue.ts";
import type { SessionTimings } from "../session/ports.ts";
import { checkRefreshToken, endedOwner } from "../session/refresh.ts";
import { refusedLeewayMs } from "../session/refused.ts";
import type { Session, SessionTable } from "../session/table.ts";
import type { Disagreement } from "../store/disagreement.ts";
import type { RecordFilter } from "../store/ports.ts";
import type { ConnectedIssuer } from "./issuers.ts";
import type { BrokerKeys } from "./keys.ts";
import { loadedEvent } from "./policy-rollout.ts";
import { type LoadedPolicy, PolicyRefused, type PolicySource } from "./policy-source.ts";
import { projectIds } from "./project-ids.ts";
import type { SessionServices } from "./sessions.ts";

/** Reads of the audit log, over everything durable so far. */
export interface RecordReader {
  query(filter: RecordFilter): Promise<readonly AuditRecord[]>;
  get(id: string): Promise<AuditRecord | undefined>;
  /** Each durable record from now on; returns how to stop. */
  follow(listener: (record: AuditRecord) => void): () => void;
  /** What was counted for a candidate, most first. */
  disagreements(candidate: string): Promise<readonly Disagreement[]>;
}

export interface SurfaceDeps {
  readonly config: Config;
  readonly clock: Clock;
  readonly timings: SessionTimings;
  readonly table: SessionTable;
  readonly recorder: Recorder;
  readonly records: RecordReader;
  readonly policies: PolicySource;
  readonly keys: BrokerKeys;
  readonly issuers: readonly ConnectedIssuer[];
  readonly sessions: SessionServices;
  readonly limits: Limits;
  readonly proofs: ProofVerifier;
  /** SPIFFE ID of the runner that a JWT-SVID proves. Throws. */
  runner(svid: string): Promise<string>;
  readonly log: Logger;
  status(): StatusResponse;
  /** Tells whoever listens on NATS what a webhook said. Must not throw. */
  readonly publish: HookRouteDeps["publish"];
}

/** What each group of routes needs, cut from the broker's parts. */
export function connectSurface(deps: SurfaceDeps): {
  readonly token: TokenRouteDeps;
  readonly session: SessionRouteDeps;
  readonly hooks: HookRouteDeps;
  readonly operator: OperatorRouteDeps;
  readonly projectId: ProjectIdOf;
} {
  return {
    token: tokenDeps(deps),
    session: sessionDeps(deps),
    hooks: hookDeps(deps),
    operator: operatorDeps(deps),
    projectId: projectIds(deps.issuers, deps.table),
  };
}

function proofDeps({ config, proofs, clock }: SurfaceDeps) {
  return {
    issuerUrl: config.issuer,
    proof: (proof: string, request: { method: string; url: string; token?: string }) =>
      proofs.verify(proof, request, clock.now()),
  };
}

function tokenDeps(deps: SurfaceDeps): TokenRouteDeps {
  const { sessions, recorder, keys, clock, policies } = deps;
  return {
    ...proofDeps(deps),
    now: clock.now,
    exchange: sessions.exchange,
    refresh: sessions.refresh,
    note: (event) => recorder.note(event),
    ownerOf: (token) => deps.table.byRefreshHash(sha256(token)),
    fingerprint: keys.fingerprint,
    runner: deps.runner,
    revoke: (token, jkt) => revoke(deps, token, jkt),
    targets: (names, identity) => {
      const { policy } = policies.current();
      return names.map((name) => {
        const { kind = "http", spiffeId } = policy.targetFor(name, identity) ?? {};
        const listed = { name, kind, hosts: policy.hostsFor(name, identity) };
        return spiffeId === undefined ? listed : { ...listed, spiffe_id: spiffeId };
      });
    },
    targetOfResource: (uri) => targetOfResource(policies, uri),
  };
}

/** RFC 7009: a refresh token ends its session, an access token is refused until it would have expired. */
async function revoke(deps: SurfaceDeps, token: string, jkt: string | undefined): Promise<void> {
  const { table, sessions, keys, config, clock } = deps;
  if (token.startsWith("wlr_")) {
    const checked = await checkRefreshToken({ table, lifecycle: sessions.lifecycle, clock }, token, jkt).catch(
      ignoreUnknown,
    );
    if (checked !== undefined) await sessions.lifecycle.end(checked.session, "token_revoked");
    return;
  }
  const verified = await verifyAccessToken(keys.accessToken, config.issuer, token, clock.now()).catch(ignoreUnknown);
  const session = verified === undefined ? undefined : table.find(verified.sessionId);
  if (verified === undefined || session === undefined) return;
  await sessions.lifecycle.record([
    {
      kind: "credential.revoked",
      session: session.id,
      job: recordJob(session.identity),
      // Past its expiry, since a gateway that does not ask may have a clock behind ours.
      data: { jti: verified.jti, until: verified.expiresAt + refusedLeewayMs },
    },
  ]);
}

/** RFC 7009 §2.2: an invalid token is no error. A missing proof is one. */
function ignoreUnknown(error: unknown): undefined {
  if (error instanceof WayleaveError && !isProofRefusal(error) && error.wire.http < 500) return undefined;
  throw error;
}

/** RFC 8693 `resource`: the http target that has the URI's host. */
function targetOfResource(policies: PolicySource, uri: string): string {
  const host = URL.canParse(uri) ? new URL(uri).hostname : "";
  for (const target of policies.current().policy.targets.values())
    if (host !== "" && target.hosts.includes(host)) return target.name;
  throw new WayleaveError("invalid_target", "No target has the host of `resource`; name the target with `audience`.");
}

function sessionDeps(deps: SurfaceDeps): SessionRouteDeps {
  const { sessions, table, clock, timings } = deps;
  return {
    ...proofDeps(deps),
    beatSeconds: timings.beatMs / 1000,
    byRefreshToken: async (token, jkt, options) => {
      const ended = options?.evenEnded === true ? endedOwner(table, token, jkt) : undefined;
      if (ended !== undefined) return ended;
      try {
        return (await checkRefreshToken({ table, lifecycle: sessions.lifecycle, clock }, token, jkt)).session;
      } catch (error) {
        noteStolen(deps, error, token);
        throw error;
      }
    },
    find: (id) => table.find(id),
    beat: sessions.leases.beat,
    release: sessions.leases.release,
    end: (session) => sessions.lifecycle.end(session, "client_end"),
    summary: (session) => summary(deps, session),
    denials: (session, after, waitMs) => denials(deps.records, session, after, waitMs),
    record: (id) => deps.records.get(id),
    explain: (record) => explain(deps, record),
  };
}

/** A session's own refresh token without its key, or one that is nobody's, is what a thief presents. */
function noteStolen({ recorder, keys, table }: SurfaceDeps, error: unknown, token: string): void {
  if (!(error instanceof WayleaveError) || error.code === "session_ended") return;
  const owner = table.byRefreshHash(sha256(token));
  if (owner === undefined) return; // anybody can make one up
  const data = { code: error.code, detail: error.message, token: keys.fingerprint(token) };
  recorder.note({ kind: "refresh.refused", session: owner.id, job: recordJob(owner.identity), data });
}

function summary(deps: SurfaceDeps, session: Session) {
  const { policy } = deps.policies.current();
  return sessionSummary(
    session,
    policy.rolesFor(session.identity).map((role) => role.id),
  );
}

function explain(deps: SurfaceDeps, record: AuditRecord) {
  const session = record.session === undefined ? undefined : deps.table.view(record.session);
  const { title, lines } = refusalLines({
    record,
    now: deps.clock.now(),
    ...(session === undefined ? {} : { session }),
  });
  return { record: record.id, title, lines, source: record };
}

const denialPage = 100;

/** Denials of one session after a record: at once where there are some, else as soon as there is one, or none in time. */
async function denials(
  records: RecordReader,
  session: string,
  after: string | undefined,
  waitMs: number,
): Promise<readonly AuditRecord[]> {
  const fresh = (record: AuditRecord) => record.session === session && record.id > (after ?? "");
  const refused = (record: AuditRecord) =>
    record.kind === "decision" && record.data.outcome !== "allow" && fresh(record);
  let stop: () => void = () => undefined;
  const next = new Promise<readonly AuditRecord[]>((resolve) => {
    const timer = setTimeout(() => resolve([]), waitMs);
    const unfollow = records.follow((record) => refused(record) && resolve([record]));
    stop = () => {
      clearTimeout(timer);
      unfollow();
    };
  });
  try {
    const stored = await records.query({ session, kind: "decision", effect: "deny", limit: denialPage });
    const found = stored.filter(refused).toReversed();
    return found.length > 0 || waitMs === 0 ? found : await next;
  } finally {
    stop();
  }
}

function hookDeps(deps: SurfaceDeps): HookRouteDeps {
  const hooks = new Map(
    deps.issuers.flatMap((issuer) => issuer.hooks).map((hook) => [`${hook.issuer}/${hook.name}`, hook]),
  );
  return {
    now: deps.clock.now,
    hook: (issuer, name) => hooks.get(`${issuer}/${name}`),
    jobOver: deps.sessions.lifecycle.jobOver,
    changed: deps.sessions.facts.refreshProject,
    note: (event) => deps.recorder.note(event),
    publish: deps.publish,
  };
}

function operatorDeps(deps: SurfaceDeps): OperatorRouteDeps {
  const { table, records, policies, sessions, recorder, clock, limits, log } = deps;
  return {
    status: deps.status,
    sessions: () => table.all(),
    find: (id) => table.find(id),
    summary: (session) => summary(deps, session),
    // A job may hold several sessions; a person who ends one means the job.
    end: async (session, because, by) => {
      const { issuer, job } = session.identity;
      const more = { by, ...(because === undefined ? {} : { detail: because }) };
      await Promise.all(table.ofJob(issuer, job.id).map((each) => sessions.lifecycle.end(each, "operator", more)));
    },
    records: records.query,
    record: records.get,
    follow: records.follow,
    explain: (record) => explain(deps, record),
    can: ({ session: id, target, verb, object }) => {
      const session = table.find(id);
      if (session === undefined) throw new WayleaveError("session_not_found", `No session ${id.slice(0, 40)} here.`);
      const { policy } = policies.current();
      const operation = canOperation(policy, session.identity, { target, verb, object });
      const { view, facts } = session;
      return policy.decide({ session: view, narrowing: {}, target, operation, facts, now: clock.now() }, limits);
    },
    async reload() {
      try {
        const loaded = await policies.reload();
        await recordReload(recorder, loaded, log);
        await sessions.facts.refreshAll();
        const problem = policies.problem();
        if (problem !== undefined) throw new WayleaveError("policy_invalid", `In force all the same: ${problem}.`);
        return loaded.policy.version;
      } catch (error) {
        if (error instanceof WayleaveError) await recordReload(recorder, error, log);
        throw error;
      }
    },
  };
}

/** A reload and its outcome, for the record and the log. */
export async function recordReload(
  recorder: Recorder,
  outcome: LoadedPolicy | WayleaveError,
  log: Logger,
): Promise<void> {
  if (outcome instanceof WayleaveError) {
    log.warn({ code: outcome.code }, `the new policy is refused, the running one stays: ${outcome.message}`);
    const problems = outcome instanceof PolicyRefused ? outcome.diagnostics.length : 1;
    await recorder.append([{ kind: "policy.refused", data: { problems, first: outcome.message } }]);
    return;
  }
  const { policy, model, disk } = outcome;
  log.info({ policy: policy.version, roles: model.roles.length }, "policy in force");
  if (disk !== undefined)
    log.warn({ disk }, "the files say what an operator set aside; it stays so until they say something else");
  await recorder.append([loadedEvent(outcome)]);
}
