import { createHash } from "node:crypto";
import { rename, rm, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import { exportJWK, generateKeyPair, type JWK, SignJWT } from "jose";
import { Agent, request } from "undici";
import { freePort } from "../demo/free-port.ts";
import { WayleaveError } from "../src/core/errors.ts";
import type { AuditEvent } from "../src/core/record.ts";
import { createRefusalsDiscovery, type RefusalsDiscovery } from "../src/gateway/envoy/discovery.ts";
import { writeDiscoveryFile } from "../src/gateway/envoy/discovery-file.ts";
import { type Refusals, refusalsConfig, refusalsFilterType, refusalsName } from "../src/gateway/envoy/refusals.ts";
import { createGrpcServer } from "../src/grpc/server.ts";
import { documentFile, startFollowingEnvoy, type Transport } from "./envoy-discovery-envoy.ts";
import type { RealEnvoy } from "./real-envoy.ts";

const secret = "a-secret-of-the-lab-only";
const issuer = "https://wayleave.lab.example";

/** A broker's discovery on real sockets. */
interface LabBroker {
  readonly discovery: RefusalsDiscovery;
  readonly events: readonly AuditEvent[];
  /** What the gateways said, oldest first. */
  readonly seen: readonly string[];
  /** Dies: every connection is cut. */
  kill(): Promise<void>;
}

export interface Lab {
  readonly envoy: RealEnvoy;
  /** The one that runs now. */
  readonly broker: LabBroker;
  /** Ends sessions, and tells at once whoever follows. */
  end(...sessions: string[]): void;
  revoke(jti: string): void;
  /** The keys that live; all others are refused. */
  keys(...kids: string[]): void;
  /** While on, what goes out is nothing an Envoy can take. */
  spoil(on: boolean): void;
  kill(): Promise<void>;
  /** The broker again, with what it knew, as another run. */
  revive(): Promise<void>;
  token(session: string, jti?: string): Promise<string>;
  /** Status of one request; keep-alive, one connection for each agent. */
  call(token: string, agent?: Agent): Promise<number>;
  /** Calls until the answer is this status; rejects after 10 s. Resolves with how long it took, ms. */
  until(token: string, status: number): Promise<number>;
  stop(): Promise<void>;
}

/**
 * A signing key, a broker and a real Envoy that follows it by one transport.
 *
 * @param presented What the Envoy proves itself with, when that is not the right secret.
 */
export async function startLab(transport: Transport, ttlMs: number, presented = secret): Promise<Lab> {
  const { publicKey, privateKey } = await generateKeyPair("ES256");
  const jwk: JWK = { ...(await exportJWK(publicKey)), kid: "kid-1", alg: "ES256", use: "sig" };
  const ports = { grpc: await freePort(), rest: await freePort() };
  const state = { sessions: new Set<string>(), tokens: new Set<string>(), kids: ["kid-1"], spoiled: false };
  const agent = new Agent();
  let run = 0;
  const begin = () => startBroker(ports, ttlMs, `run${++run}`, state);
  let broker = await begin();
  const follower = transport === "file" ? followByFile(() => broker.discovery, ttlMs) : undefined;
  const envoy = await startFollowingEnvoy({
    transport,
    broker: ports,
    issuer,
    jwks: { keys: [jwk] },
    secret: presented,
    ...(follower === undefined ? {} : { document: follower.document() }),
  });
  const file = `${envoy.directory}/${documentFile}`;
  follower?.start(file);
  const changed = () => {
    broker.discovery.changed();
    follower?.write();
  };
  const call: Lab["call"] = (token, through = agent) => callThrough(envoy.port(), token, through);
  return {
    envoy,
    get broker() {
      return broker;
    },
    end(...sessions) {
      for (const session of sessions) state.sessions.add(session);
      changed();
    },
    revoke(jti) {
      state.tokens.add(jti);
      changed();
    },
    keys(...kids) {
      state.kids = kids;
      changed();
    },
    spoil(on) {
      state.spoiled = on;
      changed();
    },
    async kill() {
      follower?.stop();
      await broker.kill();
    },
    async revive() {
      broker = await begin();
      follower?.start(file);
    },
    token: (session, jti = `${session}-1`) =>
      new SignJWT({ sid: session })
        .setProtectedHeader({ alg: "ES256", typ: "at+jwt", kid: "kid-1" })
        .setIssuer(issuer)
        .setJti(jti)
        .setExpirationTime("10m")
        .sign(privateKey),
    call,
    until: (token, status) => until(() => call(token), status),
    async stop() {
      follower?.stop();
      await envoy.stop();
      envoy.remove();
      await Promise.all([broker.kill(), agent.close()]);
    },
  };
}

async function callThrough(port: number, token: string, dispatcher: Agent): Promise<number> {
  const { statusCode, body } = await request(`http://127.0.0.1:${port}/v1/things`, {
    headers: { authorization: `Bearer ${token}` },
    dispatcher,
  });
  await body.dump();
  return statusCode;
}

interface LabState {
  readonly sessions: ReadonlySet<string>;
  readonly tokens: ReadonlySet<string>;
  readonly kids: readonly string[];
  readonly spoiled: boolean;
}

async function startBroker(
  ports: { readonly grpc: number; readonly rest: number },
  ttlMs: number,
  run: string,
  state: LabState,
): Promise<LabBroker> {
  const events: AuditEvent[] = [];
  const seen: string[] = [];
  const refusals = (validUntil: number): Refusals => ({
    sessions: [...state.sessions],
    tokens: [...state.tokens],
    kids: state.kids,
    validUntil,
  });
  const discovery = createRefusalsDiscovery({
    gateways: [
      {
        name: "inner",
        secretHashes: [createHash("sha256").update(secret).digest("hex")],
        ttlMs,
        config: (validUntil) => {
          const config = refusalsConfig(refusals(validUntil), "");
          // A matcher without any: well-formed, and no Envoy takes it.
          const empty = { "@type": refusalsFilterType, matcher: { matcher_list: {} } };
          return state.spoiled ? { ...config, typed_config: empty } : config;
        },
      },
    ],
    clock: { now: () => Date.now(), monotonic: () => performance.now() },
    after(ms, then) {
      const timer = setTimeout(then, ms);
      return () => clearTimeout(timer);
    },
    run,
    note: (event) => events.push(event),
    watch: {
      connected(node) {
        seen.push(`connected ${node.id} ${node.policy ?? "?"}`);
        return () => seen.push(`gone ${node.id}`);
      },
      heard: (_node, taken) => seen.push(`took ${taken?.version ?? "nothing"}`),
      refused: (_node, { version }, detail) => seen.push(`refused ${version}: ${detail}`),
    },
  });
  const grpc = createGrpcServer(discovery.grpc, { onFault: (error) => seen.push(`fault ${String(error)}`) });
  await grpc.listen({ host: "127.0.0.1", port: ports.grpc });
  const rest = await listenRest(discovery, ports.rest);
  return {
    discovery,
    events,
    seen,
    async kill() {
      const closed = new Promise<void>((resolve) => rest.close(() => resolve()));
      rest.closeAllConnections();
      discovery.close();
      await Promise.all([closed, grpc.close(0)]);
    },
  };
}

async function listenRest(discovery: RefusalsDiscovery, port: number): Promise<Server> {
  const server = createServer(async (incoming, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of incoming) chunks.push(chunk as Buffer);
    try {
      const headers = new Map(Object.entries(incoming.headers).map(([name, value]) => [name, String(value)]));
      const { status, body } = discovery.rest(headers, JSON.parse(Buffer.concat(chunks).toString()));
      response.writeHead(status, { "content-type": "application/json" });
      response.end(body === undefined ? undefined : JSON.stringify(body));
    } catch (error) {
      response.writeHead(error instanceof WayleaveError ? error.wire.http : 500).end();
    }
  });
  await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
  return server;
}

