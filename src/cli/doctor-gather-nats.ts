import { createConnection, isIP, type Socket } from "node:net";
import { connect as connectTls, getCACertificates } from "node:tls";
import type { Config, NatsGatewayConfig, NatsServerAddress } from "../config/config.ts";
import { isLoopback } from "../gateway/nats/render-whole.ts";
import type { NatsStatus, NatsStatusResponse } from "../gateway/nats/status.ts";
import type { NatsFacts, NatsServerFacts } from "./doctor-facts.ts";
import type { Operator } from "./operator.ts";

/** All that is asked of a server with one connection. One whose callout nobody answers refuses after 2 s. */
const timeoutMs = 5_000;

/** Every gateway of kind nats with what its servers say themselves; undefined where there is none. */
export async function natsFacts(
  { gateways }: Pick<Config, "gateways">,
  statuses: readonly NatsStatus[],
): Promise<readonly NatsFacts[] | undefined> {
  const all = gateways.filter((gateway) => gateway.kind === "nats");
  if (all.length === 0) return undefined;
  return Promise.all(
    all.map(async (gateway): Promise<NatsFacts> => {
      const { name, listen, tls, direct } = gateway;
      const status = statuses.find((each) => each.gateway === name);
      const address = addressOf(listen);
      return {
        gateway: name,
        direct,
        listen: { address, tls: tls !== undefined, loopback: isLoopback(listen.host) },
        servers: await Promise.all(gateway.servers.map((server) => serverFacts(server, gateway))),
        ...(status === undefined ? {} : { status }),
      };
    }),
  );
}

/** What the broker knows of its NATS gateways; nothing where it does not tell. */
export async function natsStatuses(operator: Pick<Operator, "get">): Promise<readonly NatsStatus[]> {
  try {
    return (await operator.get<NatsStatusResponse>("/v1/nats")).gateways;
  } catch {
    return []; // its checks are skipped, and say that they need a running broker
  }
}

const addressOf = ({ host, port }: { readonly host: string; readonly port: number }): string =>
  `${host.includes(":") ? `[${host}]` : host}:${port}`;

async function serverFacts(server: NatsServerAddress, gateway: NatsGatewayConfig): Promise<NatsServerFacts> {
  const base = { address: addressOf(server), tls: server.tls, loopback: isLoopback(server.host) };
  const knocks = await Promise.all(strangers.map(({ connect }) => knock(server, gateway.serverCa, connect)));
  const version = knocks.find((each) => each.version !== undefined)?.version;
  const problem = knocks.find((each) => each.problem !== undefined)?.problem;
  const letIn = strangers.filter((_, at) => knocks[at]?.letIn === true).map(({ client }) => client);
  return {
    ...base,
    letIn,
    ...(version === undefined ? {} : { version }),
    ...(problem === undefined ? {} : { problem }),
  };
}

/** Who nobody knows, as words that follow "a client". */
const strangers = [
  { client: "without any credential", connect: {} },
  { client: "with a token of its own making", connect: { auth_token: "wayleave-doctor" } },
  {
    client: "with a name and password of its own making",
    connect: { user: "wayleave-doctor", pass: "wayleave-doctor" },
  },
] as const;

interface Knock {
  readonly version?: string;
  readonly letIn?: boolean;
  readonly problem?: string;
}

/** One connection to a server as a client that nobody knows: its INFO, and whether it answers a PING after our CONNECT. */
async function knock(server: NatsServerAddress, ca: string | undefined, connect: object): Promise<Knock> {
  const plain = createConnection({ host: server.host, port: server.port });
  // Whoever waits for something hears of both; what happens between two waits is told by the next.
  plain.on("error", () => undefined);
  const timer = setTimeout(() => plain.destroy(), timeoutMs);
  try {
    const info = await lineOf(plain, "INFO ");
    const { version, tls_required } = JSON.parse(info.slice("INFO ".length)) as {
      version?: unknown;
      tls_required?: unknown;
    };
    const known = typeof version === "string" ? { version: version.slice(0, 64) } : {};
    if (server.tls && tls_required !== true) return { ...known, problem: "serves no TLS, and `servers` says tls://" };
    const socket = tls_required === true ? await secured(plain, server.host, ca) : plain;
    const options = { verbose: false, pedantic: false, lang: "wayleave-doctor", version: "1", protocol: 1, ...connect };
    socket.write(`CONNECT ${JSON.stringify(options)}\r\nPING\r\n`);
    // Who is hung up on is not let in either.
    const answer = await lineOf(socket, "PONG", "-ERR").catch(() => "");
    return { ...known, letIn: answer.startsWith("PONG") };
  } catch (error) {
    return { problem: error instanceof NoAnswer ? error.message : "gives no answer" };
  } finally {
    clearTimeout(timer);
    plain.destroy();
  }
}

/** Why a server is not known: one line, of our own words. */
class NoAnswer extends Error {}

async function secured(plain: Socket, host: string, ca: string | undefined): Promise<Socket> {
  const trusted = ca === undefined ? {} : { ca: [...getCACertificates("default"), ca] };
  const name = isIP(host) === 0 ? { servername: host } : {};
  const socket = connectTls({ socket: plain, host, ...name, ...trusted });
  await new Promise<void>((resolve, reject) => {
    const refuse = () => reject(new NoAnswer("has a certificate that is not trusted: see server_ca_file"));
    socket.once("secureConnect", resolve).on("error", refuse).once("close", refuse);
  });
  return socket;
}

const maxBytes = 64 * 1024;

/** The next line that begins with one of these. Rejects `NoAnswer` where the connection ends before. */
function lineOf(socket: Socket, ...starts: readonly string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = "";
    const done = (act: () => void) => {
      socket.off("data", onData).off("error", onEnd).off("close", onEnd);
      act();
    };
    const onData = (chunk: Buffer) => {
      text += chunk.toString("latin1");
      const line = text
        .split("\r\n")
        .slice(0, -1)
        .find((each) => starts.some((start) => each.startsWith(start)));
      if (line !== undefined) done(() => resolve(line));
      else if (text.length > maxBytes) onEnd();
    };
    const onEnd = () => done(() => reject(new NoAnswer("gives no answer of a nats-server")));
    if (socket.destroyed) onEnd();
    socket.on("data", onData).once("error", onEnd).once("close", onEnd);
  });
}
