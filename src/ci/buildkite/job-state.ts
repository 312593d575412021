/** States a Buildkite job never leaves, as REST and webhooks (`passed`, `failed`) and as events (`finished`) say them. */
const terminal: ReadonlySet<string> = new Set([
  "finished",
  "passed",
  "failed",
  "canceled",
  "timed_out",
  "skipped",
  "broken",
  "expired",
  "waiting_failed",
  "blocked_failed",
  "unblocked_failed",
]);

/** True where a Buildkite job's state can never change again; a retry is a new job. */
export function isTerminal(state: string): boolean {
  return terminal.has(state);
}
