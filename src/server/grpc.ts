import type { AddressInfo } from "node:net";
import type { Logger } from "pino";
import type { Config } from "../config/config.ts";
import type { Clock } from "../core/clock.ts";
import { toPem } from "../credential/ca-authority.ts";
import { gatewaySecrets } from "../gateway/envoy/sds-gateways.ts";
import { createGatewayGuard, secretHash } from "../gateway/gateway-guard.ts";
import type { GrpcMethods } from "../grpc/method.ts";
import { createGrpcServer } from "../grpc/server.ts";
import { listenAt } from "./listen.ts";
import type { Spiffe } from "./spiffe.ts";

/** The running gRPC listener. */
export interface GrpcListener {
  readonly port: number;
  close(): Promise<void>;
}

/** Certificates for the Envoys of the inventory, by SDS. */
export function secretMethods(deps: {
  readonly config: Config;
  readonly clock: Clock;
  readonly spiffe: Spiffe;
  readonly log: Logger;
  onRefused(detail: string): void;
}): GrpcMethods {
  const { config, spiffe, log } = deps;
  const envoys = config.gateways.filter(({ kind }) => kind === "envoy");
  return gatewaySecrets({
    clock: deps.clock,
    after(ms, run) {
      const timer = setTimeout(run, ms);
      return () => clearTimeout(timer);
    },
    trustDomain: config.trustDomain,
    guard: createGatewayGuard(envoys.map(({ name, secret }) => ({ name, secretHashes: [secretHash(secret)] }))),
    mint: spiffe.mintGatewaySvid,
    bundles: () => new Map([...spiffe.roots()].map(([domain, roots]) => [domain, toPem(roots)])),
    onBundles: spiffe.onBundleChange,
    onRefused: deps.onRefused,
    onTrouble: (gateway, detail) => log.warn({ gateway, detail }, "certificates of a gateway"),
  });
}

/** Listens where the configuration says; undefined where it says nothing. */
export async function listenGrpc(
  config: Config,
  methods: GrpcMethods,
  options: { readonly isServing: () => boolean; readonly onFault: (error: unknown) => void },
): Promise<GrpcListener | undefined> {
  const { grpc, tls } = config.listen;
  if (grpc === undefined) return undefined;
  const server = createGrpcServer(methods, { ...options, ...(tls === undefined ? {} : { tls }) });
  const address = (await listenAt({ setting: "listen.grpc", ...grpc }, () => server.listen(grpc))) as AddressInfo;
  return { port: address.port, close: () => server.close() };
}
