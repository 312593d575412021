import { createHash, randomUUID } from "node:crypto";
import { decodeJwt } from "jose";
import type { Dialect } from "../api/authz.ts";
import type { Config } from "../config/config.ts";
import type { Clock } from "../core/clock.ts";
import type { Recorder } from "../core/record.ts";
import { subjectOf, verifyAccessToken } from "../credential/access-token.ts";
import { mintAssertion } from "../credential/assertion.ts";
import { createTokenCache } from "../credential/token-cache.ts";
import { createDecisionPoint, type DecisionPoint, type TokenVerdict } from "../gateway/decision-point.ts";
import { createLimits } from "../gateway/limits.ts";
import { createNginxDialect } from "../gateway/nginx/dialect.ts";
import type { Policy } from "../policy/policy.ts";
import type { SessionTable } from "../session/table.ts";
import type { BrokerKeys } from "./keys.ts";

export interface GatewayServices {
  readonly decisionPoint: DecisionPoint;
  readonly limits: ReturnType<typeof createLimits>;
  readonly dialects: Readonly<Record<string, Dialect>>;
}

/** The decision point over live sessions, and the dialect of every gateway kind. */
export function connectGateways(deps: {
  readonly config: Config;
  readonly clock: Clock;
  readonly recorder: Recorder;
  readonly table: SessionTable;
  readonly keys: BrokerKeys;
  policy(): Policy;
  onRefused(detail: string): void;
  onFault(error: unknown): void;
}): GatewayServices {
  const { config, clock, keys, table } = deps;
  const limits = createLimits(clock);
  const cache = createTokenCache((token, now) => verifyAccessToken(keys.accessToken, config.issuer, token, now));
  const decisionPoint = createDecisionPoint({
    clock,
    recorder: deps.recorder,
    limits,
    durableBeforeAnswer: config.durable === "before_answer",
    policy: deps.policy,
    session: (id) => table.find(id),
    revoked: (jti) => table.revoked(jti),
    token: (bearer, now) => {
      const found = cache.lookup(bearer, now);
      return found instanceof Promise
        ? found.then((later) => verdict(later, bearer, config.issuer))
        : verdict(found, bearer, config.issuer);
    },
    subject: (view) => subjectOf(config.trustDomain, view.identity),
    fingerprint: keys.fingerprint,
    newTraceparent,
    onFault: deps.onFault,
    mintAssertion: (question, view, rule, transaction, now) => {
      const { operation } = question;
      return mintAssertion(keys.assertion, {
        issuerUrl: config.issuer,
        trustDomain: config.trustDomain,
        subject: subjectOf(config.trustDomain, view.identity),
        sessionId: view.id,
        transaction,
        role: rule,
        gateway: question.gateway,
        target: question.target,
        method: operation.kind === "http" ? operation.method : "",
        path: operation.kind === "http" ? operation.path : "",
        now,
        hardEndAt: view.hardEndAt,
      });
    },
  });
  const nginx = createNginxDialect({
    decisionPoint,
    gateways: config.gateways
      .filter((gateway) => gateway.kind === "nginx")
      .map(({ name, secret, targets }) => ({
        name,
        targets,
        secretHashes: [createHash("sha256").update(secret).digest("hex")],
      })),
    onRefused: (refusal) => deps.onRefused(`${refusal.reason}: ${refusal.detail}`),
  });
  return { decisionPoint, limits, dialects: { nginx } };
}

/** An unusable token that names us as its issuer is ours; anything else belongs to somebody else and is left alone. */
function verdict(
  found: Awaited<ReturnType<ReturnType<typeof createTokenCache>["lookup"]>>,
  bearer: string,
  issuerUrl: string,
): TokenVerdict {
  if (found.state !== "invalid") return found;
  try {
    return decodeJwt(bearer).iss === issuerUrl ? { state: "ours" } : { state: "foreign" };
  } catch {
    return { state: "foreign" };
  }
}

/** A W3C traceparent for a request that came without one. */
function newTraceparent(): string {
  const trace = randomUUID().replaceAll("-", "");
  return `00-${trace}-${trace.slice(8, 24)}-01`;
}
