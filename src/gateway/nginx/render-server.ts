import type { CompiledTarget } from "../../policy/policy.ts";
import { identityHeaders } from "./header-names.ts";
import { keptSeconds } from "./keep-settings.ts";
import type { Argument, Directive, Statement, Variable } from "./nginx-config.ts";
import { block, directive, variable } from "./nginx-config.ts";
import { breakglassLocation, breakglassLocations } from "./render-breakglass.ts";
import { observed } from "./render-http.ts";
import { keepAnswers } from "./render-keep.ts";
import type { CheckedSettings } from "./settings.ts";

/** What belongs in each `server { }` with protected locations: where NGINX asks, and what a refused client is told. */
export function renderServer(settings: CheckedSettings): Statement[] {
  return [
    {
      comment: `Wayleave for gateway ${settings.name}. Include in each server { } with protected locations. Rendered; do not edit.`,
    },
    ...settings.targets.map((target) => authLocation(settings, target)),
    { comment: "No usable answer from Wayleave. A page for errors that the server has must never stand in for one." },
    block("location", [noAnswer], [directive("return", "500")]),
    ...(settings.targets.some(observed)
      ? [
          { comment: "The same for observed targets, which nothing may stop." },
          block("location", ["@wayleave_observed"], [directive("return", "204")]),
        ]
      : []),
    ...breakglassLocations(settings, (target) => trustedHeaders(settings, target)),
    ...denials(settings),
  ];
}

/** The internal location that puts the question, for one target. */
function authLocation(settings: CheckedSettings, target: CompiledTarget): Directive {
  const { broker } = settings;
  return block(
    "location",
    ["=", `/_wayleave/authz/${target.name}`],
    [
      directive("internal"),
      directive("auth_request", "off"),
      directive("proxy_pass", `${broker.scheme}://wayleave/authz/nginx`),
      ...(broker.scheme === "https" ? tls(settings) : []),
      directive("proxy_http_version", "1.1"),
      directive("proxy_method", "GET"),
      directive("proxy_pass_request_headers", "on"),
      directive("proxy_pass_request_body", "off"),
      directive("proxy_connect_timeout", "1s"),
      directive("proxy_send_timeout", "2s"),
      directive("proxy_read_timeout", "3s"),
      { comment: "Nothing the surrounding server says about errors, caches and redirects may change an answer." },
      directive("proxy_intercept_errors", whenSilent(settings, target) === noAnswer ? "off" : "on"),
      directive("error_page", "500", "502", "503", "504", "=", whenSilent(settings, target)),
      directive(
        "proxy_ignore_headers",
        "X-Accel-Redirect",
        "X-Accel-Limit-Rate",
        "X-Accel-Buffering",
        "X-Accel-Charset",
      ),
      ...(keptSeconds(settings, target) > 0
        ? keepAnswers
        : settings.cached
          ? cached
          : [directive("proxy_cache", "off")]),
      ...trustedHeaders(settings, target),
      { comment: "The gateway's secret, in a file only NGINX's master process can read." },
      directive("include", settings.secretFile),
    ],
  );
}

const noAnswer = "@wayleave_no_answer";

/** Where a question goes on that Wayleave did not answer. */
function whenSilent(settings: CheckedSettings, target: CompiledTarget): string {
  if (observed(target)) return "@wayleave_observed";
  return settings.breakglass === undefined ? noAnswer : breakglassLocation(target.name);
}

function tls(settings: CheckedSettings): Directive[] {
  return [
    directive("proxy_ssl_verify", "on"),
    directive("proxy_ssl_server_name", "on"),
    directive("proxy_ssl_name", settings.broker.host),
    directive("proxy_ssl_trusted_certificate", settings.brokerCa),
  ];
}

const cached: readonly Directive[] = [
  directive("proxy_cache", "wayleave"),
  directive("proxy_cache_key", variable("wayleave_cache_key")),
  directive("proxy_cache_methods", "GET"),
  directive("proxy_cache_min_uses", "1"),
  directive("proxy_cache_use_stale", "off"),
  directive("proxy_cache_background_update", "off"),
  directive("proxy_cache_lock", "off"),
];

