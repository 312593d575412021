import { WayleaveError } from "../core/errors.ts";
import type { Cause, JobIdentity } from "../core/identity.ts";
import type { StartedPipeline } from "../core/pipeline-start.ts";
import type { CauseTable, OpenStart } from "./cause-table.ts";
import type { EventDeps } from "./ports.ts";
import { whoOf } from "./start-attempts.ts";

/** The cause of the pipeline a job runs in; undefined for a pipeline that no event started. */
export type CauseFor = (identity: JobIdentity) => Promise<Cause | undefined>;

/**
 * Tells an exchange which event started the job's pipeline. The broker's own record of the CI's answer decides. Where a start
 * in the job's project has no answer yet (it was asked for a moment ago, or the answer was lost), the CI is asked which
 * pipeline carries that start's secret name, and the oldest that does is recorded first: whoever copied the name did so from
 * it. Rejects `ci_api_unreachable` where it cannot be asked: without its cause a job would have more rights than policy gives
 * it. Child and downstream pipelines of a started one are not told from others.
 */
export function createCauseResolver(deps: Pick<EventDeps, "recorder" | "starter">, table: Table): CauseFor {
  return async (identity) => {
    const known = recorded(table, identity);
    if (known !== undefined) return known;
    const starter = deps.starter(identity.issuer);
    const open = table.openStarts(identity.issuer).filter((start) => mayBe(start, identity, starter?.source));
    for (const start of open) {
      const found = await starter?.find(start);
      if (found === undefined || found.kind === "unknown") throw unanswered(identity, found?.detail);
      // While it was asked, the answer to the start may have come.
      const stillOpen = table.byCause(start.cause)?.open === true;
      if (found.kind === "found" && stillOpen) await tie(deps, table, start, found.pipeline);
    }
    return recorded(table, identity);
  };
}

type Table = Pick<CauseTable, "causeOf" | "openStarts" | "byCause" | "apply">;

/** From now on the pipeline has its cause, whoever asks. */
async function tie(
  deps: Pick<EventDeps, "recorder">,
  table: Table,
  { cause, issuer }: OpenStart,
  { projectId, pipelineId }: StartedPipeline,
): Promise<void> {
  const data = { cause, issuer, project_id: projectId, pipeline_id: pipelineId, by: "exchange" as const };
  const change = { kind: "event.started" as const, data, ...whoOf(table.byCause(cause)) };
  for (const record of await deps.recorder.append([change])) table.apply(record);
}

/** Only what an identity has of it. */
function recorded(table: Pick<CauseTable, "causeOf">, { issuer, project, pipelineId }: JobIdentity): Cause | undefined {
  const known = table.causeOf(issuer, project.id, pipelineId);
  if (known === undefined) return undefined;
  const { id: _, chain: __, ...cause } = known;
  return cause;
}

/** Whether the job can be of that start's pipeline: same project and ref, and started the way we start. */
function mayBe(start: OpenStart, { project, ref, attributes }: JobIdentity, source: string | undefined): boolean {
  if (![project.path, project.id].includes(start.project) && start.projectId !== project.id) return false;
  if (source !== undefined && attributes.source !== undefined && attributes.source !== source) return false;
  return ref === undefined || ref === start.ref;
}

function unanswered(
  { issuer, project }: JobIdentity,
  why = "There is no credential in issuers[].start.",
): WayleaveError {
  return new WayleaveError(
    "ci_api_unreachable",
    `A pipeline that an event started in ${project.path} is not known yet, and ${issuer} cannot be asked which one it is: ${why} Try again.`,
  );
}
