import type { BreakglassUse } from "../../core/breakglass-record.ts";
import type { Clock } from "../../core/clock.ts";
import { type ErrorCode, WayleaveError } from "../../core/errors.ts";
import { parsePath } from "../../core/path.ts";
import type { Answer, DecisionPoint, Question } from "../decision-point.ts";
import { bearerOf, operationText } from "../question-text.ts";
import { createRefusalFlood } from "../refusal-flood.ts";
import type { Approvers } from "./signature.ts";
import { readToken, tokenFingerprint, tokenPrefix, type VerifiedBreakglass, verifyToken } from "./token.ts";

export interface BreakglassDeps {
  readonly clock: Clock;
  readonly approvers: Approvers;
  /** `issuer` of the broker that is away. */
  readonly broker: string;
  newUse(): string;
  /** Resolves when the use is durable; nothing is let through before that. */
  record(use: BreakglassUse): Promise<void>;
}

/** Tokens that were refused, a minute: so many are written down, and the rest is counted. */
const refusalsPerMinute = 60;

/**
 * The decision point of break-glass: asked by a gateway that Wayleave gave no answer. It opens whole targets to a token that
 * two listed people signed, for requests that read one way; each use is durable before it is answered. Everybody else is
 * told of an outage, since nobody can decide about them. Not checked: whether Wayleave is away indeed; the gateway asks it first.
 */
export function createBreakglassPoint(deps: BreakglassDeps): DecisionPoint {
  const flood = createRefusalFlood(deps.clock, refusalsPerMinute);
  return {
    async answer(question) {
      const token = bearerOf(question.authorization);
      if (token === undefined || !token.startsWith(tokenPrefix)) return answerOf(question, "outage");
      try {
        refuseUnclear(question);
        const now = deps.clock.now();
        const { gateway, target } = question;
        const verified = verifyToken(token, { ...deps, gateway, target, now });
        await deps.record({
          ...useOf(deps, question, token),
          outcome: "allow",
          reason: "break_glass",
          ...signedBy(verified),
        });
        return answerOf(question, "break_glass");
      } catch (error) {
        const code = error instanceof WayleaveError ? error.code : "internal";
        if (!isRefusal(code)) return answerOf(question, "outage");
        return await refuse(deps, flood, question, token, code);
      }
    },
  };
}

async function refuse(
  deps: BreakglassDeps,
  flood: ReturnType<typeof createRefusalFlood>,
  question: Question,
  token: string,
  code: BreakglassRefusal,
): Promise<Answer> {
  let written: Promise<void> = Promise.resolve();
  flood((more) => {
    const detail = more === "" ? {} : { detail: more.replace(/^; /, "") };
    written = deps.record({
      ...useOf(deps, question, token),
      outcome: "deny",
      reason: code,
      ...claimed(token),
      ...detail,
    });
  });
  // It is refused, whether or not that can be written down.
  await written.catch(() => undefined);
  return answerOf(question, code);
}

/** The refusals of break-glass, as `X-Wayleave-Reason` says them. */
export type BreakglassRefusal = Exclude<Extract<ErrorCode, `breakglass_${string}`>, "breakglass_unrecorded">;

const isRefusal = (code: ErrorCode): code is BreakglassRefusal =>
  code.startsWith("breakglass_") && code !== "breakglass_unrecorded";

function refuseUnclear({ operation, ambiguity }: Question): void {
  const clear =
    operation.kind === "http" && !operation.stream && ambiguity === undefined && parsePath(operation.path).ok;
  if (clear) return;
  throw new WayleaveError(
    "breakglass_ambiguous",
    "The request can be read in two ways, or is a stream; break-glass opens neither. Send it plainly.",
  );
}

function useOf({ clock, newUse }: BreakglassDeps, { gateway, target, operation }: Question, token: string) {
  return {
    use: newUse(),
    gateway,
    target,
    operation: operationText(operation),
    host: operation.kind === "http" ? operation.host.slice(0, 300) : "",
    at: clock.now(),
    token: tokenFingerprint(token),
  };
}

function signedBy({ request, approvers }: Pick<VerifiedBreakglass, "request"> & { approvers?: readonly string[] }) {
  const { id, targets, gateways, reason, starts_at, ends_at } = request;
  const told = { id, targets, gateways, reason, starts_at: starts_at * 1000, ends_at: ends_at * 1000 };
  return { request: told, ...(approvers === undefined ? {} : { approvers }) };
}

/** What a refused token says of itself: nobody vouches for it. */
function claimed(token: string) {
  try {
    return signedBy(readToken(token));
  } catch {
    return {}; // it says nothing that can be read
  }
}

function answerOf(question: Question, said: "break_glass" | "outage" | BreakglassRefusal): Answer {
  const through = said === "break_glass";
  return {
    outcome: through ? "allow" : "deny",
    reason: said === "outage" ? "outage" : through ? "allowed" : "denied",
    ...(said === "outage" ? {} : { breakglass: said }),
    record: "",
    traceparent: question.traceparent ?? "",
    cacheSeconds: 0,
    consumesAuthorization: true,
    unauthenticated: false,
    ...(through ? { rule: "break-glass" } : {}),
  };
}
