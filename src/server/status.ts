import type { StatusResponse } from "../api/contract.ts";
import type { Config } from "../config/config.ts";
import type { KeySourceStatus } from "../identity/jwks.ts";
import type { SessionTable } from "../session/table.ts";
import type { ConnectedIssuer } from "./issuers.ts";
import type { PolicyRollout } from "./policy-rollout.ts";

/** What runs here: policy, issuers, sessions, and everything that is let through without being enforced. */
export function brokerStatus(deps: {
  readonly config: Config;
  readonly policies: PolicyRollout;
  readonly issuers: readonly ConnectedIssuer[];
  readonly table: SessionTable;
  readonly version: string;
}): StatusResponse {
  const { policy, loadedAt } = deps.policies.current();
  const problem = deps.policies.problem();
  const sources = deps.policies.sources();
  const targets = [...policy.targets.values()];
  let active = 0;
  let suspended = 0;
  let lastJobAt = 0;
  for (const session of deps.table.all()) {
    if (session.view.state === "active") active++;
    if (session.view.state === "suspended") suspended++;
    lastJobAt = Math.max(lastJobAt, session.openedAt);
  }
  return {
    version: deps.version,
    policy: {
      version: policy.version,
      loaded_at: new Date(loadedAt).toISOString(),
      observed: targets.filter((target) => target.mode === "observe").map((target) => target.name),
      shared: targets.filter((target) => target.sharesRoutes).map((target) => target.name),
      kept: targets.flatMap(({ name, onOutage }) =>
        onOutage.keepSeconds > 0 ? [{ target: name, seconds: onOutage.keepSeconds }] : [],
      ),
      ...(problem === undefined ? {} : { problem }),
      ...(sources === undefined ? {} : { sources }),
      ...rolloutStatus(deps.policies),
    },
    issuers: deps.issuers.map(({ name, url, keys }) => {
      const known: Partial<KeySourceStatus> = keys?.status() ?? {};
      return {
        name,
        url,
        keys: known.keys ?? 0,
        ...(known.fetchedAt === undefined ? {} : { fetched_at: new Date(known.fetchedAt).toISOString() }),
        ...(known.failure === undefined ? {} : { problem: known.failure }),
      };
    }),
    sessions: { active, suspended },
    ...(lastJobAt === 0 ? {} : { last_job: new Date(lastJobAt).toISOString() }),
  };
}

function rolloutStatus(policies: PolicyRollout): Pick<StatusResponse["policy"], "disk" | "candidate" | "canary"> {
  const { active, disk, candidate, canary } = policies.rolloutState();
  return {
    ...(disk === active.policy.version ? {} : { disk }),
    ...(candidate === undefined ? {} : { candidate: candidate.policy.version }),
    ...(canary.projects.length > 0 || canary.share > 0 ? { canary: true } : {}),
  };
}
