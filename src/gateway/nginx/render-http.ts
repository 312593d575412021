import type { CompiledTarget } from "../../policy/policy.ts";
import type { Argument, Statement } from "./nginx-config.ts";
import { block, directive, variable } from "./nginx-config.ts";
import { breakglassUpstream } from "./render-breakglass.ts";
import { keepHttp } from "./render-keep.ts";
import type { CheckedSettings } from "./settings.ts";

/** Answers of the decision point, as variables that exist (empty) in every server, so that the log format can name them. */
const decisionVariables = [
  "wayleave_assertion",
  "wayleave_cache",
  "wayleave_decision",
  "wayleave_forward",
  "wayleave_job",
  "wayleave_new_traceparent",
  "wayleave_reason",
  "wayleave_record",
  "wayleave_retry_after",
  "wayleave_role",
  "wayleave_session",
  "wayleave_subject",
  "wayleave_target",
] as const;

/** What belongs in `http { }`, once: the connection to Wayleave, variables, the log format and the decision cache. */
export function renderHttp(settings: CheckedSettings): Statement[] {
  return [
    { comment: `Wayleave for gateway ${settings.name}. Include once, in http { }. Rendered; do not edit.` },
    block(
      "upstream",
      ["wayleave"],
      [
        directive("server", settings.broker.address),
        directive("keepalive", "32"),
        directive("keepalive_timeout", "60s"),
      ],
    ),
    ...breakglassUpstream(settings),
    { comment: "Empty until the decision is known." },
    ...decisionVariables.map((name) => block("map", ["", variable(name)], [directive("default", "")])),
    ...derived,
    ...(settings.targets.some(observed) ? observation : []),
    ...logFormat(settings),
    ...(settings.cached || settings.keeps
      ? [directive("js_import", "wayleave", "from", `${settings.directory}/wayleave.js`)]
      : []),
    ...(settings.cached ? cache(settings) : []),
    ...keepHttp(settings),
  ];
}

const derived: readonly Statement[] = [
  { comment: "The caller's Authorization goes on only where it was not Wayleave's." },
  block(
    "map",
    [variable("wayleave_forward"), variable("wayleave_authorization")],
    [directive("default", ""), directive("forward", variable("http_authorization"))],
  ),
  {
    comment: "And so does its proof of possession.",
  },
  block(
    "map",
    [variable("wayleave_forward"), variable("wayleave_proof")],
    [directive("default", ""), directive("forward", variable("http_dpop"))],
  ),
  { comment: "A cached decision names the trace of the request that was decided, so a repeated one keeps its own." },
  block(
    "map",
    [variable("wayleave_cache"), variable("wayleave_traceparent")],
    [
      directive("default", variable("wayleave_new_traceparent")),
      directive("~^(HIT|STALE)$", variable("http_traceparent")),
    ],
  ),
  block(
    "map",
    [variable("wayleave_traceparent"), variable("wayleave_trace")],
    [directive("default", ""), directive("~^00-(?<wayleave_trace_id>[0-9a-f]+)-", variable("wayleave_trace_id"))],
  ),
  {
    comment:
      "Who refused: Wayleave, with a record; Wayleave, because the question itself was wrong; the break-glass responder; or\nNGINX's own rules.",
  },
  block(
    "map",
    [
      [variable("wayleave_decision"), ":", variable("wayleave_record"), ":", variable("wayleave_reason")],
      variable("wayleave_refused_by"),
    ],
    [
      directive("default", "gateway"),
      directive("~^deny::breakglass_", "breakglass"),
      directive("~^deny::", "question"),
      directive("~^deny:", "wayleave"),
    ],
  ),
  { comment: "Queries can hold secrets: the log has only the path, raw." },
  block(
    "map",
    [variable("request_uri"), variable("wayleave_path")],
    [directive("default", ""), directive("~^(?<wayleave_raw_path>[^?]*)", variable("wayleave_raw_path"))],
  ),
];

/** An observed target must never be the reason that traffic stops: without an answer its requests pass, as `outage`. */
export const observed = (target: CompiledTarget): boolean => target.mode === "observe";

const heard = (header: string) => variable(`upstream_http_x_wayleave_${header}`);

/** Base64url of `{"alg":"ES256","typ":"at+jwt",`: how each of Wayleave's own access tokens begins. */
const ownToken = "eyJhbGciOiJFUzI1NiIsInR5cCI6ImF0K2p3dCIs";

/** Volatile: the answer is that of the question, not of what the same variable was before. */
const observation: readonly Statement[] = [
  {
    comment:
      "Observed targets: where Wayleave gives no answer, the request passes and its log line says outage.\nThe caller's Authorization then goes on unless it looks like Wayleave's.",
  },
  ...["decision", "reason"].map((name) =>
    block(
      "map",
      [heard(name), variable(`wayleave_observed_${name}`)],
      [directive("volatile"), directive("default", "outage"), directive("~.", heard(name))],
    ),
  ),
  block(
    "map",
    [heard("decision"), variable("wayleave_observed_forward")],
    [
      directive("volatile"),
      directive("default", variable("wayleave_foreign")),
      directive("~.", heard("authorization")),
    ],
  ),
  block(
    "map",
    [variable("http_authorization"), variable("wayleave_foreign")],
    [directive("default", "forward"), directive(`~*^(bearer|dpop)[[:blank:]]+${ownToken}`, "")],
  ),
];

function logFormat(settings: CheckedSettings): Statement[] {
  const fields: readonly (readonly [string, string])[] = [
    ["time", "time_iso8601"],
    ["msec", "msec"],
    ["method", "request_method"],
    ["host", "host"],
    ["path", "wayleave_path"],
    ["protocol", "server_protocol"],
    ["status", "status"],
    ["upstream_status", "upstream_status"],
    ["seconds", "request_time"],
    ["target", "wayleave_target"],
    ["decision", "wayleave_decision"],
    ["reason", "wayleave_reason"],
    ["record", "wayleave_record"],
    ["session", "wayleave_session"],
    ["subject", "wayleave_subject"],
    ["job", "wayleave_job"],
    ["role", "wayleave_role"],
    ["trace", "wayleave_trace"],
    ["cache", "wayleave_cache"],
  ];
  const pieces = fields.flatMap(([name, source]) => [`","${name}":"`, variable(source)]);
  const line: Argument = [`{"gateway":"${settings.name}`, ...pieces, '"}'];
  return [directive("log_format", "wayleave", "escape=json", line)];
}

function cache(settings: CheckedSettings): Statement[] {
  return [
    { comment: "Decisions that Wayleave marked as repeatable. The key is a hash: no token is ever in a cache file." },
    directive("js_set", variable("wayleave_cache_key"), "wayleave.cacheKey"),
    directive(
      "proxy_cache_path",
      settings.cachePath,
      "levels=1:2",
      "keys_zone=wayleave:1m",
      "inactive=10s",
      "max_size=64m",
      "use_temp_path=off",
    ),
  ];
}
