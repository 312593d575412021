import type { GrpcMethods } from "../../grpc/method.ts";
import { createGatewayGuard } from "../gateway-guard.ts";
import type { CheckDeps, EnvoyGateway } from "./check-gateway.ts";
import { checkMethods } from "./check-grpc.ts";
import { createHttpCheck } from "./check-http.ts";

export interface EnvoyCheckOptions extends CheckDeps {
  readonly gateways: readonly EnvoyGateway[];
}

/**
 * Answers Envoy's ext_authz, over gRPC (`envoy.service.auth.v3`) and over HTTP (`/authz/envoy/<target>`). Throws `TypeError`
 * for a secret hash that is no SHA-256.
 */
export function createEnvoyCheck(options: EnvoyCheckOptions): {
  readonly grpc: GrpcMethods;
  readonly http: ReturnType<typeof createHttpCheck>;
} {
  const guard = createGatewayGuard(options.gateways);
  return { grpc: checkMethods(options, guard), http: createHttpCheck(options, guard) };
}