/** What stands beside an Envoy that cannot be reached: polls as it would, and writes what comes into its file. */
function followByFile(discovery: () => RefusalsDiscovery, ttlMs: number) {
  const proof = new Map([
    ["x-wayleave-gateway", "inner"],
    ["x-wayleave-gateway-secret", secret],
  ]);
  const poll = () => discovery().rest(proof, { resource_names: [refusalsName("p1")] }).body;
  let path = "";
  let timer: NodeJS.Timeout | undefined;
  let writing: Promise<void> = Promise.resolve();
  const write = () => {
    const document = poll();
    if (document === undefined || timer === undefined) return;
    writing = writing.then(() => writeDiscoveryFile(path, document, { writeFile, rename, rm }));
  };
  return {
    document: () => JSON.stringify(poll()),
    write,
    start(file: string) {
      path = file;
      timer = setInterval(write, ttlMs / 10);
      write();
    },
    stop() {
      clearInterval(timer);
      timer = undefined;
    },
  };
}

/** Asks until the answer is this one: what a client without any knowledge of the gateway sees. */
async function until(ask: () => Promise<number>, status: number): Promise<number> {
  const start = performance.now();
  let last: number | undefined;
  while (performance.now() - start < 10_000) {
    last = await ask();
    if (last === status) return performance.now() - start;
  }
  throw new Error(`still ${last} after 10 s, not ${status}`);
}

/** Sum of the counters of an Envoy whose name matches. */
export async function counter(envoy: RealEnvoy, filter: string): Promise<number> {
  const lines = (await envoy.admin(`/stats?filter=${encodeURIComponent(filter)}`))
    .split("\n")
    .filter((line) => line !== "");
  return lines.reduce((sum, line) => sum + Number(line.split(": ")[1]), 0);
}
