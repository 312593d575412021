import type { Logger } from "pino";
import type { PolicyListResponse, RolloutResponse } from "../api/contract.ts";
import type { PolicyRouteDeps } from "../api/policy.ts";
import type { JobIdentity } from "../core/identity.ts";
import type { FactReader } from "../session/facts.ts";
import type { Session, SessionTable } from "../session/table.ts";
import type { Disagreement } from "../store/disagreement.ts";
import type { Messaging } from "./messaging.ts";
import type { PolicyRollout } from "./policy-rollout.ts";
import type { LoadedPolicy } from "./policy-source.ts";
import type { RecordReader } from "./surface.ts";

export interface PolicyOperatorDeps {
  readonly rollout: PolicyRollout;
  readonly table: Pick<SessionTable, "all">;
  readonly records: Pick<RecordReader, "disagreements">;
  readonly facts: Pick<FactReader, "refreshAll">;
  readonly messaging: Pick<Messaging, "reconcile">;
  readonly log: Logger;
}

/** The operators' view of the policy in force, and their verbs. */
export function policyOperation(deps: PolicyOperatorDeps): PolicyRouteDeps {
  const { rollout, table, records } = deps;
  // Another policy decides for some jobs: it may ask for other facts, and other events may start pipelines.
  const then = async (verb: Promise<void>): Promise<void> => {
    await verb;
    const reconciled = deps.messaging.reconcile().catch((error: unknown) => {
      deps.log.error({ err: error }, "following the events of a new policy failed");
    });
    await Promise.all([deps.facts.refreshAll(), reconciled]);
  };
  return {
    overview: () => overview(rollout, table.all(), records.disagreements),
    list: () => list(rollout),
    propose: (texts, by) => then(rollout.propose(texts, by)),
    withdraw: (by) => then(rollout.withdraw(by)),
    tryOn: (canary, version, by) => then(rollout.tryOn(canary, version, by)),
    promote: (version, by) => then(rollout.promote(version, by)),
    rollback: (version, by) => then(rollout.rollback(version, by)),
  };
}

async function overview(
  rollout: PolicyRollout,
  sessions: Iterable<Pick<Session, "identity" | "view">>,
  disagreements: RecordReader["disagreements"],
): Promise<RolloutResponse> {
  const { active, change, disk, candidate, canary } = rollout.rolloutState();
  const { policy } = rollout.current();
  const version = active.policy.version;
  const problem = rollout.problem();
  const counted = candidate === undefined ? [] : await disagreements(candidate.policy.version);
  const tried = (identity: JobIdentity) => policy.versionFor(identity) !== version;
  return {
    active: {
      ...described(active),
      how: change?.how ?? "loaded",
      since: iso(change?.at ?? active.loadedAt),
      ...(change?.by === undefined ? {} : { by: change.by }),
      ...(change === undefined ? {} : { replaces: change.replaces }),
    },
    disk: { version: disk, set_aside: disk !== version, ...(problem === undefined ? {} : { problem }) },
    ...(candidate === undefined
      ? {}
      : {
          candidate: {
            ...described(candidate),
            since: iso(candidate.proposedAt),
            by: candidate.by,
            faults: candidate.faults,
          },
          canary: { ...canary, sessions: count(sessions, tried) },
        }),
    disagreements: counted.filter((each) => each.active === version).map(told),
  };
}

function described({ policy, model, files }: LoadedPolicy) {
  return { version: policy.version, roles: model.roles.length, targets: model.targets.length, files };
}

function told({ effect, target, role, reason, count: times, first_ms, last_ms }: Disagreement) {
  return { effect, target, role, reason, count: times, first: iso(first_ms), last: iso(last_ms) };
}

function count(
  sessions: Iterable<Pick<Session, "identity" | "view">>,
  tried: (identity: JobIdentity) => boolean,
): number {
  let found = 0;
  for (const { identity, view } of sessions) if (view.state !== "ended" && tried(identity)) found++;
  return found;
}

async function list(rollout: PolicyRollout): Promise<PolicyListResponse> {
  const { active, candidate, disk, changes } = rollout.rolloutState();
  const kept = await rollout.kept();
  return {
    policies: kept.map(({ version, keptAt }) => {
      const came = changes.findLast((change) => change.version === version);
      const left = changes.findLast((change) => change.replaces === version);
      return {
        version,
        kept_at: iso(keptAt),
        active: version === active.policy.version,
        candidate: version === candidate?.policy.version,
        on_disk: version === disk,
        ...(came === undefined ? {} : { came: { how: came.how, at: iso(came.at), ...(came.by && { by: came.by }) } }),
        ...(left === undefined ? {} : { left: { how: left.how, at: iso(left.at), for: left.version } }),
      };
    }),
  };
}

const iso = (ms: number): string => new Date(ms).toISOString();
