import type { FastifyInstance } from "fastify";
import { z } from "zod";
import type { HttpOperation, Operation } from "../core/target.ts";
import type { Answer, DecisionPoint, Question } from "../gateway/decision-point.ts";
import { denialProblem } from "../gateway/denial-problem.ts";
import type { GatewayGuard, GuardedGateway } from "../gateway/gateway-guard.ts";
import { ambiguousMethod } from "../gateway/request-ambiguity.ts";
import { problem } from "./problem.ts";

/** A gateway that may ask by AuthZEN, and about which targets. */
export interface EvaluationGateway extends GuardedGateway {
  readonly targets: readonly string[];
}

export interface EvaluationDeps {
  readonly decisionPoint: DecisionPoint;
  readonly guard: GatewayGuard<EvaluationGateway>;
  onRefused(refusal: { readonly reason: string; readonly detail: string }): void;
}

const short = z.string().min(1).max(8192);

/** What is read of an Access Evaluation request; members we do not know say nothing about what is asked. */
export const Evaluation = z.object({
  subject: z.object({ type: z.literal("access_token"), id: z.string().min(1).max(16_384) }),
  action: z.object({ name: short, properties: z.object({ stream: z.boolean().optional() }).optional() }),
  resource: z.object({
    type: z.literal("target"),
    id: short,
    properties: z.object({ host: short.optional(), path: short.optional() }).optional(),
  }),
  context: z.object({ traceparent: z.string().max(64).optional() }).optional(),
});
type Evaluation = z.infer<typeof Evaluation>;

/**
 * `POST /access/v1/evaluation`: the decision for a gateway that speaks AuthZEN. The subject is known by its access token, the
 * resource is a target; `action.name` is an HTTP method, with `path` and `host` among the resource's properties, or one of the
 * verbs of the target's kind. What is not a question of a gateway's own target is refused, never decided.
 * @see OpenID AuthZEN Authorization API 1.0 §6
 */
export function evaluationRoutes(deps: EvaluationDeps) {
  return async (app: FastifyInstance): Promise<void> => {
    app.setErrorHandler(problem);
    app.post("/access/v1/evaluation", { bodyLimit: 65_536 }, async ({ headers, body }, reply) => {
      const id = one(headers["x-request-id"]) ?? "";
      if (/^[\x21-\x7e]{1,128}$/.test(id)) reply.header("x-request-id", id);
      const gateway = deps.guard(one(headers["x-wayleave-gateway"]), one(headers["x-wayleave-gateway-secret"]));
      const { status, answer } = await answerTo(deps, gateway, body);
      return reply.code(status).header("cache-control", "no-store").send(answer);
    });
  };
}

async function answerTo(
  { decisionPoint, onRefused }: EvaluationDeps,
  gateway: EvaluationGateway | undefined,
  body: unknown,
) {
  if (gateway === undefined) {
    const detail = "an evaluation was asked for without a gateway's name and secret";
    onRefused({ reason: "gateway_unauthenticated", detail });
    return { status: 401, answer: { status: 401, message: "gateway_unauthenticated" } };
  }
  const parsed = Evaluation.safeParse(body);
  const question = parsed.success ? questionOf(gateway, parsed.data) : undefined;
  if (question === undefined) {
    onRefused({
      reason: "invalid_request",
      detail: `gateway ${gateway.name} asked for no evaluation that can be read`,
    });
    return { status: 400, answer: { status: 400, message: "invalid_request" } };
  }
  if (!gateway.targets.includes(question.target)) {
    onRefused({ reason: "target_unknown", detail: `gateway ${gateway.name} does not front this target` });
    return { status: 200, answer: { decision: false, context: { reason: "target_unknown" } } };
  }
  return { status: 200, answer: evaluation(question, await decisionPoint.answer(question)) };
}

const one = (value: string | readonly string[] | undefined): string | undefined =>
  typeof value === "string" ? value : undefined;

function questionOf(
  gateway: EvaluationGateway,
  { subject, action, resource, context }: Evaluation,
): Question | undefined {
  const operation = operationOf(action, resource.properties);
  if (operation === undefined) return undefined;
  const ambiguity = operation.kind === "http" ? ambiguousMethod(operation.method) : undefined;
  return {
    gateway: gateway.name,
    target: resource.id,
    operation,
    authorization: `Bearer ${subject.id}`,
    ...(ambiguity === undefined ? {} : { ambiguity }),
    ...(context?.traceparent === undefined ? {} : { traceparent: context.traceparent }),
  };
}

function operationOf(action: Evaluation["action"], asked: Evaluation["resource"]["properties"]): Operation | undefined {
  if (asked?.path === undefined) return asked?.host === undefined ? { kind: "verb", verb: action.name } : undefined;
  const stream = action.properties?.stream ?? false;
  return {
    kind: "http",
    method: action.name,
    host: (asked.host ?? "").toLowerCase(),
    path: asked.path,
    stream,
  } satisfies HttpOperation;
}

/** What is let through is `true`, whatever policy would say of a target that is only observed; `context` tells them apart. */
function evaluation(question: Question, answer: Answer) {
  const { outcome, reason, record, rule, session, subject, job } = answer;
  const who = { ...(session === undefined ? {} : { session, subject, job }), ...(rule === undefined ? {} : { rule }) };
  if (outcome !== "deny") return { decision: true, context: { outcome, reason, record, ...who } };
  const status = answer.unauthenticated ? 401 : 403;
  const { title, detail, closest, next, explain } = denialProblem(question, answer, status, reason);
  return {
    decision: false,
    context: {
      ...{ outcome, reason, record, ...who },
      ...(answer.retryAfterSeconds === undefined ? {} : { retry_after: Math.ceil(answer.retryAfterSeconds) }),
      reason_user: { title, detail, closest, next, explain },
    },
  };
}
