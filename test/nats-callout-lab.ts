import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect, jwtAuthenticator, type NatsConnection, nkeyAuthenticator } from "@nats-io/transport-node";
import { onTestFinished } from "vitest";
import { type RunningNatsServer, startNatsServer } from "../demo/nats-server.ts";
import { natsCalloutKeys } from "../src/credential/nats-callout-keys.ts";
import type { NatsKeys } from "../src/credential/nats-keys.ts";
import type { Nkey } from "../src/credential/nats-nkey.ts";
import { fakeGrant, fakeNatsKeys } from "../src/gateway/nats/callout.fake.ts";
import {
  type Callout,
  type CalloutGrant,
  type CalloutOptions,
  type CalloutRefusal,
  createCallout,
} from "../src/gateway/nats/callout.ts";
import {
  type CalloutResponder,
  calloutConnectionOptions,
  startCalloutResponder,
} from "../src/gateway/nats/callout-responder.ts";
import { mintTicket, type Ticket } from "../src/gateway/nats/ticket.ts";
import { type BareClient, connectBare, type ServerInfo } from "./nats-bare-client.ts";
import { configConfig, jobsAccount, operatorConfig, unlimited, userJwt } from "./nats-callout-server.ts";

export type ServerMode = "operator" | "config";

export interface Lab {
  readonly keys: NatsKeys;
  readonly server: RunningNatsServer;
  readonly calloutKeys: ReturnType<typeof natsCalloutKeys>;
  /** A nats.js connection of the callout's own user. It closes with the test. */
  service(more?: object): Promise<NatsConnection>;
  /** What of the system account the server answers. */
  system(): Promise<NatsConnection>;
  /** Tells the server the CI account's keys of this moment. */
  push(): Promise<void>;
  /** Answers callouts, `labGrant` being whom every ticket is for. `wrap` may play tricks with the callout. */
  answer(more?: Partial<CalloutOptions>, wrap?: (callout: Callout) => Callout): Promise<Answering>;
  /** A ticket for the connection that was greeted so. */
  ticket(info: ServerInfo, more?: Partial<Ticket>): string;
  /** That the gateway is in between: its signature of the nonce. */
  proof(info: ServerInfo, by?: Nkey): { readonly proxy_sig: string };
  /** Connects as the gateway does, or with other options. */
  connect(options?: (info: ServerInfo) => object): Promise<BareClient>;
  /** What the server knows of an open connection. */
  connection(cid: number, more?: string): Promise<ServerConnection | undefined>;
}

export interface Answering {
  readonly responder: CalloutResponder;
  readonly connection: NatsConnection;
  readonly refusals: readonly CalloutRefusal[];
  readonly faults: readonly unknown[];
}

export interface ServerConnection {
  readonly authorized_user: string;
  readonly account: string;
  readonly name?: string;
  readonly proxy?: { readonly key: string };
  readonly subscriptions_list?: readonly string[];
}

/** The job of all tests, with an hour left. */
export function labGrant(more: Partial<CalloutGrant> = {}): CalloutGrant {
  return { ...fakeGrant, expiresAt: Date.now() + 3_600_000, ...more };
}

/** A nats-server of either mode which lets in nobody but by callout. It stops with the test. */
export async function startLab(mode: ServerMode, options: { sentinelProxied?: boolean } = {}): Promise<Lab> {
  const keys = await fakeNatsKeys();
  const server = await startServer(mode, keys, options.sentinelProxied ?? false);
  const calloutKeys = natsCalloutKeys(keys, mode, { now: Date.now });
  const service = (more?: object) => connectOwn(server, mode, keys.auth.account, keys.auth.service, more);
  const system = () => connectOwn(server, mode, keys.system.account, keys.system.user);
  let connections = 0;
  const lab: Lab = {
    keys,
    server,
    calloutKeys,
    service,
    system,
    async push() {
      const answer = await (await system()).request("$SYS.REQ.CLAIMS.UPDATE", jobsAccount(keys), { timeout: 2_000 });
      if (!answer.string().includes('"code":200')) throw new Error(answer.string());
    },
    answer: (more = {}, wrap = (callout) => callout) => startAnswering(lab, more, wrap),
    ticket: ({ server_id: serverId, client_id: cid }, more = {}) =>
      mintTicket(keys.ticketKey, {
        connection: `nc_${++connections}`,
        session: "ses_1",
        target: "events",
        serverId,
        cid,
        expiresAt: Date.now() + 5_000,
        ...more,
      }),
    proof: ({ nonce }, by = keys.proxy) => ({ proxy_sig: by.sign(Buffer.from(nonce)).toString("base64url") }),
    connect: (asked) =>
      connectBare(server.port, asked ?? ((info) => ({ auth_token: lab.ticket(info), ...lab.proof(info) }))),
    async connection(cid, more = "") {
      const answer = await fetch(`${server.monitoring}/connz?auth=1&cid=${cid}&${more}`);
      return ((await answer.json()) as { connections: readonly ServerConnection[] }).connections[0];
    },
  };
  return lab;
}

async function startServer(mode: ServerMode, keys: NatsKeys, sentinelProxied: boolean): Promise<RunningNatsServer> {
  const directory = mkdtempSync(join(tmpdir(), "wayleave-callout-"));
  const jwts = join(directory, "jwt");
  const config = mode === "operator" ? operatorConfig(keys, jwts, sentinelProxied) : configConfig(keys);
  writeFileSync(join(directory, "nats.conf"), config);
  const server = await startNatsServer({ directory, config: "nats.conf", args: ["-m", "-1"] });
  onTestFinished(async () => {
    await server.stop();
    rmSync(directory, { recursive: true, force: true });
  });
  return server;
}

/** A nats.js connection of one of the broker's own users. It closes with the test. */
async function connectOwn(
  server: RunningNatsServer,
  mode: ServerMode,
  account: Nkey,
  user: Nkey,
  more: object = {},
): Promise<NatsConnection> {
  const seed = new TextEncoder().encode(user.seed);
  const jwt = () => userJwt(account, user, { ...unlimited });
  const authenticator = mode === "operator" ? jwtAuthenticator(jwt, seed) : nkeyAuthenticator(seed);
  const connection = await connect({ servers: server.address, authenticator, ...more });
  onTestFinished(() => connection.close());
  return connection;
}

async function startAnswering(
  lab: Lab,
  more: Partial<CalloutOptions>,
  wrap: (callout: Callout) => Callout,
): Promise<Answering> {
  const refusals: CalloutRefusal[] = [];
  const callout = createCallout({
    keys: lab.calloutKeys,
    ticketKey: lab.keys.ticketKey,
    now: Date.now,
    grantOf: () => labGrant(),
    onRefused: (refusal) => refusals.push(refusal),
    ...more,
  });
  const connection = await lab.service(calloutConnectionOptions);
  const faults: unknown[] = [];
  const onFault = (error: unknown) => faults.push(error);
  const responder = startCalloutResponder({ connection, callout: wrap(callout), now: Date.now, onFault });
  await connection.flush();
  return { responder, connection, refusals, faults };
}
