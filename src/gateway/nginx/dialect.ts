import type { Answer, DecisionPoint, Question } from "../decision-point.ts";
import { createGatewayGuard, type GatewayGuard, type GuardedGateway } from "../gateway-guard.ts";
import { type Asked, readHeaders } from "./auth-request.ts";
import { type AuthResponse, answerResponse, type Refusal, refusalResponse } from "./auth-response.ts";

/** A gateway that may ask, as the configuration names it. */
export interface NginxGateway extends GuardedGateway {
  /** Targets it fronts; it may ask about no other. */
  readonly targets: readonly string[];
}

export interface NginxDialectOptions {
  readonly gateways: readonly NginxGateway[];
  readonly decisionPoint: DecisionPoint;
  /** Told of questions that were not decided: a foreign, misconfigured or mistaken gateway. Holds no secret. */
  readonly onRefused?: (refusal: Refusal) => void;
}

/** A question as it arrives: Node's `rawHeaders` (name, value, name, …). */
export interface AuthRequest {
  readonly method: string | undefined;
  readonly rawHeaders: readonly string[];
}

export type NginxDialect = (request: AuthRequest) => AuthResponse | Promise<AuthResponse>;

/**
 * Answers NGINX's `auth_request`: 200, 401 or 403, never a body, since NGINX turns everything else into 500 and drops the
 * connection for a body. Synchronous whenever the decision point is. Never throws and never rejects: what fails is `outage`.
 * Not checked: the path of the endpoint; the router knows it. Throws `TypeError` for a hash that is no SHA-256.
 */
export function createNginxDialect(options: NginxDialectOptions): NginxDialect {
  const guard = createGatewayGuard(options.gateways);
  const refuse = (refusal: Refusal): AuthResponse => {
    options.onRefused?.(refusal);
    return refusalResponse(refusal);
  };
  return (request) => {
    try {
      const asked = readHeaders(request.method, request.rawHeaders);
      if ("refusal" in asked) return refuse(asked.refusal);
      const refusal = admit(guard, asked);
      if (refusal !== undefined) return refuse(refusal);
      const answer = options.decisionPoint.answer(question(asked));
      const finish = (found: Answer): AuthResponse => answerResponse(found, asked.unstrippable);
      return answer instanceof Promise ? answer.then(finish).catch(outage) : finish(answer);
    } catch {
      return outage(); // the contract of DecisionPoint says it cannot; fail closed all the same
    }
  };
}

function admit(guard: GatewayGuard<NginxGateway>, { gateway, secret, target }: Asked): Refusal | undefined {
  const proven = guard(gateway, secret);
  if (proven === undefined) return { reason: "gateway_unauthenticated", detail: "unknown gateway or wrong secret" };
  if (proven.targets.includes(target)) return undefined;
  return { reason: "target_unknown", detail: "the gateway does not front this target", gateway };
}

function question(asked: Asked): Question {
  return {
    gateway: asked.gateway,
    target: asked.target,
    operation: { kind: "http", method: asked.method, host: asked.host, path: asked.path, stream: asked.stream },
    authorization: asked.authorization,
    ...(asked.proof === undefined ? undefined : { proof: asked.proof }),
    ...(asked.ambiguity === undefined ? undefined : { ambiguity: asked.ambiguity }),
    ...(asked.traceparent === undefined ? undefined : { traceparent: asked.traceparent }),
  };
}

function outage(): AuthResponse {
  return refusalResponse({ reason: "outage", detail: "the decision point failed" });
}
