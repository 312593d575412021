import { recordIdPattern, sessionIdPattern } from "../core/ids.ts";
import type { AuditEvent, GatewayRequestData, RecordJob } from "../core/record.ts";

/** One request as a gateway's own log tells it: read and bounded, but not yet believed. */
export interface LoggedRequest {
  /** ms since the epoch. */
  readonly at: number;
  readonly method: string;
  readonly host: string;
  readonly path: string;
  /** 0 where the connection broke. */
  readonly status: number;
  readonly target?: string;
  readonly enforced?: NonNullable<GatewayRequestData["enforced"]>;
  readonly decision?: string;
  readonly reason?: string;
  readonly decisionRecord?: string;
  readonly session?: string;
  readonly subject?: string;
  readonly role?: string;
  readonly policy?: string;
  readonly trace?: string;
  readonly peer?: string;
  readonly upstreamStatus?: number;
  readonly seconds?: number;
}

/** Why a line is no evidence. */
export const lineProblems = {
  too_long: "longer than a line of its log can be",
  not_json: "not one JSON object",
  incomplete: "without time, method, path or status, or with one of the wrong type",
  other_gateway: "names another gateway",
  in_future: "more than 5 minutes ahead of the broker's clock",
  too_old: "more than a day old",
} as const;
export type LineProblem = keyof typeof lineProblems;

/** A line as its gateway's parser read it. */
export type ReadLine = LoggedRequest | LineProblem;

/** The parser of one gateway's log; `gateway` is who authenticated, which the line cannot change. Never throws. */
export type LineReader = (line: string, gateway: EvidenceGateway) => ReadLine;

/** A line as it is recorded. */
export type RequestEvent = AuditEvent & { readonly kind: "gateway.request" };

/** Whose log it is. */
export interface EvidenceGateway {
  readonly name: string;
  readonly hop: GatewayRequestData["hop"];
  readonly targets: readonly string[];
}

const maxAheadMs = 5 * 60_000;
const maxAgeMs = 24 * 3_600_000;

/** A clock this far ahead is said in the record. */
const tolerableAheadMs = 2_000;

/**
 * The record of one line. What the line says of others is taken only where we know it ourselves: a session that does not
 * exist and a target the gateway does not front are left out, and said. The job always comes from our own session.
 * Not checked here: whether the decision it names exists and agrees; `wayleave verify` holds them against each other.
 */
export function requestEvent(
  line: LoggedRequest,
  gateway: EvidenceGateway,
  job: RecordJob | undefined,
  now: number,
): RequestEvent | LineProblem {
  if (line.at > now + maxAheadMs) return "in_future";
  if (line.at < now - maxAgeMs) return "too_old";
  const { trusted, doubts } = believe(line, gateway, job !== undefined);
  const ahead = line.at - now;
  if (ahead > tolerableAheadMs) doubts.push(`its clock is ${Math.round(ahead / 1000)} s ahead of the broker's`);
  const data: GatewayRequestData = {
    gateway: gateway.name,
    hop: gateway.hop,
    at: line.at,
    method: line.method,
    host: line.host,
    path: line.path,
    status: line.status,
    ...given({
      ...trusted,
      enforced: line.enforced,
      decision: line.decision,
      reason: line.reason,
      subject: line.subject,
      role: line.role,
      policy: line.policy,
      peer: line.peer,
      upstream_status: line.upstreamStatus,
      seconds: line.seconds,
      detail: doubts.length === 0 ? undefined : doubts.join("; "),
    }),
  };
  const trace = line.trace !== undefined && tracePattern.test(line.trace) ? { trace: line.trace } : {};
  if (line.session === undefined || job === undefined) return { kind: "gateway.request", ...trace, data };
  return { kind: "gateway.request", session: line.session, job, ...trace, data };
}

/** What a line says of things that are ours, where it can be so; and in words what cannot. */
function believe({ session, target, decisionRecord }: LoggedRequest, gateway: EvidenceGateway, sessionKnown: boolean) {
  const doubts: string[] = [];
  if (session !== undefined && !sessionKnown) {
    const wellFormed = sessionIdPattern.test(session);
    doubts.push(wellFormed ? `names ${session}, which is no session here` : "names a malformed session");
  }
  const fronted = target !== undefined && gateway.targets.includes(target);
  if (target !== undefined && !fronted) doubts.push(`names target ${target}, which it does not front`);
  const record = decisionRecord !== undefined && recordIdPattern.test(decisionRecord);
  if (decisionRecord !== undefined && !record) doubts.push("names a malformed record");
  return {
    trusted: { target: fronted ? target : undefined, decision_record: record ? decisionRecord : undefined },
    doubts,
  };
}

const tracePattern = /^(?!0{32})[0-9a-f]{32}$/;

/** What makes two records of one gateway the same line: everything the line itself said. */
export function lineIdentity({ data, trace }: RequestEvent): string {
  return JSON.stringify([
    data.at,
    data.method,
    data.host,
    data.path,
    data.status,
    data.target,
    data.enforced,
    data.decision,
    data.reason,
    data.decision_record,
    data.subject,
    data.role,
    data.policy,
    data.peer,
    data.upstream_status,
    data.seconds,
    trace,
  ]);
}

/** Longest text of each sort, in UTF-16 units. */
export const maxText = { word: 200, path: 512, host: 255, method: 32 } as const;

/**
 * Text of a log line made harmless: control and format characters visible, whatever looks like a signed token cut out,
 * bounded. Undefined for what a log writes where there is nothing.
 */
export function cleanText(value: unknown, max: number = maxText.word): string | undefined {
  if (typeof value !== "string" || value === "" || value === "-") return undefined;
  // Bounded first, so that nobody can make the rest slow; a token cut in half is still recognised by its beginning.
  const text = value
    .slice(0, max)
    .toWellFormed()
    .replaceAll(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, "\ufffd");
  return text.includes("eyJ") ? text.replaceAll(/eyJ[\w-]{6,}(?:\.[\w-]*)*/g, "…") : text;
}

/** The path of a request target: queries can hold secrets. */
export function cleanPath(value: unknown): string | undefined {
  if (typeof value !== "string") return undefined;
  const query = value.indexOf("?");
  return cleanText(query === -1 ? value : value.slice(0, query), maxText.path);
}

/** A whole number of 0 to 999, of a number or its digits; undefined for anything else. */
export function statusNumber(value: unknown): number | undefined {
  const status = typeof value === "string" && /^\d{1,3}$/.test(value) ? Number(value) : value;
  return typeof status === "number" && Number.isInteger(status) && status >= 0 && status <= 999 ? status : undefined;
}

/** Seconds of 0 to a day; undefined for anything else. */
export function secondsNumber(value: unknown): number | undefined {
  const seconds = typeof value === "string" && /^\d{1,9}(?:\.\d{1,9})?$/.test(value) ? Number(value) : value;
  return typeof seconds === "number" && seconds >= 0 && seconds <= 86_400 ? seconds : undefined;
}

/** One JSON object, or undefined. Depth is bounded by the line's length. */
export function jsonObject(line: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(line);
    if (typeof value !== "object" || value === null || Array.isArray(value)) return undefined;
    return value as Readonly<Record<string, unknown>>;
  } catch {
    return undefined;
  }
}

type Given<T> = { readonly [K in keyof T]?: Exclude<T[K], undefined> };

/** Only the members that have a value. */
export function given<T extends Readonly<Record<string, unknown>>>(members: T): Given<T> {
  return Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined)) as Given<T>;
}
