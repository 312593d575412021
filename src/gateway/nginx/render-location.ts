import type { CompiledTarget } from "../../policy/policy.ts";
import { forwardedHeaders, identityHeaders, originalHeaders, overrideHeaders, spellings } from "./header-names.ts";
import { keptSeconds } from "./keep-settings.ts";
import type { Argument, Directive, Statement, Variable } from "./nginx-config.ts";
import { directive, variable } from "./nginx-config.ts";
import { observed } from "./render-http.ts";
import { keepNoted } from "./render-keep.ts";
import type { CheckedSettings } from "./settings.ts";

/** Where each variable of the decision comes from: a header of the answer. */
const answers: readonly (readonly [variable: string, header: string])[] = [
  ["wayleave_assertion", "txn_token"],
  ["wayleave_decision", "x_wayleave_decision"],
  ["wayleave_forward", "x_wayleave_authorization"],
  ["wayleave_job", "x_wayleave_job"],
  ["wayleave_new_traceparent", "x_wayleave_traceparent"],
  ["wayleave_reason", "x_wayleave_reason"],
  ["wayleave_record", "x_wayleave_record"],
  ["wayleave_retry_after", "retry_after"],
  ["wayleave_role", "x_wayleave_role"],
  ["wayleave_session", "x_wayleave_session"],
  ["wayleave_subject", "x_wayleave_subject"],
];

/** What the upstream is told. An empty value removes the header, the client's own included. */
const upstreamHeaders: readonly (readonly [name: string, value: Argument])[] = [
  ["Host", variable("host")],
  ["Connection", ""],
  ["X-Real-IP", variable("remote_addr")],
  ["X-Forwarded-For", variable("proxy_add_x_forwarded_for")],
  ["X-Forwarded-Host", variable("host")],
  ["X-Forwarded-Port", variable("server_port")],
  ["X-Forwarded-Proto", variable("scheme")],
  ["Forwarded", ""],
  ["Authorization", variable("wayleave_authorization")],
  ["DPoP", variable("wayleave_proof")],
  ["traceparent", variable("wayleave_traceparent")],
  ["Txn-Token", variable("wayleave_assertion")],
  ["X-Wayleave-Decision", variable("wayleave_decision")],
  ["X-Wayleave-Job", variable("wayleave_job")],
  ["X-Wayleave-Role", variable("wayleave_role")],
  ["X-Wayleave-Session", variable("wayleave_session")],
  ["X-Wayleave-Subject", variable("wayleave_subject")],
];

/** Every header the location removes: all spellings of what it does not set, and every other spelling of what it does. */
const strippedHeaders: readonly string[] = [...identityHeaders, ...overrideHeaders, ...originalHeaders]
  .flatMap(spellings)
  .concat(forwardedHeaders.flatMap(spellings))
  .filter((name) => !upstreamHeaders.some(([set]) => set === name))
  .toSorted((a, b) => (a < b ? -1 : 1));

/** What belongs in each `location` that proxies to the target. */
export function renderLocation(settings: CheckedSettings, target: CompiledTarget): Statement[] {
  return [
    {
      comment: `Wayleave for gateway ${settings.name}: who may pass to target ${target.name}${modeNote(target)}. Rendered; do not edit.`,
    },
    { comment: "Include in each location that proxies to it, beside a proxy_pass without a path." },
    ...(observed(target)
      ? [
          {
            comment:
              "While it is observed, requests pass also when Wayleave does not answer. Render again when policy enforces it.",
          },
        ]
      : []),
    directive("auth_request", `/_wayleave/authz/${target.name}`),
    directive("auth_request_set", variable("wayleave_target"), target.name),
    directive("auth_request_set", variable("wayleave_cache"), variable("upstream_cache_status")),
    ...answers.map(([name, header]) =>
      directive("auth_request_set", variable(name), answerSource(target, name, header)),
    ),
    ...(keptSeconds(settings, target) > 0 ? [keepNoted] : []),
    directive("error_page", "401", "=", "@wayleave_unauthenticated"),
    directive("error_page", "403", "=", "@wayleave_denied"),
    directive("error_page", "500", "=", "@wayleave_outage"),
    directive("access_log", settings.accessLog, "wayleave"),
    {
      comment:
        "What the upstream is told. Another proxy_set_header of these names in the same location would be sent beside it.",
    },
    ...upstreamHeaders.map(([name, value]) => setHeader(name, value)),
    { comment: "What no client may say." },
    directive("proxy_headers_hash_max_size", "2048"),
    directive("proxy_headers_hash_bucket_size", "128"),
    ...strippedHeaders.map((name) => setHeader(name, "")),
    ...mutualTls(settings, target),
  ];
}

/**
 * This gateway's SVID, and the name in that of the gateway behind: NGINX compares names of hosts, not URIs. Its bundle is
 * that of this trust domain alone. Sessions are not resumed, since a resumed one shows no certificate.
 */
function mutualTls({ behind, directory }: CheckedSettings, target: CompiledTarget): Statement[] {
  const peer = behind[target.name];
  if (peer === undefined) return [];
  return [
    { comment: `Mutual TLS to gateway ${peer}, which this location's proxy_pass must name with https.` },
    directive("proxy_ssl_certificate", `${directory}/svid.pem`),
    directive("proxy_ssl_certificate_key", `${directory}/svid.key`),
    directive("proxy_ssl_trusted_certificate", `${directory}/bundle.pem`),
    directive("proxy_ssl_verify", "on"),
    directive("proxy_ssl_verify_depth", "3"),
    directive("proxy_ssl_name", peer),
    directive("proxy_ssl_server_name", "on"),
    directive("proxy_ssl_session_reuse", "off"),
    directive("proxy_ssl_protocols", "TLSv1.2", "TLSv1.3"),
    directive("proxy_http_version", "1.1"),
  ];
}

/** Of an observed target, what no answer says is `outage`. */
function answerSource(target: CompiledTarget, name: string, header: string): Variable {
  const word = name.replace("wayleave_", "");
  const filled = observed(target) && ["decision", "reason", "forward"].includes(word);
  return variable(filled ? `wayleave_observed_${word}` : `upstream_http_${header}`);
}

function setHeader(name: string, value: Argument): Directive {
  return directive("proxy_set_header", name, value);
}

function modeNote(target: CompiledTarget): string {
  return target.mode === "observe" ? " (observed: denials are recorded and let through)" : "";
}
