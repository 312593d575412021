import type { JobIdentity } from "../../core/identity.ts";
import type { CiApiOptions } from "../provider.ts";
import { runningProjectId } from "./claims.ts";

/** Whether a job's log has a text, or why that cannot be said. */
export type JobLogSearch = { readonly found: boolean } | { readonly unread: string };

const maxLogBytes = 64 * 1024 * 1024;

/**
 * Looks for a text in a job's trace (`GET /projects/:id/jobs/:job_id/trace`), which is read as it arrives and not kept: a
 * log may hold anything. Never rejects; what cannot be read says why, without a word of the answer.
 */
export function gitlabJobLog(options: CiApiOptions): (identity: JobIdentity, text: string) => Promise<JobLogSearch> {
  const base = options.baseUrl.replace(/\/+$/, "");
  return async (identity, text) => {
    const path = `/projects/${encodeURIComponent(runningProjectId(identity))}/jobs/${encodeURIComponent(identity.job.id)}/trace`;
    const signal = AbortSignal.timeout(options.timeoutMs);
    try {
      const response = await options.fetch(`${base}${path}`, {
        redirect: "manual",
        headers: { accept: "text/plain", "private-token": options.token },
        signal,
      });
      if (response.status === 200) return await search(response, text);
      await response.body?.cancel();
      return { unread: `GitLab's API answered ${response.status}; its token needs read_api and sight of the job` };
    } catch {
      // No cause is kept: an error about a header can quote the header.
      return { unread: signal.aborted ? "GitLab's API gave no answer in time" : "GitLab's API cannot be reached" };
    }
  };
}

async function search(response: Response, text: string): Promise<JobLogSearch> {
  const decoder = new TextDecoder();
  let size = 0;
  let tail = "";
  for await (const chunk of response.body ?? []) {
    size += chunk.byteLength;
    if (size > maxLogBytes) return { unread: `the job's log is longer than ${maxLogBytes} bytes` };
    tail += decoder.decode(chunk, { stream: true });
    // Leaving the loop ends the download.
    if (tail.includes(text)) return { found: true };
    tail = tail.slice(-text.length);
  }
  return { found: false };
}
