import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect as connectTcp } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type ConnectionOptions, connect, type NatsConnection, nkeyAuthenticator } from "@nats-io/transport-node";
import { onTestFinished } from "vitest";
import { type RunningNatsServer, startNatsServer } from "../demo/nats-server.ts";
import { natsCalloutKeys } from "../src/credential/nats-callout-keys.ts";
import type { NatsKeys } from "../src/credential/nats-keys.ts";
import type { Nkey } from "../src/credential/nats-nkey.ts";
import { FakeAuthority, type FakeJob } from "../src/gateway/nats/authority.fake.ts";
import { fakeNatsKeys } from "../src/gateway/nats/callout.fake.ts";
import { type CalloutGrant, createCallout } from "../src/gateway/nats/callout.ts";
import { startCalloutResponder } from "../src/gateway/nats/callout-responder.ts";
import { createNatsGateway, type NatsGateway, type NatsGatewayOptions } from "../src/gateway/nats/gateway.ts";
import { createSystemAccount } from "../src/gateway/nats/system-account.ts";
import { mintTicket } from "../src/gateway/nats/ticket.ts";

/** A real nats-server with its callout, behind a gateway whose authority a test controls. */
export interface GatewayLab {
  readonly authority: FakeAuthority;
  readonly gateway: NatsGateway;
  readonly port: number;
  readonly faults: unknown[];
  /** Connections that the gateway asked the server to close, `<server id>/<cid>`. */
  readonly kicked: string[];
  server(): RunningNatsServer;
  /** Starts it again where it was, after it was stopped. */
  restart(): Promise<void>;
  /** A client through the gateway, closed with the test. It does not reconnect unless told to. */
  client(password: string, options?: ConnectionOptions): Promise<NatsConnection>;
  /** A trusted service of the jobs' account, past the gateway. */
  service(options?: ConnectionOptions): Promise<NatsConnection>;
  /** Resolves when the condition holds. */
  until(holds: () => boolean): Promise<void>;
}

/** A certificate that signs itself, PEM, and its key. */
export interface ServerTls {
  readonly cert: string;
  readonly key: string;
}

function serverConfig({ issuer, auth, system, xkey, proxy }: NatsKeys, store: string): string {
  const users = `${auth.service.publicKey}, ${system.user.publicKey}, service`;
  return `
jetstream { store_dir: "${store}" }
accounts {
  AUTH: { users: [ { nkey: ${auth.service.publicKey} } ] }
  SYS: { users: [ { nkey: ${system.user.publicKey} } ] }
  CI: { jetstream: enabled, users: [ { user: service, password: service } ] }
}
system_account: SYS
proxies { trusted: [ { key: ${proxy.publicKey} } ] }
authorization {
  timeout: 2
  auth_callout { issuer: ${issuer.publicKey}, account: AUTH, auth_users: [ ${users} ], xkey: ${xkey.publicKey} }
}
`;
}

/** Starts all of it. What the server lets jobs do is everything that no job is refused anywhere: the gateway is under test. */
export async function gatewayLab(
  jobs: Readonly<Record<string, FakeJob>>,
  { serverTls, ...options }: Partial<NatsGatewayOptions> & { readonly serverTls?: ServerTls } = {},
): Promise<GatewayLab> {
  const directory = mkdtempSync(join(tmpdir(), "wayleave-nats-gateway-"));
  const keys = await fakeNatsKeys();
  writeServerFiles(directory, keys, serverTls);
  const faults: unknown[] = [];
  const onFault = (error: unknown) => void faults.push(error);
  const clients: NatsConnection[] = [];
  const open: Open = async (given) => {
    const client = await connect({ reconnect: false, ...given });
    clients.push(client);
    return client;
  };
  let server = await startNatsServer({ directory, config: "server.conf" });
  onTestFinished(async () => {
    await Promise.all(clients.map((client) => client.close()));
    await server.stop();
    rmSync(directory, { recursive: true, force: true });
  });
  const { address, port: serverPort } = server;
  const secure = serverTls === undefined ? {} : { tls: { ca: serverTls.cert } };
  const own = { servers: address, ...secure };
  const authority = new FakeAuthority(jobs);
  const system = await startBroker(keys, authority, (more) => open({ ...own, ...more }), onFault);
  const kicked: string[] = [];
  const kick = (serverId: string, cid: number) => {
    kicked.push(`${serverId}/${cid}`);
    return system.kick(serverId, cid);
  };
  const gateway = createNatsGateway({
    name: "nats-1",
    authority,
    control: { kick, totals: system.totals },
    servers: [{ host: "127.0.0.1", port: serverPort, ...secure }],
    clock: { now: Date.now, monotonic: () => performance.now() },
    random: (bytes) => randomBytes(bytes),
    log: { fault: onFault },
    ...options,
  });
  const { port } = await gateway.listen("127.0.0.1", 0);
  onTestFinished(() => gateway.close());
  return {
    ...{ authority, gateway, port, faults, kicked, until },
    server: () => server,
    client: (password, more) => open({ servers: `127.0.0.1:${port}`, token: password, ...more }),
    service: (more) => open({ ...own, user: "service", pass: "service", ...more }),
    async restart() {
      server = await startNatsServer({ directory, config: "server.conf", port: serverPort });
    },
  };
}

