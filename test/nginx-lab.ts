import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type Server } from "node:http";
import { connect } from "node:net";
import type { DecisionPoint } from "../src/gateway/decision-point.ts";
import { createNginxDialect } from "../src/gateway/nginx/dialect.ts";
import { type RenderedNginx, renderNginx, renderSecret } from "../src/gateway/nginx/render.ts";
import type { NginxGatewaySettings } from "../src/gateway/nginx/settings.ts";
import type { Policy } from "../src/policy/policy.ts";
import { type RealNginx, startNginx } from "./real-nginx.ts";

/** What an upstream was asked to do, as its own HTTP parser read it. */
export interface Served {
  readonly method: string;
  readonly url: string;
  readonly rawHeaders: readonly string[];
}

export interface Lab {
  readonly nginx: RealNginx;
  readonly rendered: RenderedNginx;
  readonly served: Served[];
  /** Connections that NGINX opened to the decision point. */
  connections(): number;
  /** Ends the decision point; NGINX stays. */
  killDecisionPoint(): Promise<void>;
  /** Ends everything; the access log is complete then. */
  stop(): Promise<void>;
  log(): Record<string, string>[];
}

export interface RunningBroker {
  readonly url: string;
  readonly gatewaySecret: string;
}

export interface LabOptions {
  readonly policy: Policy;
  /** Behind the dialect over real HTTP; or a broker that listens already, and what gateway `edge-1` proves itself with. */
  readonly decisionPoint: DecisionPoint | RunningBroker;
  readonly gateway?: Partial<NginxGatewaySettings>;
  /** What stands in `http { }` beside the rendered file. */
  readonly http?: string;
  /** What stands in `server { }` before and between, given how to proxy to the upstream. */
  readonly server: (upstream: string) => string;
}

const gatewaySecret = "a-secret-of-the-lab-only";

/** Client, real NGINX with rendered includes, the dialect over real HTTP, and an upstream that notes what it serves. */
export async function startLab(options: LabOptions): Promise<Lab> {
  const served: Served[] = [];
  const upstream = await listen((request, done) => {
    served.push({ method: request.method ?? "", url: request.url ?? "", rawHeaders: request.rawHeaders });
    done(200, [["Content-Type", "text/plain"]], "served\n");
  });
  const targets = [...options.policy.targets.keys()];
  const broker = await brokerFor(options.decisionPoint, targets);
  let rendered: RenderedNginx = { files: [], notes: [] };
  const nginx = await startNginx({
    files: (directory) => {
      const gateway: NginxGatewaySettings = {
        name: "edge-1",
        brokerUrl: broker.url,
        targets,
        directory: `${directory}/wayleave`,
        secretFile: `${directory}/wayleave/secret.conf`,
        accessLog: `${directory}/wayleave.log`,
        cachePath: `${directory}/cache`,
        ...options.gateway,
      };
      rendered = renderNginx({ gateway, policy: options.policy });
      return [
        ...rendered.files.map((file) => ({ ...file, path: `wayleave/${file.path}` })),
        { path: "wayleave/secret.conf", text: renderSecret(broker.gatewaySecret), mode: 0o600 },
      ];
    },
    http: (directory, port) => `
  include ${directory}/wayleave/wayleave-http.conf;
  keepalive_timeout 200ms;
  client_header_timeout 500ms;
  client_body_timeout 500ms;
  ${options.http ?? ""}
  server {
    listen 127.0.0.1:${port};
    http2 on;
    server_name billing.internal;
    include ${directory}/wayleave/wayleave-server.conf;
    ${options.server(upstream.url).replaceAll("@lab", directory)}
  }`,
  });
  return {
    nginx,
    rendered,
    served,
    connections: broker.connections,
    killDecisionPoint: broker.close,
    stop: async () => {
      await nginx.stop();
      await Promise.all([upstream.close(), broker.close()]);
    },
    log: () =>
      nginx
        .read("wayleave.log")
        .split("\n")
        .filter(Boolean)
        .map((line) => JSON.parse(line)),
  };
}

async function brokerFor(decisionPoint: DecisionPoint | RunningBroker, targets: readonly string[]) {
  if ("url" in decisionPoint) return { ...decisionPoint, connections: () => 0, close: () => Promise.resolve() };
  const gateways = [
    { name: "edge-1", secretHashes: [createHash("sha256").update(gatewaySecret).digest("hex")], targets },
  ];
  const dialect = createNginxDialect({ gateways, decisionPoint });
  const broker = await listen(async (request, done) => {
    const { status, headers } = await dialect({ method: request.method, rawHeaders: request.rawHeaders });
    done(status, headers);
  });
  return { ...broker, gatewaySecret };
}

type Done = (status: number, headers: readonly (readonly [string, string])[], body?: string) => void;

async function listen(handle: (request: IncomingMessage, done: Done) => void | Promise<void>) {
  let connections = 0;
  const server: Server = createServer({ keepAliveTimeout: 60_000 }, (request, response) => {
    request.resume();
    void handle(request, (status, headers, body) => response.writeHead(status, headers.flat()).end(body));
  });
  server.on("connection", () => connections++);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  if (address === null || typeof address === "string") throw new TypeError("no port");
  return {
    url: `http://127.0.0.1:${address.port}`,
    connections: () => connections,
    close: () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/** Sends exactly these bytes and resolves with all that came back until NGINX closed the connection. */
export function sendBytes(port: number, bytes: string): Promise<string> {
  return new Promise((resolve) => {
    let answer = "";
    const socket = connect(port, "127.0.0.1", () => socket.write(Buffer.from(bytes, "latin1")));
    socket.setEncoding("latin1");
    socket.on("data", (text: string) => {
      answer += text;
    });
    socket.on("error", () => undefined); // a reset is an answer too: what came before it counts
    socket.on("close", () => resolve(answer));
  });
}

/** One well-formed request over its own connection. */
export async function request(port: number, line: string, headers: Readonly<Record<string, string>> = {}) {
  const fields = Object.entries({ Host: "billing.internal", Connection: "close", ...headers });
  const answer = await sendBytes(
    port,
    `${line} HTTP/1.1\r\n${fields.map(([name, value]) => `${name}: ${value}\r\n`).join("")}\r\n`,
  );
  const [head = "", ...body] = answer.split("\r\n\r\n");
  const [first = "", ...rest] = head.split("\r\n");
  const found = Object.fromEntries(
    rest.map((text) => [text.slice(0, text.indexOf(":")).toLowerCase(), text.slice(text.indexOf(":") + 2)]),
  );
  return { status: Number(first.split(" ")[1]), headers: found as Record<string, string>, body: body.join("\r\n\r\n") };
}
