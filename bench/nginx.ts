import { mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePort } from "../demo/free-port.ts";
import { createJobClient } from "../demo/job-client.ts";
import { nginxVersion, startNginx } from "../demo/nginx.ts";
import { vocabulary } from "../src/ci/providers.ts";
import { loadConfig } from "../src/config/load.ts";
import { readPolicyFiles } from "../src/config/policy-files.ts";
import { renderNginx, renderSecret } from "../src/gateway/nginx/render.ts";
import { compile } from "../src/policy/compile.ts";
import { parsePolicy } from "../src/policy/parse.ts";
import { type LoadResult, load } from "./http-load.ts";
import { makeInstallation } from "./installation.ts";
import { machine, median, table, thousands } from "./machine.ts";
import { temporaryPaths } from "./nginx-temporary.ts";
import { startProcess } from "./server-process.ts";

/** The same NGINX without authorization, asking Wayleave for every request, and with the 2 s decision cache. */
const rounds = 3;
const durationMs = 3_000;
const connections = 32;

async function main(): Promise<void> {
  console.log(
    `through NGINX ${nginxVersion()} (one worker), ${connections} connections, ${rounds} × ${durationMs / 1000} s each, in turn\n${machine()}\n`,
  );
  const installation = await makeInstallation({ cache: true });
  const broker = await startProcess(installation.configPath);
  const client = createJobClient(installation.url, "");
  const { body } = await client.exchange(await installation.subjectToken());
  await client.close();
  const request = [
    "GET /v1/invoices/42 HTTP/1.1",
    "Host: billing.internal",
    `Authorization: Bearer ${String(body.access_token)}`,
    "\r\n",
  ].join("\r\n");
  const variants = [
    { name: "no authorization", protect: false, cache: false },
    { name: "auth_request to Wayleave", protect: true, cache: false },
    { name: "the same with the decision cache", protect: true, cache: true },
  ];
  const running = [];
  for (const variant of variants) {
    const port = await freePort();
    const directory = await edge(installation.configPath, port, variant);
    running.push({
      ...variant,
      port,
      nginx: await startNginx({ directory, config: "nginx.conf" }),
      results: [] as LoadResult[],
    });
  }
  for (let round = 0; round < rounds; round++) {
    for (const { port, results } of running) {
      results.push(await load({ port, request, connections, durationMs, expect: "HTTP/1.1 200" }));
    }
  }
  const rps = (results: readonly LoadResult[]) => median(results.map((result) => result.requestsPerSecond));
  const base = rps(running[0]?.results ?? []);
  console.log(
    table([
      ["", "requests/s", "of bare", "p50 ms", "p99 ms", "failed"],
      ...running.map(({ name, results }) => [
        name,
        thousands(rps(results)),
        `${((100 * rps(results)) / base).toFixed(0)} %`,
        median(results.map((result) => result.p50Ms)).toFixed(2),
        median(results.map((result) => result.p99Ms)).toFixed(2),
        String(results.reduce((sum, result) => sum + result.failed, 0)),
      ]),
    ]),
  );
  for (const { nginx } of running) await nginx.stop();
  await broker.stop();
}

/** An edge in a folder of its own, with an upstream of NGINX's own that answers 200. */
async function edge(configPath: string, port: number, variant: { protect: boolean; cache: boolean }): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), "wayleave-bench-nginx-"));
  const loaded = loadConfig({ path: configPath, env: {} });
  if (!("config" in loaded)) throw new Error(JSON.stringify(loaded.diagnostics));
  const [gateway] = loaded.config.gateways;
  if (gateway === undefined) throw new TypeError("the installation has a gateway");
  const { model } = parsePolicy({
    ...(await readPolicyFiles(loaded.config.policyPath)),
    vocabulary,
    issuers: loaded.config.issuers,
  });
  if (model === undefined) throw new TypeError("the installation's policy is valid");
  const rendered = renderNginx({
    policy: compile(model, vocabulary),
    gateway: {
      name: gateway.name,
      brokerUrl: gateway.brokerUrl,
      secretFile: join(directory, "secret.conf"),
      directory,
      accessLog: join(directory, "access.json"),
      targets: gateway.targets,
      ...(variant.cache ? { cacheSeconds: 2, cachePath: join(directory, "cache"), njs: true } : {}),
    },
  });
  for (const file of rendered.files) await writeFile(join(directory, file.path), file.text, { mode: file.mode });
  await writeFile(join(directory, "secret.conf"), renderSecret(gateway.secret), { mode: 0o600 });
  await writeFile(join(directory, "nginx.conf"), conf(directory, port, variant.protect));
  return directory;
}

function conf(directory: string, port: number, protect: boolean): string {
  return `daemon off;
${process.getuid?.() === 0 ? "user root;" : ""}
worker_processes 1;
pid ${directory}/nginx.pid;
error_log ${directory}/error.log warn;
events { worker_connections 1024; }
http {
  ${temporaryPaths(directory)}
  access_log off;
  keepalive_requests 1000000;
  ${protect ? `include ${directory}/wayleave-http.conf;` : ""}
  upstream app { server unix:${directory}/app.sock; keepalive 64; }
  server {
    listen unix:${directory}/app.sock;
    location / { return 200 "ok"; }
  }
  server {
    listen 127.0.0.1:${port};
    server_name billing.internal;
    ${protect ? `include ${directory}/wayleave-server.conf;` : ""}
    location / {
      ${protect ? `include ${directory}/wayleave-location-billing.conf;` : 'proxy_http_version 1.1;\n      proxy_set_header Connection "";'}
      proxy_pass http://app;
    }
  }
}
`;
}

await main();
