import { hash, timingSafeEqual } from "node:crypto";
import type { Answer, DecisionPoint, Question } from "../decision-point.ts";
import { type Asked, readHeaders } from "./auth-request.ts";
import { type AuthResponse, answerResponse, type Refusal, refusalResponse } from "./auth-response.ts";

/** A gateway that may ask, as the configuration names it. */
export interface NginxGateway {
  readonly name: string;
  /** SHA-256 of each accepted secret, 64 hex digits; two while one is being replaced. */
  readonly secretHashes: readonly string[];
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
  const gateways = new Map(options.gateways.map((gateway) => [gateway.name, prepare(gateway)]));
  const refuse = (refusal: Refusal): AuthResponse => {
    options.onRefused?.(refusal);
    return refusalResponse(refusal);
  };
  return (request) => {
    try {
      const asked = readHeaders(request.method, request.rawHeaders);
      if ("refusal" in asked) return refuse(asked.refusal);
      const refusal = admit(gateways.get(asked.gateway), asked);
      if (refusal !== undefined) return refuse(refusal);
      const answer = options.decisionPoint.answer(question(asked));
      const finish = (found: Answer): AuthResponse => answerResponse(found, asked.unstrippable);
      return answer instanceof Promise ? answer.then(finish).catch(outage) : finish(answer);
    } catch {
      return outage(); // the contract of DecisionPoint says it cannot; fail closed all the same
    }
  };
}

interface PreparedGateway {
  readonly hashes: readonly Uint8Array[];
  readonly targets: ReadonlySet<string>;
}

function prepare(gateway: NginxGateway): PreparedGateway {
  const hashes = gateway.secretHashes.map((hex) => {
    if (!/^[0-9a-f]{64}$/i.test(hex)) throw new TypeError(`gateway ${gateway.name}: a secret hash is 64 hex digits`);
    return Buffer.from(hex, "hex");
  });
  return { hashes, targets: new Set(gateway.targets) };
}

const noHashes: readonly Uint8Array[] = [new Uint8Array(32)];

function admit(gateway: PreparedGateway | undefined, asked: Asked): Refusal | undefined {
  const presented = hash("sha256", asked.secret, "buffer");
  let known = false;
  // An unknown gateway costs the same comparison as a known one.
  for (const expected of gateway?.hashes ?? noHashes) known = timingSafeEqual(expected, presented) || known;
  if (gateway === undefined || !known) {
    return { reason: "gateway_unauthenticated", detail: "unknown gateway or wrong secret" };
  }
  if (gateway.targets.has(asked.target)) return undefined;
  return { reason: "target_unknown", detail: "the gateway does not front this target", gateway: asked.gateway };
}

function question(asked: Asked): Question {
  return {
    gateway: asked.gateway,
    target: asked.target,
    operation: { kind: "http", method: asked.method, host: asked.host, path: asked.path, stream: asked.stream },
    authorization: asked.authorization,
    ...(asked.ambiguity === undefined ? undefined : { ambiguity: asked.ambiguity }),
    ...(asked.traceparent === undefined ? undefined : { traceparent: asked.traceparent }),
  };
}

function outage(): AuthResponse {
  return refusalResponse({ reason: "outage", detail: "the decision point failed" });
}
