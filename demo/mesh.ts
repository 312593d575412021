import { readFileSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { request } from "node:https";
import { join } from "node:path";
import type { Config, EnvoyGatewayConfig } from "../src/config/config.ts";
import { renderEnvoy, renderSecret } from "../src/gateway/envoy/render.ts";
import type { PolicyModel } from "../src/policy/model.ts";
import { type RunningEnvoy, startEnvoy } from "./envoy.ts";
import { startWayleave, type WayleaveProcess } from "./wayleave-process.ts";

/** The inner hop of the story: an Envoy sidecar that takes mutual TLS from the edge, and everything that watches. */
export interface Mesh {
  readonly sidecar: EnvoyGatewayConfig;
  /** What the rendering had to say. */
  readonly notes: readonly string[];
  readonly envoy: RunningEnvoy;
  /** Sends the edge's log to the broker. */
  readonly follow: WayleaveProcess;
  /** A request straight to the sidecar, with the edge's own certificate: what somebody who broke into the edge could try. */
  fromEdge(
    method: string,
    path: string,
    assertion: string,
  ): Promise<{ readonly status: number; readonly body: string }>;
  close(): Promise<void>;
}

/** Writes the edge's certificate where its NGINX reads it. */
export async function fetchEdgeSvid(config: Config, directory: string): Promise<void> {
  const args = ["svid", "fetch", "--gateway", "edge-1", "--secret-file", join(config.dataDir, "..", "edge-1.secret")];
  const command = startWayleave([...args, "--out", directory, "--url", config.issuer], directory);
  await command.exited(0);
}

/** Renders, starts and watches the sidecar of a configuration. The edge's NGINX is the caller's. */
export async function startMesh(options: {
  readonly config: Config;
  readonly policy: PolicyModel;
  /** Emptied by the caller; everything of the sidecar goes there. */
  readonly directory: string;
  /** Where the edge's log and certificate are. */
  readonly edge: string;
}): Promise<Mesh> {
  const { config, directory, edge } = options;
  const sidecar = config.gateways.find((gateway) => gateway.kind === "envoy");
  if (sidecar === undefined) throw new TypeError("the story's mesh has a sidecar");
  const { envoy, notes } = await startRenderedEnvoy({ config, policy: options.policy, gateway: sidecar, directory });
  const log = join(edge, "access.json");
  await writeFile(log, "", { flag: "a" });
  const follow = startWayleave(
    ["gateway", "follow", "--gateway", "edge-1", "--log", log, "--config", config.file],
    edge,
  );
  return {
    sidecar,
    notes,
    envoy,
    follow,
    fromEdge: (method, path, assertion) => throughMutualTls(sidecar, edge, { method, path, assertion }),
    async close() {
      await Promise.all([envoy.stop(), follow.stop()]);
    },
  };
}

/** Renders one Envoy of a configuration into a new folder and starts it there. */
export async function startRenderedEnvoy(options: {
  readonly config: Config;
  readonly policy: PolicyModel;
  readonly gateway: EnvoyGatewayConfig;
  readonly directory: string;
}): Promise<{ readonly envoy: RunningEnvoy; readonly notes: readonly string[] }> {
  const { config, policy, gateway, directory } = options;
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const rendered = renderEnvoy({
    gateway: { ...gateway, directory, accessLog: join(directory, "access.json") },
    policy,
    issuer: config.issuer,
    trustDomain: config.trustDomain,
    tokenTtlMs: config.sessions.tokenTtlMs,
  });
  for (const { path, text, mode } of [...rendered.files, renderSecret(gateway.secret)])
    await writeFile(join(directory, path), text, { mode });
  return { envoy: await startEnvoy({ directory, config: "envoy.yaml" }), notes: rendered.notes };
}

function throughMutualTls(
  { listen, name }: EnvoyGatewayConfig,
  edge: string,
  call: { readonly method: string; readonly path: string; readonly assertion: string },
): Promise<{ status: number; body: string }> {
  const read = (file: string) => readFileSync(join(edge, file));
  return new Promise((resolve, reject) => {
    const sent = request(
      {
        ...listen,
        method: call.method,
        path: call.path,
        headers: { host: "billing.localhost", "txn-token": call.assertion },
        cert: read("svid.pem"),
        key: read("svid.key"),
        ca: read("bundle.pem"),
        servername: name,
        agent: false,
      },
      (response) => {
        let body = "";
        response.setEncoding("utf8");
        response.on("data", (text: string) => {
          body += text;
        });
        response.on("end", () => resolve({ status: response.statusCode ?? 0, body }));
      },
    );
    sent.once("error", reject);
    sent.end();
  });
}
