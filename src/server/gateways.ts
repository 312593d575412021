import { randomUUID } from "node:crypto";
import { decodeJwt } from "jose";
import type { Dialect } from "../api/authz.ts";
import type { EvaluationDeps } from "../api/authzen.ts";
import type { Config, GatewayConfig } from "../config/config.ts";
import type { Clock } from "../core/clock.ts";
import { WayleaveError } from "../core/errors.ts";
import type { Recorder } from "../core/record.ts";
import { gatewaySpiffeId } from "../core/spiffe-id.ts";
import { subjectOf, verifyAccessToken } from "../credential/access-token.ts";
import { mintAssertion, pathHash, verifyAssertion } from "../credential/assertion.ts";
import { createProofVerifier } from "../credential/proof.ts";
import { createTokenCache } from "../credential/token-cache.ts";
import {
  createDecisionPoint,
  type DecisionPointDeps,
  type StandingPoint,
  type TokenVerdict,
} from "../gateway/decision-point.ts";
import { createEnvoyCheck } from "../gateway/envoy/check.ts";
import { createGatewayGuard, secretHash } from "../gateway/gateway-guard.ts";
import { keepSecondsAt } from "../gateway/keep.ts";
import { createLimits } from "../gateway/limits.ts";
import { createNginxDialect } from "../gateway/nginx/dialect.ts";
import { namesOperation } from "../gateway/proof-url.ts";
import type { GrpcMethods } from "../grpc/method.ts";
import type { Policy } from "../policy/policy.ts";
import type { SessionTable } from "../session/table.ts";
import type { BrokerKeys } from "./keys.ts";

export interface GatewayServices {
  readonly decisionPoint: StandingPoint;
  readonly limits: ReturnType<typeof createLimits>;
  readonly dialects: Readonly<Record<string, Dialect>>;
  /** What AuthZEN's evaluation needs: any gateway with a secret may ask it. */
  readonly evaluation: EvaluationDeps;
  /** Envoy's authorization checks. */
  readonly grpc: GrpcMethods;
}

/** The decision point over live sessions, and the dialect of every gateway kind. */
export function connectGateways(deps: {
  readonly config: Config;
  readonly clock: Clock;
  readonly recorder: Recorder;
  readonly table: SessionTable;
  readonly keys: BrokerKeys;
  policy(): Policy;
  /** A gateway asked. */
  onAsked(gateway: string): void;
  /** A question was not decided. */
  onRefused(detail: string, reason: string, gateway?: string): void;
  onFault(error: unknown): void;
}): GatewayServices {
  const { config, clock, keys, table } = deps;
  const limits = createLimits(clock);
  const cache = createTokenCache((token, now) => verifyAccessToken(keys.accessToken, config.issuer, token, now));
  keys.accessToken.onChange(cache.clear);
  const decisions = createDecisionPoint({
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
    prove: proveRequests(clock.now()),
    assertion: (token, now) => assertionVerdict(deps, token, now),
    subject: (view) => subjectOf(config.trustDomain, view.identity),
    fingerprint: keys.fingerprint,
    newTraceparent,
    passesOn: passesOn(config),
    keepMs: keepMs(config, deps.policy),
    onFault: deps.onFault,
    mintAssertion: assertionMinter(deps),
  });
  const decisionPoint: StandingPoint = {
    answer(question) {
      deps.onAsked(question.gateway);
      return decisions.answer(question);
    },
    refusedNow: decisions.refusedNow,
  };
  const onRefused = ({ reason, detail, gateway }: { reason: string; detail: string; gateway?: string }) =>
    deps.onRefused(detail, reason, gateway);
  const nginx = createNginxDialect({ decisionPoint, gateways: askers(config, "nginx"), onRefused });
  const envoy = createEnvoyCheck({
    decisionPoint,
    gateways: askers(config, "envoy").concat(askers(config, "istio")),
    onRefused,
  });
  // One behind others takes their word for its callers, and none of the callers'.
  const asking = config.gateways.filter(
    (each) => each.secret !== "" && (each.kind !== "envoy" || each.behind.length === 0),
  );
  const guard = createGatewayGuard(asking.map((gateway) => ({ ...askerOf(gateway), targets: gateway.targets })));
  const evaluation = { decisionPoint, guard, onRefused };
  return { decisionPoint, limits, evaluation, dialects: { nginx, "envoy/": envoy.http }, grpc: envoy.grpc };
}

