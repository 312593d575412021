import { createHash, randomBytes } from "node:crypto";
import { rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { FastifyPluginAsync } from "fastify";
import type { Logger } from "pino";
import { localOperator } from "../api/operator-caller.ts";
import { type OperatorGuardDeps, operatorGuard } from "../api/operator-guard.ts";
import { operatorToken, peopleRoutes, signedInCaller, signInRoutes } from "../api/people.ts";
import type { Config, PeopleConfig } from "../config/config.ts";
import type { Clock } from "../core/clock.ts";
import { asWayleaveError } from "../core/errors.ts";
import { isOperatorRecord, type OperatorRefused } from "../core/operator-record.ts";
import type { AuditEvent, Recorder } from "../core/record.ts";
import { createProofVerifier } from "../credential/proof.ts";
import { createRefusalFlood } from "../gateway/refusal-flood.ts";
import { verifyIdToken } from "../identity/id-token.ts";
import { createKeySource } from "../identity/jwks.ts";
import { trustingFetch } from "../identity/trusting-fetch.ts";
import type { SignInTable } from "../people/sign-in-table.ts";
import { bootstrapTtlMs, SignIns, sha256 } from "../people/sign-ins.ts";

export interface PeopleDeps {
  readonly config: Config;
  readonly clock: Clock;
  readonly recorder: Recorder;
  readonly signIns: SignInTable;
  /** Must not throw. */
  note(event: AuditEvent): void;
  readonly log: Logger;
}

/** The operators' side: on the socket, and where `people:` is configured on the public listener below `/operator`. */
export interface People {
  /** All routes of the operators' side, as the socket serves them. */
  local(routes: readonly FastifyPluginAsync[]): FastifyPluginAsync;
  /** The same for people; serves nothing where nobody can sign in. */
  remote(routes: readonly FastifyPluginAsync[]): FastifyPluginAsync;
  /** Where the bootstrap token lies, while it is good. */
  readonly bootstrapFile?: string;
}

/** Refusals recorded in a minute at most: of people whom the directory knows, and of everybody else. */
const recordedPerMinute = 60;

export async function connectPeople(deps: PeopleDeps): Promise<People> {
  const { config, recorder, note } = deps;
  const recording: Pick<OperatorGuardDeps, "append" | "note"> = {
    append: async (event) => void (await recorder.append([event])),
    note,
  };
  const local = (signIns: SignIns | undefined) => (routes: readonly FastifyPluginAsync[]) =>
    operatorGuard([...routes, peopleRoutes({ signIns })], {
      ...recording,
      caller: async () => localOperator,
      good: () => true,
      onRefused: () => undefined,
    });
  const { people } = config;
  if (people === undefined) return { local: local(undefined), remote: () => async () => undefined };
  const bootstrapFile = await prepareBootstrap(deps);
  const floods = [0, 1].map(() => createRefusalFlood(deps.clock, recordedPerMinute));
  const onRefused = (data: OperatorRefused) =>
    floods[data.who === undefined ? 0 : 1]?.((more) =>
      note({ kind: "operator.refused", data: { ...data, detail: `${data.detail}${more}` } }),
    );
  const signIns = openSignIns(deps, people, onRefused);
  const proofs = createProofVerifier();
  const proof = {
    issuerUrl: config.issuer,
    proof: (text: string, request: { method: string; url: string; token?: string }) =>
      proofs.verify(text, request, deps.clock.now()),
  };
  return {
    local: local(signIns),
    remote: (routes) => async (app) => {
      const options = { issuer: people.issuer, client_id: people.clientId, scope: people.scopes.join(" ") };
      await app.register(
        signInRoutes({
          ...proof,
          options,
          signIns,
          onRefused: (error, from) => onRefused({ ...codeAndDetail(error), action: "login", from }),
        }),
        { prefix },
      );
      const guard = operatorGuard([...routes, peopleRoutes({ signIns })], {
        ...recording,
        caller: (request) => signedInCaller({ ...proof, signIns }, request),
        good: ({ signIn }) => signIns.list().some((each) => each.sign_in === signIn?.sign_in),
        onRefused: (error, action, request) => {
          const token = operatorToken(request);
          const who = token === undefined ? undefined : signIns.ownerOf(token);
          const known = who === undefined ? {} : { who };
          onRefused({ ...codeAndDetail(error), ...known, action, from: request.ip });
        },
      });
      await app.register(guard, { prefix });
    },
    ...(bootstrapFile === undefined ? {} : { bootstrapFile }),
  };
}

const prefix = "/operator";

function codeAndDetail(error: unknown): { readonly code: string; readonly detail: string } {
  const { code, message } = asWayleaveError(error);
  return { code, detail: message };
}

function openSignIns(deps: PeopleDeps, people: PeopleConfig, onRefused: (data: OperatorRefused) => void): SignIns {
  const { clock, recorder, signIns: table } = deps;
  const { type, issuer, clientId, hostedDomain, groupsClaim, roles, sessionMs, ca } = people;
  const keys = createKeySource({
    issuerUrl: issuer,
    fetch: trustingFetch(ca === undefined ? {} : { caPem: ca }),
    clock,
  });
  const domain = hostedDomain === undefined ? {} : { hostedDomain };
  return new SignIns({
    clock,
    recorder,
    table,
    rules: { type, groupsClaim, roles },
    basis: basisOf(people),
    sessionMs,
    verify: (token) => verifyIdToken({ type, issuer, clientId, ...domain, keys, clock }, token),
    onRefused,
    bootstrapEnded: () => rm(bootstrapPath(deps.config), { force: true }),
  });
}

/** A sign-in outlives no change of who may do what. */
function basisOf({ type, issuer, clientId, groupsClaim, roles, hostedDomain }: PeopleConfig): string {
  const text = JSON.stringify([
    type,
    issuer,
    clientId,
    groupsClaim,
    hostedDomain ?? null,
    Object.entries(roles).sort(),
  ]);
  return createHash("sha256").update(text).digest("hex").slice(0, 16);
}

const bootstrapPath = (config: Config): string => join(config.dataDir, "bootstrap.token");

/**
 * Makes the one bootstrap token of an installation, or takes its file away once it is over. The file is there before the
 * record, so that no token is lost; a file without a record is worth nothing.
 */
async function prepareBootstrap({ config, clock, recorder, signIns, log }: PeopleDeps): Promise<string | undefined> {
  const path = bootstrapPath(config);
  const record = async (event: AuditEvent): Promise<void> => {
    for (const each of await recorder.append([event])) if (isOperatorRecord(each)) signIns.apply(each);
  };
  const now = clock.now();
  if (signIns.bootstrap === undefined) {
    const token = `wlb_${randomBytes(32).toString("base64url")}`;
    const next = `${path}.${randomBytes(6).toString("hex")}`;
    await writeFile(next, `${token}\n`, { mode: 0o600, flag: "wx" });
    await rename(next, path);
    const data = { token_hash: sha256(token), expires_at: now + bootstrapTtlMs };
    await record({ kind: "operator.bootstrap_made", data });
  } else if (!signIns.bootstrapOver && now >= signIns.bootstrap.expiresAt) {
    await record({ kind: "operator.bootstrap_ended", data: { reason: "expired" } });
  }
  if (signIns.bootstrapOver) {
    await rm(path, { force: true });
    return undefined;
  }
  log.warn({ file: path }, "nobody has signed in yet: the bootstrap token in this file makes an operator");
  return path;
}
