import { connect, createServer, type Socket } from "node:net";
import { onTestFinished } from "vitest";
import { FakeAuthority, type FakeJob } from "./authority.fake.ts";
import { createNatsGateway, type NatsGatewayOptions } from "./gateway.ts";

/** Looks again after each turn of the event loop; the test's own time limit ends it. */
export async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setImmediate(resolve));
}

/** A client or server that says exactly what a test wants. */
class Peer {
  heard = "";
  closed = false;
  readonly socket: Socket;

  constructor(socket: Socket) {
    this.socket = socket;
    socket.setEncoding("latin1");
    socket.on("data", (text: string) => {
      this.heard += text;
    });
    socket
      .on("error", () => undefined)
      .on("close", () => {
        this.closed = true;
      });
  }

  say(text: string): void {
    this.socket.write(text, "latin1");
  }

  /** Resolves with everything heard so far, once this is part of it. */
  async until(text: string): Promise<string> {
    await until(() => this.heard.includes(text));
    return this.heard;
  }

  async gone(): Promise<string> {
    await until(() => this.closed);
    return this.heard;
  }
}

export const serverInfo = {
  server_id: "NSERVER",
  client_id: 7,
  version: "2.15.1",
  headers: true,
  max_payload: 1_048_576,
};

/** A nats-server of a few lines: it greets, lets everybody in, and answers PINGs where told to. */
class FakeServer {
  readonly connections: Peer[] = [];
  info: Record<string, unknown> = { ...serverInfo, nonce: "n" };
  answers = true;
  port = 0;

  async listen(): Promise<void> {
    const server = createServer({ noDelay: true }, (socket) => {
      const peer = new Peer(socket);
      this.connections.push(peer);
      peer.say(`INFO ${JSON.stringify(this.info)}\r\n`);
      socket.on("data", (text: string) => {
        if (!this.answers) return;
        for (const _ of text.matchAll(/^PING\r\n/gm)) peer.say("PONG\r\n");
      });
    });
    server.listen(0, "127.0.0.1");
    await until(() => server.listening);
    const address = server.address();
    if (typeof address === "object" && address !== null) this.port = address.port;
    onTestFinished(() => {
      for (const { socket } of this.connections) socket.destroy();
      server.close();
    });
  }

  get last(): Peer {
    return this.connections.at(-1)!;
  }
}

export const connectLine = (fields: object) => `CONNECT ${JSON.stringify(fields)}\r\n`;

/** A gateway in front of a fake server; both are closed with the test. */
export async function gatewayWorld(jobs: Readonly<Record<string, FakeJob>>, options: Partial<NatsGatewayOptions> = {}) {
  const authority = new FakeAuthority(jobs);
  const server = new FakeServer();
  await server.listen();
  const faults: unknown[] = [];
  let random = 0;
  const gateway = createNatsGateway({
    name: "nats-1",
    authority,
    control: undefined,
    servers: [{ host: "127.0.0.1", port: server.port }],
    clock: { now: Date.now, monotonic: () => performance.now() },
    random: (bytes) => new Uint8Array(bytes).fill(++random),
    log: { fault: (error) => faults.push(error) },
    ...options,
    limits: { upstreamPatienceMs: 0, ...options.limits },
  });
  const { port } = await gateway.listen("127.0.0.1", 0);
  onTestFinished(async () => {
    authority.resume();
    await gateway.close();
  });
  const dial = async () => {
    const peer = new Peer(connect(port, "127.0.0.1"));
    onTestFinished(() => void peer.socket.destroy());
    await peer.until("\r\n");
    const info = JSON.parse(peer.heard.slice(5, peer.heard.indexOf("\r\n"))) as Record<string, unknown>;
    peer.heard = peer.heard.slice(peer.heard.indexOf("\r\n") + 2);
    return Object.assign(peer, { info });
  };
  return {
    ...{ authority, server, gateway, faults, port, dial },
    /** A client that is in. */
    async enter(password = "a", fields: object = {}) {
      const peer = await dial();
      peer.say(`${connectLine({ auth_token: password, headers: true, no_responders: true, ...fields })}PING\r\n`);
      await peer.until("PONG\r\n");
      peer.heard = "";
      server.last.heard = "";
      return peer;
    },
    /** Data of the only connection's final record. */
    async end() {
      await until(() => authority.of("nats.disconnected").length > 0);
      return authority.of("nats.disconnected")[0];
    },
  };
}
