import { sessionIdPattern } from "../core/ids.ts";
import type { EventMessage } from "./ports.ts";

/** Who published a message, as the gateway or the broker wrote it beside the payload. */
export interface Origin {
  readonly spiffeId: string;
  readonly session: string;
  readonly job: string;
  /** `nc_….<number>` through a gateway, `emt_…` from the broker. */
  readonly message: string;
}

/** Headers that only the gateway and the broker may set: clients' own, in any spelling, are stripped on the way. */
export const originHeaders = { job: "Wayleave-Job", message: "Wayleave-Message" } as const;

const jobForm = /^(spiffe:\/\/[a-z0-9._/A-Z-]{1,200});session=(ses_[0-9a-z]{16});job=([A-Za-z0-9._-]{1,128})$/;
const messageForm = /^(?:nc_[0-9a-z]{16}\.[1-9]\d{0,15}|emt_[0-9a-z]{16})$/;

/** The origin in a message's headers; undefined unless both are there once, and are well formed. */
export function readOrigin(message: Pick<EventMessage, "header">): Origin | undefined {
  const [job, ...otherJobs] = message.header(originHeaders.job);
  const [id, ...otherIds] = message.header(originHeaders.message);
  if (job === undefined || id === undefined || otherJobs.length > 0 || otherIds.length > 0) return undefined;
  const [, spiffeId = "", session = "", jobId = ""] = jobForm.exec(job) ?? [];
  if (!sessionIdPattern.test(session) || !messageForm.test(id)) return undefined;
  return { spiffeId, session, job: jobId, message: id };
}
