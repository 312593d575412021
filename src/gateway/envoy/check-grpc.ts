import { timingSafeEqual } from "node:crypto";
import { WayleaveError } from "../../core/errors.ts";
import { type GrpcCall, type GrpcMethods, handWrittenUnary } from "../../grpc/method.ts";
import { CheckRequestSchema, CheckResponseSchema } from "../../proto/envoy/service/auth/v3/external_auth_pb.ts";
import type { GatewayGuard } from "../gateway-guard.ts";
import type { Verdict } from "./check-answer.ts";
import { type CheckDeps, decide, type EnvoyGateway, refuse } from "./check-gateway.ts";
import { type CheckMessage, readCheckMessage } from "./check-message.ts";
import { clientRequest } from "./check-request.ts";
import { encodeVerdict } from "./check-response.ts";

/** Envoy takes 60 KiB of headers unless told otherwise, and tells a path twice. */
const maxBytes = 262_144;

/** `envoy.service.auth.v3.Authorization/Check`. */
export function checkMethods(deps: CheckDeps, slowGuard: GatewayGuard<EnvoyGateway>): GrpcMethods {
  const guard = remembering(slowGuard);
  const check = (message: CheckMessage, call: GrpcCall) => {
    const verdict = ask(deps, guard, message, call);
    return verdict instanceof Promise ? verdict.then(encodeVerdict) : encodeVerdict(verdict);
  };
  const method = handWrittenUnary(CheckRequestSchema, CheckResponseSchema, readCheckMessage, check, { maxBytes });
  return { "/envoy.service.auth.v3.Authorization/Check": method };
}

/** The guard, which need not hash a secret that it has accepted before. Compares in constant time as well. */
function remembering(guard: GatewayGuard<EnvoyGateway>): GatewayGuard<EnvoyGateway> {
  const accepted = new Map<string, { readonly gateway: EnvoyGateway; readonly secret: Uint8Array }>();
  return (name = "", secret = "") => {
    const known = accepted.get(name);
    const presented = Buffer.from(secret, "utf8");
    const same = known?.secret.length === presented.length && timingSafeEqual(known.secret, presented);
    if (known !== undefined && same) return known.gateway;
    const gateway = guard(name, secret);
    if (gateway !== undefined) accepted.set(name, { gateway, secret: presented });
    return gateway;
  };
}

function ask(
  deps: CheckDeps,
  guard: GatewayGuard<EnvoyGateway>,
  message: CheckMessage,
  { metadata }: GrpcCall,
): Verdict | Promise<Verdict> {
  const gateway = guard(metadata.get("x-wayleave-gateway"), metadata.get("x-wayleave-gateway-secret"));
  if (gateway === undefined) {
    deps.onRefused?.({ reason: "gateway_unauthenticated", detail: "unknown gateway or wrong secret" });
    throw new WayleaveError(
      "gateway_unauthenticated",
      "No gateway of this name has this secret; send x-wayleave-gateway and x-wayleave-gateway-secret as rendered.",
    );
  }
  const { target, principal, method, path, host, headers } = message;
  const detail = missingPart(message);
  if (detail !== undefined) {
    return refuse(deps, { reason: "invalid_request", detail, gateway: gateway.name }, target);
  }
  const request = clientRequest({ method, authority: host, path }, headers);
  return decide(deps, { gateway, target, principal, request });
}

/** What the gateway's configuration fails to send. Nothing is ever taken from elsewhere instead. */
function missingPart({ http, target, headerMap, method, path }: CheckMessage): string | undefined {
  if (!http) return "the question is about no HTTP request";
  if (target === "") return "the route's context_extensions name no target; render the configuration again";
  if (!headerMap) return "headers came joined, so that duplicates cannot be seen; set encode_raw_headers: true";
  return method === "" || path === "" ? "the question has no method or path" : undefined;
}
