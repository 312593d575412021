import { createHash } from "node:crypto";
import { connect, type Socket } from "node:net";
import { setTimeout as pause } from "node:timers/promises";
import { decodeJwt, exportJWK, generateKeyPair, SignJWT } from "jose";
import { envoyVersion } from "../demo/envoy.ts";
import { freePort } from "../demo/free-port.ts";
import type { Config } from "../src/config/config.ts";
import type { AuditRecord } from "../src/core/record.ts";
import type { Answer, DecisionPoint } from "../src/gateway/decision-point.ts";
import { createEnvoyCheck } from "../src/gateway/envoy/check.ts";
import { createGrpcServer } from "../src/grpc/server.ts";
import { connectGatewayFeed } from "../src/server/gateway-feed.ts";
import { identity } from "../src/session/harness.fake.ts";
import { SessionTable } from "../src/session/table.ts";
import { startFollowingEnvoy } from "../test/envoy-discovery-envoy.ts";
import { machine, percentile, table } from "./machine.ts";

/**
 * From the end of a session to the first request that a running Envoy refuses, while one client asks without pause: pushed
 * by ECDS over gRPC into an Envoy that decides itself, and by call-out. The figure includes the refused request.
 */
const trials = 200;
const issuer = "https://wayleave.bench.example";
const secret = "a-secret-of-the-benchmark";

const { publicKey, privateKey } = await generateKeyPair("ES256");
const jwk = { ...(await exportJWK(publicKey)), kid: "bench", alg: "ES256", use: "sig" };

async function main(): Promise<void> {
  console.log(
    `session end → Envoy ${envoyVersion()} refuses (one worker), ${trials} trials each; broker and client share a process\n${machine()}\n`,
  );
  const rows = [];
  for (const [name, transport, ended] of [
    ["ECDS over gRPC, native decision", "delta", 0],
    ["the same, 2,000 sessions refused already", "delta", 2_000],
    ["ext_authz over gRPC", "check", 0],
  ] as const) {
    const times = (await measure(transport, ended)).sort((a, b) => a - b);
    rows.push([
      name,
      percentile(times, 0.5).toFixed(2),
      percentile(times, 0.99).toFixed(2),
      times.at(-1)?.toFixed(2) ?? "",
    ]);
  }
  console.log(table([["", "p50 ms", "p99 ms", "max ms"], ...rows]));
}

async function measure(transport: "delta" | "check", ended: number): Promise<number[]> {
  const broker = await startBroker();
  for (let at = 0; at < ended; at++) broker.end(broker.open(`ses_before_${at}`));
  const envoy = await startFollowingEnvoy({
    transport,
    broker: { grpc: broker.port, rest: await freePort() },
    issuer,
    jwks: { keys: [jwk] },
    secret,
  });
  const client = await keepAlive(envoy.port());
  const times: number[] = [];
  for (let at = 0; at < trials; at++) {
    const session = broker.open(`ses_${at}`);
    const token = await sign(session);
    if ((await client.status(token)) !== 200) throw new Error("a living session was refused");
    await pause(20 + Math.random() * 50); // an end that comes right after another waits for its push
    const start = performance.now();
    broker.end(session);
    while ((await client.status(token)) === 200);
    times.push(performance.now() - start);
  }
  client.close();
  await envoy.stop();
  envoy.remove();
  await broker.stop();
  return times;
}

function sign(session: string): Promise<string> {
  return new SignJWT({ sid: session })
    .setProtectedHeader({ alg: "ES256", typ: "at+jwt", kid: "bench" })
    .setIssuer(issuer)
    .setJti(`jti of ${session}`)
    .setExpirationTime("10m")
    .sign(privateKey);
}

/** The parts of a broker that an end passes through, without its journal. */
async function startBroker() {
  const clock = { now: () => Date.now(), monotonic: () => performance.now() };
  const sessions = new SessionTable(clock.monotonic);
  const keys = { liveKids: () => ["bench"], onChange: () => () => undefined };
  const config = {
    sessions: { tokenTtlMs: 300_000 },
    gateways: [{ kind: "envoy", name: "inner", secret, revocationTtlMs: 15_000, behind: [] }],
  };
  const feed = connectGatewayFeed({
    config: config as unknown as Config,
    clock,
    table: sessions,
    recorder: { note: () => "rec_000000000000" },
    keys: { accessToken: keys, assertion: keys },
    policy: () => "p1",
    onFault: (error) => console.error(error),
  });
  const secretHashes = [createHash("sha256").update(secret).digest("hex")];
  const check = createEnvoyCheck({
    gateways: [{ name: "inner", secretHashes, targets: ["billing"], peers: [] }],
    decisionPoint: bySession(sessions),
  });
  const server = createGrpcServer({ ...feed.discovery.grpc, ...check.grpc }, { onFault: console.error });
  const where = await server.listen({ host: "127.0.0.1", port: 0 });
  return {
    port: typeof where === "object" ? where.port : 0,
    open(id: string): string {
      sessions.apply(opened(id));
      return id;
    },
    end(id: string): void {
      const session = sessions.find(id);
      if (session !== undefined) sessions.end(session, "operator", Date.now());
    },
    async stop(): Promise<void> {
      feed.close();
      await server.close(0);
    },
  };
}

function opened(id: string): AuditRecord {
  return {
    v: 1,
    id: "rec_000000000000",
    seq: 1,
    time: new Date().toISOString(),
    kind: "session.opened",
    session: id,
    data: {
      identity: identity(id),
      hard_end_at: Date.now() + 3_600_000,
      replay_key: id,
      replay_until: 0,
      refresh_hash: id,
      roles: [],
      policy: "p1",
      token: "",
    },
  };
}

/** Allows what belongs to a living session: the part of a decision that an end changes. */
function bySession(sessions: SessionTable): DecisionPoint {
  return {
    answer({ authorization }): Answer {
      const { sid } = decodeJwt(authorization?.replace("Bearer ", "") ?? "");
      const alive = sessions.view(String(sid))?.state === "active";
      return {
        outcome: alive ? "allow" : "deny",
        reason: alive ? "allowed" : "session_ended",
        record: "rec_000000000000",
        traceparent: "00-11111111111111111111111111111111-2222222222222222-01",
        cacheSeconds: 0,
        consumesAuthorization: true,
        unauthenticated: !alive,
      };
    },
  };
}

/** One connection, one request at a time. */
async function keepAlive(port: number) {
  const socket: Socket = connect(port, "127.0.0.1");
  socket.setNoDelay(true);
  await new Promise<void>((resolve, reject) => socket.once("connect", resolve).once("error", reject));
  return {
    status: (token: string) =>
      new Promise<number>((resolve) => {
        let answer = "";
        const read = (chunk: Buffer): void => {
          answer += chunk.toString("latin1");
          const head = answer.indexOf("\r\n\r\n");
          const length = Number(/content-length: (\d+)/i.exec(answer)?.[1] ?? 0);
          if (head === -1 || answer.length < head + 4 + length) return;
          socket.off("data", read);
          resolve(Number(answer.split(" ", 2)[1]));
        };
        socket.on("data", read);
        socket.write(`GET /v1/things HTTP/1.1\r\nHost: billing.internal\r\nAuthorization: Bearer ${token}\r\n\r\n`);
      }),
    close: () => socket.destroy(),
  };
}

await main();
