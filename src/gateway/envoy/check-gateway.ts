import type { Answer, DecisionPoint, Question } from "../decision-point.ts";
import type { GuardedGateway } from "../gateway-guard.ts";
import { type Refusal, refusalVerdict, type Verdict, verdictOf } from "./check-answer.ts";
import type { ClientRequest } from "./check-request.ts";

/** A gateway that may ask, as the configuration names it. */
export interface EnvoyGateway extends GuardedGateway {
  /** Targets it fronts; it may ask about no other. */
  readonly targets: readonly string[];
  /** SPIFFE IDs of the gateways in front of it. Not empty: it knows its callers by `Txn-Token` alone, and takes it from nobody else. */
  readonly peers: readonly string[];
}

export interface CheckDeps {
  readonly decisionPoint: DecisionPoint;
  /** Told of questions that were not decided: a foreign, misconfigured or mistaken gateway. Holds no secret. */
  readonly onRefused?: (refusal: Refusal) => void;
}

/** One question of an authenticated gateway. */
export interface Asked {
  readonly gateway: EnvoyGateway;
  readonly target: string;
  /** URI SAN of the client's verified certificate; empty where there was none, undefined where it cannot be known. */
  readonly principal: string | undefined;
  readonly request: ClientRequest;
}

/** Decides one question. Synchronous whenever the decision point is. Never throws and never rejects: what fails is `outage`. */
export function decide(deps: CheckDeps, asked: Asked): Verdict | Promise<Verdict> {
  const { gateway, target, request } = asked;
  const refusal = admit(asked);
  if (refusal !== undefined) return refuse(deps, refusal, target);
  const question = questionOf(asked);
  const failed = () => refuse(deps, { reason: "outage", detail: "the decision point failed", gateway: gateway.name });
  try {
    const answer = deps.decisionPoint.answer(question);
    const finish = (found: Answer) => verdictOf(question, found, request);
    return answer instanceof Promise ? answer.then(finish).catch(failed) : finish(answer);
  } catch {
    return failed(); // the contract of DecisionPoint says it cannot; fail closed all the same
  }
}

/** Tells who looks after the gateways, and refuses. */
export function refuse({ onRefused }: CheckDeps, refusal: Refusal, target?: string): Verdict {
  onRefused?.(refusal);
  return refusalVerdict(refusal, target);
}

function admit({ gateway, target, principal }: Asked): Refusal | undefined {
  const { name, targets, peers } = gateway;
  if (!targets.includes(target)) {
    return { reason: "target_unknown", detail: "the gateway does not front this target", gateway: name };
  }
  if (peers.length === 0 || (principal !== undefined && peers.includes(principal))) return undefined;
  return {
    reason: "credential_invalid",
    detail: "the connection is not from a gateway in front: its certificate is missing or somebody else's",
    gateway: name,
  };
}

function questionOf({ gateway, target, request }: Asked): Question {
  const { ambiguity, proof, traceparent } = request;
  return {
    gateway: gateway.name,
    target,
    operation: request.operation,
    authorization: request.authorization,
    ...(gateway.peers.length === 0 ? undefined : { assertion: request.assertion ?? "" }),
    ...(proof === undefined ? undefined : { proof }),
    ...(ambiguity === undefined ? undefined : { ambiguity }),
    ...(traceparent === undefined ? undefined : { traceparent }),
  };
}
