import type { FastifyInstance } from "fastify";
import { z } from "zod";
import { WayleaveError } from "../core/errors.ts";
import type { Canary } from "../core/policy-record.ts";
import type { PolicyListResponse, PolicyTextsRequest, RolloutResponse } from "./contract.ts";
import { operatorText } from "./operator-caller.ts";
import { problem } from "./problem.ts";

export interface PolicyRouteDeps {
  overview(): Promise<RolloutResponse>;
  list(): Promise<PolicyListResponse>;
  /** The verbs. Each is durable when it resolves. */
  propose(texts: PolicyTextsRequest, by: string): Promise<void>;
  withdraw(by: string): Promise<void>;
  tryOn(canary: Canary, version: string | undefined, by: string): Promise<void>;
  promote(version: string | undefined, by: string): Promise<void>;
  rollback(version: string | undefined, by: string): Promise<void>;
}

const Text = z.strictObject({ name: z.string().min(1).max(512), text: z.string() });
export const PolicyTextsBody = z.strictObject({ files: z.array(Text).min(1).max(64), lock: Text.exactOptional() });
const version = z
  .string()
  .regex(/^[0-9a-f]{6,64}$/, "a policy version is 6 to 64 of 0-9 and a-f")
  .exactOptional();
export const PolicyMeantBody = z.strictObject({ version });
export const CanaryBody = z.strictObject({
  projects: z.array(z.string().min(1).max(255)).max(1000).default([]),
  share: z.number().min(0).max(100).default(0),
  version,
});

/** A whole policy comes in one request. */
const maxTextBytes = 16 * 1024 * 1024;

/** Which policy is in force, which is tried, and the verbs that change that; on the operators' socket only. */
export function policyRoutes(deps: PolicyRouteDeps) {
  return async (app: FastifyInstance): Promise<void> => {
    app.setErrorHandler(problem);

    app.get("/v1/policy", async () => deps.overview());
    app.get("/v1/policies", async () => deps.list());

    app.post("/v1/policy/candidate", { bodyLimit: maxTextBytes }, async (request) => {
      await deps.propose(parse(PolicyTextsBody, request.body), operatorText(request));
      return deps.overview();
    });
    app.post("/v1/policy/candidate/withdraw", async (request) => {
      await deps.withdraw(operatorText(request));
      return deps.overview();
    });
    app.post("/v1/policy/canary", async (request) => {
      const { version: meant, ...canary } = parse(CanaryBody, request.body ?? {});
      await deps.tryOn(canary, meant, operatorText(request));
      return deps.overview();
    });
    app.post("/v1/policy/promote", async (request) => {
      await deps.promote(parse(PolicyMeantBody, request.body ?? {}).version, operatorText(request));
      return deps.overview();
    });
    app.post("/v1/policy/rollback", async (request) => {
      await deps.rollback(parse(PolicyMeantBody, request.body ?? {}).version, operatorText(request));
      return deps.overview();
    });
  };
}

function parse<T>(schema: z.ZodType<T>, value: unknown): T {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw new WayleaveError(
    "invalid_request",
    `${issue?.path.join(".") || "request"}: ${issue?.message ?? "not understood"}`,
  );
}
