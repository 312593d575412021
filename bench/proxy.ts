import { mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePort } from "../demo/free-port.ts";
import { createJobClient } from "../demo/job-client.ts";
import { nginxVersion, startNginx } from "../demo/nginx.ts";
import { type LoadResult, load } from "./http-load.ts";
import { makeInstallation } from "./installation.ts";
import { machine, median, table, thousands } from "./machine.ts";
import { temporaryPaths } from "./nginx-temporary.ts";
import { startProcess } from "./server-process.ts";

/** One service asked directly, through plain NGINX that decides nothing, and through the Wayleave proxy that decides each request. */
const rounds = 3;
const durationMs = 3_000;
const connections = 32;

async function main(): Promise<void> {
  const [service, plain, proxy] = [await freePort(), await freePort(), await freePort()];
  console.log(
    `NGINX ${nginxVersion()} (one worker) as the service and as the plain proxy; ${connections} connections, ${rounds} × ${durationMs / 1000} s each, in turn\n${machine()}\n`,
  );
  const directory = await mkdtemp(join(tmpdir(), "wayleave-bench-proxy-"));
  await writeFile(join(directory, "nginx.conf"), conf(directory, service, plain));
  const nginx = await startNginx({ directory, config: "nginx.conf" });
  const front = { name: "front", kind: "proxy", targets: ["billing"], listen: `127.0.0.1:${proxy}` };
  const upstreams = { billing: { url: `http://127.0.0.1:${service}` } };
  const installation = await makeInstallation({ gateways: [{ ...front, upstreams }] });
  const broker = await startProcess(installation.configPath);
  const client = createJobClient(installation.url, "");
  const { body } = await client.exchange(await installation.subjectToken());
  await client.close();
  const head = ["GET /v1/invoices/42 HTTP/1.1", "Host: billing.internal"];
  const request = [...head, `Authorization: Bearer ${String(body.access_token)}`, "\r\n"].join("\r\n");
  const ways = [
    { name: "the service itself", port: service, results: [] as LoadResult[] },
    { name: "plain NGINX in front", port: plain, results: [] as LoadResult[] },
    { name: "the Wayleave proxy in front", port: proxy, results: [] as LoadResult[] },
  ];
  for (let round = 0; round < rounds; round++) {
    for (const { port, results } of ways) {
      results.push(await load({ port, request, connections, durationMs, expect: "HTTP/1.1 200" }));
    }
  }
  console.log(
    table([
      ["", "requests/s", "p50 ms", "p99 ms", "failed"],
      ...ways.map(({ name, results }) => [
        name,
        thousands(median(results.map((result) => result.requestsPerSecond))),
        median(results.map((result) => result.p50Ms)).toFixed(2),
        median(results.map((result) => result.p99Ms)).toFixed(2),
        String(results.reduce((sum, result) => sum + result.failed, 0)),
      ]),
    ]),
  );
  await nginx.stop();
  await broker.stop();
}

function conf(directory: string, service: number, plain: number): string {
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
  upstream app { server 127.0.0.1:${service}; keepalive 64; }
  server {
    listen 127.0.0.1:${service};
    location / { return 200 "ok"; }
  }
  server {
    listen 127.0.0.1:${plain};
    location / {
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_pass http://app;
    }
  }
}
`;
}

await main();
