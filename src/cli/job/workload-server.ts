import { chmodSync } from "node:fs";
import { type SecretSource, secretDiscovery } from "../../gateway/envoy/sds.ts";
import type { Secrets } from "../../gateway/envoy/sds-secret.ts";
import { createGrpcServer } from "../../grpc/server.ts";
import type { CommandIo } from "../command-io.ts";
import { pem } from "../pem.ts";
import { printable } from "../terminal.ts";
import type { SvidSource, X509Svids } from "./svid-source.ts";
import { workloadApi } from "./workload-api.ts";
import { refusing, refusingNow } from "./workload-refusal.ts";

/** The Workload API and, beside it, SDS for the job's own Envoys, as SPIRE's agent serves both on one socket. */
export interface WorkloadServer {
  readonly path: string;
  close(): Promise<void>;
}

const maxTold = 5;

/** Listens on `path`, mode 0600, in a folder nobody else can enter. This module is slow to load. */
export async function startWorkloadServer(
  io: Pick<CommandIo, "now" | "stderr">,
  { path, source }: { readonly path: string; readonly source: SvidSource },
): Promise<WorkloadServer> {
  const say = sayer(io);
  const watch = {
    unknown: (name: string) =>
      say(`an Envoy asks for the secret ${JSON.stringify(name)}, which this job does not have`),
    rejected: (detail: string) => say(`an Envoy refused its secrets: ${detail}`),
  };
  const secrets: SecretSource = {
    latest: () => refusingNow(() => envoySecrets(source.x509.latest())),
    current: () => refusing(async () => envoySecrets(await source.x509.current())),
    follow: source.x509.follow,
  };
  const methods = {
    ...workloadApi(source, io.now),
    ...secretDiscovery({ admit: () => secrets, watch: () => watch }),
  };
  const server = createGrpcServer(methods, {
    onFault: (error) =>
      say(`the SPIFFE Workload API failed (${error instanceof Error ? error.name : "unknown cause"})`),
  });
  await server.listen({ path });
  chmodSync(path, 0o600);
  return { path, close: () => server.close(200) };
}

function envoySecrets(held: X509Svids): Secrets;
function envoySecrets(held: X509Svids | undefined): Secrets | undefined;
function envoySecrets(held: X509Svids | undefined): Secrets | undefined {
  if (held === undefined) return undefined;
  return {
    svids: held.svids.map(({ spiffeId, certificates, privateKey }) => ({
      spiffeId,
      certificateChainPem: pem("CERTIFICATE", certificates),
      privateKeyPem: pem("PRIVATE KEY", [privateKey]),
    })),
    trustDomain: held.trustDomain,
    bundles: new Map([...held.bundles].map(([domain, roots]) => [domain, pem("CERTIFICATE", roots)])),
  };
}

/** A few lines for the job's log; the rest would only repeat them. */
function sayer({ stderr }: Pick<CommandIo, "stderr">): (text: string) => void {
  const told = new Set<string>();
  return (text) => {
    if (told.size >= maxTold || told.has(text)) return;
    told.add(text);
    stderr.write(`wayleave: ${printable(text)}\n`);
  };
}
