import { headerText } from "../answer-fields.ts";
import type { Answer } from "../decision-point.ts";
import type { RequestHead } from "./request-head.ts";
import type { ProxyHttpTarget } from "./settings.ts";

/** Where a request came from, as the service is told. */
export interface Origin {
  readonly address: string;
  readonly secure: boolean;
}

/**
 * The headers that the service gets, names and values in turn: the client's own without any of ours, then what the decision
 * says. The service's own key goes only with what a role allows.
 */
export function forwardedFields(head: RequestHead, answer: Answer, target: ProxyHttpTarget, origin: Origin): string[] {
  const { upstreamAuth: auth, credentialHeader } = target;
  const keyed = auth !== undefined && answer.outcome === "allow";
  const fields = [...head.fields];
  if (head.credential !== undefined && !answer.consumesAuthorization && !(keyed && auth.header === credentialHeader)) {
    fields.push(credentialHeader, head.credential);
  }
  if (head.proof !== undefined && !answer.consumesAuthorization) fields.push("dpop", head.proof);
  if (keyed) fields.push(auth.header, auth.value);
  fields.push(
    ...["x-forwarded-for", origin.address, "x-forwarded-proto", origin.secure ? "https" : "http"],
    ...["x-wayleave-decision", answer.outcome, "x-wayleave-record", answer.record, "traceparent", answer.traceparent],
  );
  if (answer.session !== undefined) {
    fields.push("x-wayleave-session", answer.session);
    fields.push("x-wayleave-subject", headerText(answer.subject ?? ""), "x-wayleave-job", headerText(answer.job ?? ""));
  }
  if (answer.rule !== undefined) fields.push("x-wayleave-role", headerText(answer.rule));
  if (answer.assertion !== undefined) fields.push("txn-token", answer.assertion);
  return fields;
}
