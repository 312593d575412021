import type { ReasonCode } from "../../core/decision.ts";
import { challenge, fitsHeader, headerText } from "../answer-fields.ts";
import type { Answer } from "../decision-point.ts";

/** What NGINX is told. Never a body; `headers` are well under 2 KB. */
export interface AuthResponse {
  /** 503 where nothing was decided: to NGINX, as no answer. */
  readonly status: 200 | 401 | 403 | 503;
  readonly headers: [name: string, value: string][];
}

/** Why a question was not put to the decision point. */
export interface Refusal {
  readonly reason: "gateway_unauthenticated" | "invalid_request" | "target_unknown" | "outage";
  /** One cause, no secret and nothing of the client's. */
  readonly detail: string;
  /** Present once the gateway is authenticated. */
  readonly gateway?: string;
}

/** The answer to a question that was not decided: there is no record of it. */
export function refusalResponse(refusal: Refusal): AuthResponse {
  return {
    status: refusal.reason === "outage" ? 503 : 403,
    headers: [
      ["Content-Length", "0"],
      ["X-Accel-Expires", "0"],
      ["X-Wayleave-Decision", refusal.reason === "outage" ? "outage" : "deny"],
      ["X-Wayleave-Reason", refusal.reason],
    ],
  };
}

/**
 * The decision as NGINX can hear it.
 * `unstrippable`: the client sent a look-alike of an identity header that NGINX did not drop and cannot remove, so it must
 * not reach the upstream, not even from an observed target or a shared route.
 */
export function answerResponse(answer: Answer, unstrippable: boolean): AuthResponse {
  const through = answer.outcome !== "deny" && !unstrippable && fits(answer.assertion);
  const headers: [string, string][] = [
    ["Content-Length", "0"],
    ...lifeOf(answer, through),
    ["X-Wayleave-Decision", through ? answer.outcome : refusedAs(answer)],
    ["X-Wayleave-Reason", saidReason(answer, through, unstrippable)],
    ["X-Wayleave-Record", headerText(answer.record)],
    ["X-Wayleave-Traceparent", headerText(answer.traceparent)],
    ["X-Wayleave-Authorization", answer.consumesAuthorization ? "strip" : "forward"],
  ];
  addIdentity(headers, answer);
  if (!through) return denial(headers, answer);
  if (answer.assertion !== undefined) headers.push(["Txn-Token", answer.assertion]);
  return { status: 200, headers };
}

/**
 * How long NGINX may repeat it. What may be kept is always expired, so that it is asked for anew each time, and used only when
 * no answer comes, until a second (RFC 5861 §4) before its time: NGINX adds `stale-if-error` to the time it expired, which is
 * here that of 1970, so that its clock decides. A refusal takes the place of what was kept before.
 */
function lifeOf(answer: Answer, through: boolean): [string, string][] {
  if (answer.keepUntil === undefined) return [["X-Accel-Expires", through ? cacheSeconds(answer) : "0"]];
  const until = through && answer.keepUntil > 0 ? Math.floor(answer.keepUntil / 1000) - 2 : 0;
  return [
    ["X-Accel-Expires", "@1"],
    ["Cache-Control", `stale-if-error=${until}`],
  ];
}

function addIdentity(headers: [string, string][], answer: Answer): void {
  if (answer.subject !== undefined) headers.push(["X-Wayleave-Subject", headerText(answer.subject)]);
  if (answer.session !== undefined) headers.push(["X-Wayleave-Session", headerText(answer.session)]);
  if (answer.job !== undefined) headers.push(["X-Wayleave-Job", headerText(answer.job)]);
  if (answer.rule !== undefined) headers.push(["X-Wayleave-Role", headerText(answer.rule)]);
}

function denial(headers: [string, string][], answer: Answer): AuthResponse {
  if (answer.retryAfterSeconds !== undefined)
    headers.push(["Retry-After", String(Math.ceil(answer.retryAfterSeconds))]);
  if (refusedAs(answer) === "outage") return { status: 503, headers };
  if (!answer.unauthenticated) return { status: 403, headers };
  headers.push(["WWW-Authenticate", challenge(answer.reason)]);
  return { status: 401, headers };
}

/** Larger than any assertion Wayleave signs; one that does not fit would make NGINX answer 500. */
const maxAssertion = 1200;

const fits = (assertion: string | undefined) => fitsHeader(assertion, maxAssertion);

/** Only a plain allow without an assertion may be repeated. */
function cacheSeconds(answer: Answer): string {
  return answer.outcome === "allow" && answer.assertion === undefined ? String(Math.floor(answer.cacheSeconds)) : "0";
}

function refusedAs(answer: Answer): "deny" | "outage" {
  return answer.reason === "outage" || (answer.outcome !== "deny" && !fits(answer.assertion)) ? "outage" : "deny";
}

function saidReason(answer: Answer, through: boolean, unstrippable: boolean): string {
  return through || answer.outcome === "deny" ? (answer.breakglass ?? answer.reason) : forcedReason(unstrippable);
}

function forcedReason(unstrippable: boolean): ReasonCode {
  return unstrippable ? "ambiguous_request" : "outage";
}