function trustedHeaders(settings: CheckedSettings, target: CompiledTarget): Directive[] {
  const set: readonly (readonly [string, Argument])[] = [
    ["Host", settings.broker.host || "wayleave"],
    ["Connection", ""],
    ["Content-Length", ""],
    ["X-Wayleave-Gateway", settings.name],
    ["X-Wayleave-Target", target.name],
    ["X-Original-Method", variable("request_method")],
    ["X-Original-Host", variable("host")],
    ["X-Original-URI", variable("request_uri")],
    ["X-Original-Connection", variable("http_connection")],
    ["X-Original-Upgrade", variable("http_upgrade")],
  ];
  // The secret's own line comes from its file; look-alikes stay visible, so that Wayleave can refuse them.
  const strip = identityHeaders.filter(
    (name) => name !== "X-Wayleave-Gateway-Secret" && !set.some(([mine]) => mine === name),
  );
  return [
    ...set.map(([name, value]) => directive("proxy_set_header", name, value)),
    ...strip.map((name) => directive("proxy_set_header", name, "")),
  ];
}

/** Text with variables between. */
type Text = readonly (string | Variable)[];

/** A problem document (RFC 9457) around the few words that differ. Wayleave's own words need no escaping in JSON. */
function problem(status: number, title: string, code: Text, detail: Text): Directive {
  const body: Text = [
    `{"type":"about:blank","title":"${title}","status":${status},"code":"`,
    ...code,
    '","record":"',
    variable("wayleave_record"),
    '","detail":"',
    ...detail,
    '"}',
  ];
  return directive("return", String(status), body);
}

/** A named location logs by itself: the access_log of the location that sent the request there does not count. */
const told = (settings: CheckedSettings): readonly Directive[] => [
  directive("access_log", settings.accessLog, "wayleave"),
  directive("default_type", "application/problem+json"),
  directive("add_header", "Cache-Control", "no-store", "always"),
  directive("add_header", "X-Wayleave-Decision", variable("wayleave_decision"), "always"),
  directive("add_header", "X-Wayleave-Reason", variable("wayleave_reason"), "always"),
  directive("add_header", "X-Wayleave-Record", variable("wayleave_record"), "always"),
];
const retryAfter = directive("add_header", "Retry-After", variable("wayleave_retry_after"), "always");

const when = (name: string, equals: string, ...statements: Statement[]): Directive =>
  block("if", [{ variable: name, equals }], statements);

const reason: Text = [variable("wayleave_reason")];
const explained: Text = ["Wayleave refused this request. To see why: wayleave explain ", variable("wayleave_record")];
const misconfigured: Text = [
  "Wayleave refused the question of this gateway, so there is no record. The operator of the gateway can mend it.",
];
const elsewhere: Text = ["The gateway itself refused this request; Wayleave was not asked."];
const brokenGlass: Text = ["The break-glass token was refused while Wayleave was away."];
const away: Text = ["Wayleave could not decide. This is an outage, not a refusal: try again."];

/** What a client is told, by status. The words say who refused: Wayleave, the gateway's own rules, or nobody (an outage). */
const denials = (settings: CheckedSettings): readonly Statement[] => [
  block(
    "location",
    ["@wayleave_unauthenticated"],
    [
      ...told(settings),
      when("wayleave_refused_by", "gateway", problem(401, "Unauthorized", ["gateway_refused"], elsewhere)),
      problem(401, "Unauthorized", reason, explained),
    ],
  ),
  block(
    "location",
    ["@wayleave_denied"],
    [
      ...told(settings),
      retryAfter,
      when("wayleave_refused_by", "breakglass", problem(403, "Forbidden", reason, brokenGlass)),
      when("wayleave_refused_by", "gateway", problem(403, "Forbidden", ["gateway_refused"], elsewhere)),
      when("wayleave_refused_by", "question", problem(403, "Forbidden", reason, misconfigured)),
      when("wayleave_reason", "limit_exceeded", problem(429, "Too Many Requests", reason, explained)),
      problem(403, "Forbidden", reason, explained),
    ],
  ),
  { comment: "NGINX's 500 stands for a broker that did not answer, unless a decision is known." },
  block(
    "location",
    ["@wayleave_outage"],
    [
      ...told(settings),
      directive("add_header", "Retry-After", "5", "always"),
      when("wayleave_decision", "", directive("set", variable("wayleave_reason"), "outage")),
      when("wayleave_reason", "outage", directive("set", variable("wayleave_decision"), "outage")),
      when("wayleave_reason", "outage", problem(503, "Service Unavailable", ["outage"], away)),
      directive("return", "500"),
    ],
  ),
];