/** Signs who is calling, as the one request was decided. */
function assertionMinter({
  config,
  keys,
  policy,
}: {
  readonly config: Config;
  readonly keys: BrokerKeys;
  policy(): Policy;
}): DecisionPointDeps["mintAssertion"] {
  return (question, view, rule, transaction, now) => {
    const { operation } = question;
    return mintAssertion(keys.assertion, {
      issuerUrl: config.issuer,
      trustDomain: config.trustDomain,
      subject: subjectOf(config.trustDomain, view.identity),
      sessionId: view.id,
      transaction,
      role: rule,
      denies: policy().deniesFor(view.identity, [question.target]),
      policy: policy().versionFor(view.identity),
      gateway: question.gateway,
      target: question.target,
      method: operation.kind === "http" ? operation.method : "",
      path: operation.kind === "http" ? operation.path : "",
      now,
      hardEndAt: view.hardEndAt,
    });
  };
}

/** Gateways of a kind as they prove themselves, with the SPIFFE IDs of those in front. */
function askers({ gateways, trustDomain }: Config, kind: GatewayConfig["kind"]) {
  return gateways
    .filter((gateway) => gateway.kind === kind)
    .map((gateway) => ({
      ...askerOf(gateway),
      targets: gateway.targets,
      peers: gateway.kind === "envoy" ? gateway.behind.map((front) => gatewaySpiffeId(trustDomain, front)) : [],
    }));
}

const askerOf = ({ name, secret }: GatewayConfig) => ({ name, secretHashes: [secretHash(secret)] });

/** NGINX alone repeats answers; what stands there without having been rendered for it keeps nothing. */
function keepMs({ gateways }: Config, policy: () => Policy): (gateway: string, target: string) => number {
  const keepers = new Map(gateways.flatMap((one) => (one.kind === "nginx" && one.njs ? [[one.name, one]] : [])));
  return (gateway, target) => {
    const keeper = keepers.get(gateway);
    const onOutage = policy().targets.get(target)?.onOutage;
    return keeper === undefined || onOutage === undefined ? 0 : keepSecondsAt(onOutage, keeper.keepAtMostMs) * 1000;
  };
}

function passesOn({ gateways }: Config): (gateway: string, target: string) => boolean {
  const pairs = new Set(
    gateways.flatMap((inner) =>
      inner.kind === "envoy"
        ? inner.behind.flatMap((front) => inner.targets.map((target) => `${front} ${target}`))
        : [],
    ),
  );
  return (gateway, target) => pairs.has(`${gateway} ${target}`);
}

/** The session of an assertion, narrowed to the role and the one request it was made for. */
async function assertionVerdict(
  { config, keys }: { readonly config: Config; readonly keys: BrokerKeys },
  token: string,
  now: number,
): Promise<TokenVerdict> {
  const found = await verifyAssertion(
    keys.assertion,
    { issuerUrl: config.issuer, trustDomain: config.trustDomain },
    token,
    now,
  ).catch(() => undefined);
  if (found === undefined) return { state: "ours" };
  const { sessionId, transaction, role, target, method, pathSha256 } = found;
  return {
    state: "valid",
    token: {
      jti: transaction,
      sessionId,
      narrowing: { targets: [target], roles: [role] },
      names: ({ target: asked, operation }) =>
        asked === target &&
        operation.kind === "http" &&
        operation.method === method &&
        pathHash(operation.path) === pathSha256,
    },
  };
}

/** Far more proofs than jobs make in the two minutes that one could be used again. */
const maxProofs = 400_000;

/**
 * Proofs that went with requests, as gateways quote them. They carry no nonce, since no gateway could hand one out; those made
 * before this process are refused, which may have been used before another.
 */
function proveRequests(since: number): DecisionPointDeps["prove"] {
  const proofs = createProofVerifier({ since, capacity: maxProofs });
  return async ({ proof = "", operation }, token, jkt, now) => {
    const method = operation.kind === "http" ? operation.method : "";
    const request = { method, url: (htu: string) => namesOperation(htu, operation), token };
    const refuseOthers = (thumbprint: string): void => {
      if (thumbprint !== jkt) throw new WayleaveError("proof_invalid", "The proof is by another key than the token's.");
    };
    try {
      await proofs.verify(proof, request, now, refuseOthers);
      return undefined;
    } catch (error) {
      if (!(error instanceof WayleaveError)) throw error;
      return error.code === "proof_replayed" ? "proof_replayed" : "proof_invalid";
    }
  };
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
