import { pino } from "pino";
import { createApp } from "../api/app.ts";
import { natsGatewayRoutes } from "../api/nats-gateway.ts";
import { createGatewayGuard, secretHash } from "../gateway/gateway-guard.ts";
import { createLimits } from "../gateway/limits.ts";
import type { ServerControl } from "../gateway/nats/ports.ts";
import { besidePolicy } from "../policy/beside.ts";
import { createNatsDesk } from "./nats-desk.ts";
import { createNatsFeed, type PolicyTexts } from "./nats-feed.ts";
import { createNatsIntake } from "./nats-intake.ts";
import { connectBroker, type RemoteBrokerOptions } from "./nats-standalone.ts";
import { type NatsWorld, natsPolicy, natsWorld, shopNats } from "./nats-world.fake.ts";

export const secret = "a secret of the gateway jobs, long enough";

/** A broker's listener for NATS gateways, on loopback, and a gateway's half of it. Time is real here, but for the broker's wall. */
export async function remoteWorld() {
  const w = natsWorld();
  let text = shopNats;
  let tried: PolicyTexts["candidate"];
  const kicked: string[] = [];
  const control: ServerControl = {
    async kick(serverId, cid) {
      kicked.push(`${serverId} ${cid}`);
      return cid !== 404;
    },
    totals: async (_serverId, cid) =>
      cid === 404 ? undefined : { received: { messages: 1, bytes: 2 }, sent: { messages: 3, bytes: 4 } },
  };
  const clock = { now: w.clock.now, monotonic: () => performance.now() };
  const refused: string[] = [];
  const followers = new Set<(line: object) => void>();
  const broker = async (port = 0) => {
    const feed = createNatsFeed({
      gateway: w.deps.gateway,
      clock,
      table: w.table,
      policy: () => w.world.policy,
      texts: () => ({
        version: w.world.policy.version,
        files: [{ name: "policy.yaml", text }],
        ...(tried === undefined ? {} : { candidate: tried }),
        issuers: [{ name: "gitlab", type: "gitlab" }],
      }),
      every(ms, run) {
        const timer = setInterval(run, ms / 20);
        return () => clearInterval(timer);
      },
    });
    const desk = createNatsDesk({
      gateway: {
        name: "jobs",
        listen: { host: "127.0.0.1", port: 0 },
        servers: [{ host: "127.0.0.1", port: 4222, tls: false }],
      },
      authority: w.authority,
      feed,
      intake: intakeOf(w),
      control,
    });
    const counted = {
      ...desk,
      follow(send: (line: object) => void) {
        const stop = desk.follow(send);
        followers.add(send);
        return () => {
          followers.delete(send);
          stop();
        };
      },
    };
    const guard = createGatewayGuard([{ name: "jobs", secretHashes: [secretHash(secret)] }]);
    const app = createApp({
      log: pino({ level: "silent" }),
      behindProxy: false,
      routes: [
        natsGatewayRoutes({
          gateway: (name, presented) => (guard(name, presented) === undefined ? undefined : counted),
          onUnauthenticated: (detail) => refused.push(detail),
        }),
      ],
    });
    await app.listen({ host: "127.0.0.1", port });
    const address = app.server.address();
    return {
      app,
      feed,
      port: typeof address === "object" && address !== null ? address.port : 0,
      async stop() {
        feed.close();
        app.server.closeAllConnections();
        await app.close();
      },
    };
  };
  let running = await broker();
  const said: string[] = [];
  return {
    ...w,
    kicked,
    refused,
    said,
    followers: () => followers.size,
    /** Sends every follower so many MB. */
    flood(megabytes: number) {
      const line = { kind: "beat", filler: "x".repeat(1024 * 1024) };
      for (let sent = 0; sent < megabytes; sent++) for (const send of followers) send(line);
    },
    url: () => `http://127.0.0.1:${running.port}`,
    feed: () => running.feed,
    enforce(next: string) {
      text = next;
      w.enforce(next);
    },
    /** Tries another policy beside the one in force, for these projects in earnest. */
    tryBeside(next: string, projects: readonly string[]) {
      const candidate = natsPolicy(next);
      const canary = { projects, share: 0 };
      tried = { version: candidate.version, files: [{ name: "policy.yaml", text: next }], canary };
      const shadow = createLimits(clock);
      w.world.policy = besidePolicy({ active: natsPolicy(text), candidate, canary, shadow, onFault: () => undefined });
    },
    stop: () => running.stop(),
    async start() {
      running = await broker(running.port);
    },
    connect: (more: Partial<RemoteBrokerOptions> = {}) =>
      connectBroker({
        name: "jobs",
        secret,
        brokerUrl: `http://127.0.0.1:${running.port}`,
        clock: { now: Date.now, monotonic: () => performance.now() },
        staleAfterMs: 600,
        say: (line) => said.push(line),
        ...more,
      }),
  };
}

/** The intake of a world's gateway, its journal being the world's records. */
export function intakeOf(w: NatsWorld) {
  return createNatsIntake({
    gateway: w.deps.gateway,
    append: w.authority.append,
    admissionOf: w.authority.admissionOf,
    query: async ({ session, kind, gateway, target, limit }) =>
      w.recorder.records
        .filter(
          (record) =>
            (session === undefined || record.session === session) &&
            (kind === undefined || record.kind === kind) &&
            (gateway === undefined || (record.data as { gateway?: string }).gateway === gateway) &&
            (target === undefined || (record.data as { target?: string }).target === target),
        )
        .toReversed()
        .slice(0, limit),
  });
}
