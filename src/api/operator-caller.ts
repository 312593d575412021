import type { FastifyRequest } from "fastify";
import type { OperatorSignedIn } from "../core/operator-record.ts";
import { type Actor, actorText, type OperatorRole, operatorRoles } from "../core/person.ts";

/** Who asks on the operators' side, and what they may. */
export interface OperatorCaller {
  readonly who: Actor;
  readonly roles: readonly OperatorRole[];
  /** Absent on the socket. */
  readonly signIn?: OperatorSignedIn;
}

/** Whoever could open the operators' socket: there is no role that they do not have. */
export const localOperator: OperatorCaller = { who: { by: "local" }, roles: operatorRoles };

const callers = new WeakMap<FastifyRequest, OperatorCaller>();

/** Said once by the guard, after it let the request in. */
export function setOperatorCaller(request: FastifyRequest, caller: OperatorCaller): void {
  callers.set(request, caller);
}

/** Not an authorization: the guard did that. */
export function operatorCaller(request: FastifyRequest): OperatorCaller {
  return callers.get(request) ?? localOperator;
}

/** For the record of what was done: `local operator`, or the person. */
export function operatorText(request: FastifyRequest): string {
  return actorText(operatorCaller(request).who);
}
