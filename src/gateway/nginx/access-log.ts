import {
  cleanPath,
  cleanText,
  type EvidenceGateway,
  given,
  jsonObject,
  maxText,
  type ReadLine,
  secondsNumber,
  statusNumber,
} from "../evidence.ts";

/**
 * One line of the JSON log that `render nginx` configures (`log_format wayleave`). Every value is text there. A request
 * that was never decided (NGINX's own rules refused it) has no `enforced`. Never throws.
 */
export function readNginxLine(line: string, gateway: EvidenceGateway): ReadLine {
  const said = jsonObject(line);
  if (said === undefined) return "not_json";
  if (said.gateway !== gateway.name) return "other_gateway";
  const at = timeOf(said);
  const method = cleanText(said.method, maxText.method);
  const path = cleanPath(said.path);
  const status = statusNumber(said.status);
  if (at === undefined || method === undefined || path === undefined || status === undefined) return "incomplete";
  const decision = cleanText(said.decision);
  return {
    at,
    method,
    host: cleanText(said.host, maxText.host) ?? "",
    path,
    status: status === clientGone ? 0 : status,
    ...given({
      target: cleanText(said.target),
      enforced: decision === undefined ? undefined : enforcedBy(said.cache),
      decision,
      reason: cleanText(said.reason),
      decisionRecord: cleanText(said.record),
      session: cleanText(said.session),
      subject: cleanText(said.subject),
      role: cleanText(said.role),
      policy: cleanText(said.policy),
      trace: cleanText(said.trace),
      peer: cleanText(said.peer),
      upstreamStatus: lastStatus(said.upstream_status),
      seconds: secondsNumber(said.seconds),
    }),
  };
}

/** NGINX's own word for a client that left before the answer. */
const clientGone = 499;

/** `kept`: nobody answered, and an earlier answer stood in. */
function enforcedBy(cache: unknown): "cached" | "kept" | "call_out" {
  if (cache === "STALE") return "kept";
  return cache === "HIT" ? "cached" : "call_out";
}

/** `msec` (seconds with milliseconds) where the format has it, else `time`, which has whole seconds. */
function timeOf(said: Readonly<Record<string, unknown>>): number | undefined {
  const { msec, time } = said;
  if (typeof msec === "string" && /^\d{1,11}\.\d{3}$/.test(msec)) return Math.round(Number(msec) * 1000);
  if (typeof time !== "string" || !isoTime.test(time)) return undefined;
  const at = Date.parse(time);
  return Number.isNaN(at) ? undefined : at;
}

const isoTime = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,3})?(?:Z|[+-]\d\d:\d\d)$/;

/** `$upstream_status` lists every try, as in `502, 201 : 200`; the client got the last. */
function lastStatus(value: unknown): number | undefined {
  if (typeof value !== "string" || value.length > 200) return undefined;
  const status = statusNumber(value.split(/[,:]/).at(-1)?.trim());
  return status === 0 ? undefined : status;
}
