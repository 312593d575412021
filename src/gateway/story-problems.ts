/** What can be wrong with a story. Codes are public: never renamed, never reused. */
export const problemCodes = {
  job_log_line_missing: "the job's own log does not say that it opened the session",
  opening_missing: "nothing says how the session came to be",
  token_missing: "requests were made, but no token was minted",
  end_missing: "the session is over, but nothing says how it ended",
  entry_missing: "a gateway's own log has no line for a request that was decided for it",
  inner_hop_missing: "a request was passed on, and the next hop knows nothing of it",
  front_hop_missing: "an inner hop served a request that no hop in front knows",
  refused_past_front: "an inner hop refused a request that no hop in front passed on",
  gateway_silent: "a gateway that enforces by itself has sent no log at all",
  gateway_quiet:
    "a gateway that enforces by itself lives, and has sent no log: nobody came, or its log does not arrive",
  mesh_silent: "the mesh's metrics know of no connection with proven identities",
  decision_unknown: "a gateway names a decision that is not in the log",
  decision_reused: "two requests claim one decision",
  session_differs: "a hop saw another session",
  subject_differs: "a hop saw another subject",
  role_differs: "a hop saw another role",
  target_differs: "a hop saw another target",
  request_differs: "a hop saw another method, host or path",
  trace_differs: "a hop saw another trace",
  policy_differs: "two hops went by different policies",
  status_differs: "a hop answered something else than the hop in front of it was told",
  peer_differs: "the mutual TLS peer is not the gateway in front",
  outcome_differs: "a gateway says another decision than was made",
  served_though_refused: "what was refused was served",
  refused_though_allowed: "what was allowed was refused",
  served_after_end: "a request was served after the session's end",
  nats_opening_missing: "a connection's messages or end are recorded, and its beginning is not",
  nats_close_missing: "the session is over, and one of its NATS connections has no final record",
  nats_totals_missing: "nats-server did not tell its own counts of a connection",
  nats_counts_differ: "nats-server counted other messages of a connection than the gateway",
  nats_records_differ: "the records of a connection's messages are not what the gateway counted",
  nats_closed_late: "a NATS connection was closed too long after the session's end",
  nats_unrecorded: "a job talked to nats-server itself: its messages have no records",
  mesh_plaintext: "a workload of the mesh took requests without mutual TLS",
} as const;
export type ProblemCode = keyof typeof problemCodes;

const missing: ReadonlySet<ProblemCode> = new Set([
  "job_log_line_missing",
  "opening_missing",
  "token_missing",
  "end_missing",
  "entry_missing",
  "inner_hop_missing",
  "front_hop_missing",
  "gateway_silent",
  "mesh_silent",
  "nats_opening_missing",
  "nats_close_missing",
  "nats_totals_missing",
] satisfies ProblemCode[]);

/** Worth a look, but nothing got through and every hop still confirms the others: anybody can knock at a door. */
const notes: ReadonlySet<ProblemCode> = new Set([
  "refused_past_front",
  "gateway_quiet",
  "nats_unrecorded",
] satisfies ProblemCode[]);

/** A hop that is missing, or that contradicts another; or a note. */
export interface Problem {
  readonly code: ProblemCode;
  readonly kind: "missing" | "contradiction" | "note";
  /** Which hop: `job log`, `token`, `end`, or a gateway's name. */
  readonly hop: string;
  /** What was found, or looked for and where. */
  readonly found: string;
  /** The two likeliest causes, likeliest first. */
  readonly causes: readonly [string, string];
  /** Records to look at. */
  readonly records: readonly string[];
}

export function problem(
  code: ProblemCode,
  hop: string,
  found: string,
  causes: readonly [string, string],
  records: readonly (string | undefined)[] = [],
): Problem {
  return {
    code,
    kind: notes.has(code) ? "note" : missing.has(code) ? "missing" : "contradiction",
    hop,
    found,
    causes,
    records: records.filter((id) => id !== undefined),
  };
}
