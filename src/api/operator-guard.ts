import type { FastifyInstance, FastifyPluginAsync, FastifyReply, FastifyRequest } from "fastify";
import { asWayleaveError, WayleaveError } from "../core/errors.ts";
import { covers } from "../core/person.ts";
import type { AuditEvent } from "../core/record.ts";
import { type Access, operatorAccess } from "./operator-access.ts";
import { type OperatorCaller, operatorCaller, setOperatorCaller } from "./operator-caller.ts";
import { problem } from "./problem.ts";

export interface OperatorGuardDeps {
  /** Who asks. Throws where nobody is signed in. */
  caller(request: FastifyRequest): Promise<OperatorCaller>;
  /** Whether who was let in would be let in now. */
  good(caller: OperatorCaller): boolean;
  /** Somebody was not let in. Must not throw. */
  onRefused(error: WayleaveError, action: string, request: FastifyRequest): void;
  /** Resolves when durable. */
  append(event: AuditEvent): Promise<void>;
  /** Durable soon. */
  note(event: AuditEvent): void;
}

/**
 * Routes of the operators' side behind one door: who asks, whether a role of theirs covers what the table says, and a
 * record of what they did, before the answer. What people only look at is recorded as well; what the local operator looks
 * at is not, since whoever opens the socket can read the files. Throws at the start for a route without a row.
 */
export function operatorGuard(routes: readonly FastifyPluginAsync[], deps: OperatorGuardDeps): FastifyPluginAsync {
  return async (app: FastifyInstance): Promise<void> => {
    app.setErrorHandler(problem);
    app.addHook("onRoute", ({ method, url }) => {
      for (const each of [method].flat()) accessOf(app, each, url);
    });
    app.addHook("onRequest", (request, reply) => letIn(app, deps, request, reply));
    app.addHook("onSend", (request, reply, payload) => recordAnswer(app, deps, request, reply, payload));
    for (const route of routes) await app.register(route);
  };
}

function accessOf({ prefix }: FastifyInstance, method: string, url: string): Access {
  const key = `${method === "HEAD" ? "GET" : method} ${url.slice(prefix.length)}`;
  const access = Object.hasOwn(operatorAccess, key) ? operatorAccess[key] : undefined;
  if (access === undefined) throw new TypeError(`${key} has no row in operatorAccess (src/api/operator-access.ts)`);
  return access;
}

function accessTo(app: FastifyInstance, request: FastifyRequest): Access {
  return accessOf(app, request.method, request.routeOptions.url ?? "");
}

/** Before the body is read. */
async function letIn(
  app: FastifyInstance,
  deps: OperatorGuardDeps,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<void> {
  const access = accessTo(app, request);
  let caller: OperatorCaller;
  try {
    caller = await deps.caller(request);
  } catch (error) {
    const refused = asWayleaveError(error);
    deps.onRefused(refused, access.action, request);
    if (refused.wire.http === 401) reply.header("www-authenticate", 'DPoP algs="ES256"'); // RFC 9449 §7.1
    throw error;
  }
  if (!covers(caller.roles, access.role)) {
    const has = caller.roles.join(", ");
    const error = new WayleaveError(
      "role_missing",
      `\`${access.action}\` needs the role ${access.role}; yours: ${has}. An operator maps groups under people.roles.`,
    );
    await deps.append(actionOf(request, caller, access, "refused", error));
    throw error;
  }
  setOperatorCaller(request, caller);
  if (access.endless && caller.signIn !== undefined) {
    deps.note(actionOf(request, caller, access, "done"));
    cutWhenOver(deps, request, caller);
  }
  admitted.add(request);
}

/** How long an answer without an end outlives its reader's sign-in at most, ms. */
const overCheckMs = 500;

function cutWhenOver(deps: OperatorGuardDeps, { raw }: FastifyRequest, caller: OperatorCaller): void {
  const timer = setInterval(() => {
    if (!deps.good(caller)) raw.destroy();
  }, overCheckMs);
  raw.once("close", () => clearInterval(timer));
}

/** Those whose answer is to be recorded. */
const admitted = new WeakSet<FastifyRequest>();

async function recordAnswer(
  app: FastifyInstance,
  deps: OperatorGuardDeps,
  request: FastifyRequest,
  reply: FastifyReply,
  payload: unknown,
): Promise<unknown> {
  if (!admitted.delete(request)) return payload;
  const access = accessTo(app, request);
  const caller = operatorCaller(request);
  const changes = request.method !== "GET" && request.method !== "HEAD" && access.asks !== true;
  const status = reply.statusCode;
  const outcome = status < 400 ? "done" : status < 500 ? "refused" : "failed";
  const event = actionOf(request, caller, access, outcome, status < 400 ? undefined : problemOf(payload));
  if (changes) await deps.append(event);
  else if (caller.signIn !== undefined) deps.note(event);
  return payload;
}

function actionOf(
  request: FastifyRequest,
  { who, signIn }: OperatorCaller,
  { action, role }: Access,
  outcome: "done" | "refused" | "failed",
  error?: { readonly code: string; readonly message: string },
): AuditEvent {
  const [path = ""] = request.url.split("?", 1);
  return {
    kind: "operator.action",
    data: {
      who,
      ...(signIn === undefined ? {} : { sign_in: signIn.sign_in, from: request.ip }),
      action,
      request: `${request.method} ${path.slice(0, 300)}`,
      role,
      outcome,
      ...(error === undefined ? {} : { code: error.code, detail: error.message }),
    },
  };
}

/** Code and detail of the problem document that goes out. */
function problemOf(payload: unknown): { readonly code: string; readonly message: string } | undefined {
  if (typeof payload !== "string") return undefined;
  try {
    const { code, detail } = JSON.parse(payload) as { code?: unknown; detail?: unknown };
    return typeof code === "string" && typeof detail === "string" ? { code, message: detail } : undefined;
  } catch {
    return undefined; // told by its outcome
  }
}
