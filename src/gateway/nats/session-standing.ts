import { type ReasonCode, reasonCodes } from "../../core/decision.ts";
import { type ConnectionEnd, finalEnd, passingEnd } from "./connection-end.ts";
import type { LiveConnection } from "./live-connection.ts";

/** Reasons for which a session does nothing at all, observed or not. */
export const silentReasons: ReadonlySet<ReasonCode> = new Set<ReasonCode>([
  "session_ended",
  "session_suspended",
  "session_unknown",
  "target_unknown",
  "outage",
]);

type Asked = Pick<LiveConnection, "authority" | "admission" | "clock">;

/** The end of a connection whose session may do nothing any more, or undefined while it is active. */
export function standingEnd({ authority, admission, clock }: Asked): ConnectionEnd | undefined {
  const { session, inbox } = admission;
  if (authority.hardEndAt(session) > clock.now()) return undefined;
  return endFor(authority.decide(admission, { kind: "nats", verb: "sub", subject: `${inbox}.>` }).reason);
}

export function endFor(reason: ReasonCode): ConnectionEnd {
  if (reason === "session_suspended") return passingEnd("session_suspended", reasonCodes.session_suspended);
  if (reason === "outage") return passingEnd("outage", "the gateway cannot decide: an outage, and no refusal");
  if (reason === "target_unknown") return finalEnd("rights_changed", "policy has no such target any more");
  return finalEnd("hard_end", reasonCodes.session_ended);
}