type Open = (options: ConnectionOptions) => Promise<NatsConnection>;

/** The broker's own two connections: the auth callout, and the system account. */
async function startBroker(keys: NatsKeys, authority: FakeAuthority, open: Open, onFault: (error: unknown) => void) {
  const as = (user: Nkey) => ({ authenticator: nkeyAuthenticator(new TextEncoder().encode(user.seed)) });
  const stays = { reconnect: true, maxReconnectAttempts: -1, reconnectTimeWait: 50 };
  const authConnection = await open({ ...as(keys.auth.service), ...stays });
  const systemConnection = await open({ ...as(keys.system.user), ...stays });
  const callout = createCallout({
    keys: natsCalloutKeys(keys, "config", { now: Date.now }),
    ticketKey: keys.ticketKey,
    now: Date.now,
    grantOf: ({ session }) => grantOf(session),
    onRefused: onFault,
  });
  startCalloutResponder({ connection: authConnection, callout, now: Date.now, onFault });
  const system = createSystemAccount({
    connection: systemConnection as never,
    now: () => performance.now(),
    ownAccounts: ["AUTH", "SYS"],
    onStranger: () => undefined,
    onRefused: () => undefined,
    onFault,
  });
  authority.pass = ({ connection, session, target }, { serverId, cid, nonce }) => {
    system.announce(serverId, cid);
    const ticket = { connection, session, target, serverId, cid, expiresAt: Date.now() + 5_000 };
    return {
      ticket: mintTicket(keys.ticketKey, ticket),
      proxySignature: keys.proxy.sign(Buffer.from(nonce)).toString("base64url"),
    };
  };
  await Promise.all([authConnection.flush(), systemConnection.flush()]);
  return system;
}

const grantOf = (session: string): CalloutGrant => ({
  account: "CI",
  name: `gitlab:gitlab.example:1042:job:${session.slice(4)}`,
  rights: { pub: ["any"], req: [], sub: [], pull: [{ stream: "S", consumer: "C" }], observed: true },
  inbox: `_INBOX_${session.slice(4)}`,
  expiresAt: Date.now() + 3_600_000,
  limits: { payload: 1_048_576, subscriptions: 10_000 },
});

function writeServerFiles(directory: string, keys: NatsKeys, tls: ServerTls | undefined): void {
  const secured = tls === undefined ? "" : "tls { cert_file: cert.pem, key_file: key.pem }\n";
  writeFileSync(join(directory, "server.conf"), serverConfig(keys, join(directory, "jetstream")) + secured);
  if (tls === undefined) return;
  writeFileSync(join(directory, "cert.pem"), tls.cert);
  writeFileSync(join(directory, "key.pem"), tls.key);
}

/** Looks again after each turn of the event loop; the test's own time limit ends it. */
export async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setImmediate(resolve));
}

/** A client that says exactly what a test wants. */
export async function rawClient(port: number) {
  const socket = connectTcp(port, "127.0.0.1");
  let heard = "";
  let closed = false;
  socket.setEncoding("latin1");
  socket.on("data", (text: string) => {
    heard += text;
  });
  socket.on("error", () => undefined);
  socket.on("close", () => {
    closed = true;
  });
  onTestFinished(() => void socket.destroy());
  await until(() => heard.includes("\r\n"));
  const info = JSON.parse(heard.slice(5, heard.indexOf("\r\n"))) as Record<string, unknown>;
  heard = "";
  return {
    info,
    socket,
    say: (text: string) => socket.write(text, "latin1"),
    heard: () => heard,
    closed: () => closed,
    /** CONNECT and PING; resolves with the PONG. */
    async enter(password: string, more: Record<string, unknown> = {}) {
      const connecting = { auth_token: password, headers: true, no_responders: true, ...more };
      socket.write(`CONNECT ${JSON.stringify(connecting)}\r\nPING\r\n`);
      await until(() => heard.includes("PONG\r\n") || closed);
      heard = heard.slice(heard.indexOf("PONG\r\n") + 6);
    },
  };
}
