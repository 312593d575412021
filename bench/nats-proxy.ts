import { connect, createServer, type Socket } from "node:net";
import { ClientReader } from "../src/gateway/nats/client-reader.ts";
import { identityLines, OpWriter } from "../src/gateway/nats/op-writer.ts";
import { ServerReader } from "../src/gateway/nats/server-reader.ts";

/**
 * What stands between client and server at the least: `pipe` passes bytes on; `parse` reads every operation with the
 * gateway's readers and writes it anew with the gateway's writer, and neither decides nor records anything.
 * `node bench/nats-proxy.ts pipe|parse <port of the server>`
 */
const [, , mode = "", serverPort = ""] = process.argv;
const limits = { maxLine: 65_536, maxPayload: 1_048_576 };
const identity = identityLines(
  "gitlab/1042/acme/shop pipeline=5101 job=7001 session=ses_0123456789abcdef",
  "nc_0123456789abcdef",
);

const sockets = new Set<Socket>();
const server = createServer({ noDelay: true }, (client) => {
  const upstream = connect({ port: Number(serverPort), host: "127.0.0.1", noDelay: true });
  for (const socket of [client, upstream]) {
    sockets.add(socket);
    socket.on("error", () => undefined);
    socket.on("close", () => {
      sockets.delete(socket);
      client.destroy();
      upstream.destroy();
    });
  }
  if (mode === "pipe") {
    client.pipe(upstream);
    upstream.pipe(client);
    return;
  }
  parse(client, upstream);
  parseBack(upstream, client);
});

function parse(from: Socket, to: Socket): void {
  const writer = new OpWriter();
  let count = 0;
  const reader = new ClientReader(
    {
      connect: (json) => writer.connect(json),
      publish: (op) => writer.publish(op, op.subject, op.reply, identity, ++count),
      subscribe: (subject, queue, sid) => writer.subscribe(subject, queue, sid),
      unsubscribe: (sid, max) => writer.unsubscribe(sid, max),
      ping: () => writer.ping(),
      pong: () => writer.pong(),
      violation: () => from.destroy(),
    },
    limits,
  );
  forward(from, to, (chunk) => reader.push(chunk), writer);
}

function parseBack(from: Socket, to: Socket): void {
  const writer = new OpWriter();
  const reader = new ServerReader(
    {
      info: (json) => void to.write(`INFO ${json}\r\n`),
      message: (op) => writer.message(op, op.subject, op.reply),
      ok: () => writer.ok(),
      error: (text) => writer.error(text),
      ping: () => writer.ping(),
      pong: () => writer.pong(),
      violation: () => from.destroy(),
    },
    limits,
  );
  forward(from, to, (chunk) => reader.push(chunk), writer);
}

function forward(from: Socket, to: Socket, read: (chunk: Buffer) => void, writer: OpWriter): void {
  from.on("data", (chunk) => {
    read(chunk);
    if (writer.length > 0 && !to.write(writer.take())) from.pause();
  });
  to.on("drain", () => from.resume());
}

server.listen(0, "127.0.0.1", () => {
  const address = server.address();
  process.send?.({ port: typeof address === "object" && address !== null ? address.port : 0 });
});
process.on("message", () => {
  server.close();
  for (const socket of sockets) socket.destroy();
  process.disconnect();
});
