import { fork } from "node:child_process";
import { createServer } from "node:http2";
import type { AddressInfo } from "node:net";
import type { ServerProcess } from "./server-process.ts";

interface Message {
  readonly port?: number;
  readonly memory?: number;
  readonly cpu?: number;
}

/** The least that Node can do to answer a unary call: raw node:http2, the body read and thrown away, the same reply to everybody. */
export async function startBareGrpc(replyBytes: number): Promise<ServerProcess> {
  const start = performance.now();
  const child = fork(new URL(import.meta.url), [String(replyBytes)], {
    stdio: ["ignore", "inherit", "inherit", "ipc"],
  });
  const next = () => new Promise<Message>((resolve) => child.once("message", (message) => resolve(message as Message)));
  const { port = 0 } = await next();
  return {
    port,
    readyMs: performance.now() - start,
    async usage() {
      child.send("usage");
      const { memory = Number.NaN, cpu = Number.NaN } = await next();
      return { memory, cpu };
    },
    stop: () =>
      new Promise((resolve) => {
        child.once("exit", () => resolve());
        child.send("stop");
      }),
  };
}

function serve(replyBytes: number): void {
  const reply = Buffer.alloc(5 + replyBytes);
  reply.writeUInt32BE(replyBytes, 1);
  const server = createServer({ settings: { maxConcurrentStreams: 256 } });
  server.on("stream", (stream) => {
    stream.on("error", () => {});
    stream.on("data", () => {});
    stream.on("end", () => {
      stream.respond({ ":status": 200, "content-type": "application/grpc" }, {
        waitForTrailers: true,
        sendDate: false,
      } as object);
      stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
      stream.end(reply);
    });
  });
  server.listen(0, "127.0.0.1", () => process.send?.({ port: (server.address() as AddressInfo).port }));
  process.on("message", (message) => {
    const { user, system } = process.cpuUsage();
    if (message === "usage") process.send?.({ memory: process.memoryUsage.rss(), cpu: user + system });
    else process.exit();
  });
}

const [, script, replyBytes] = process.argv;
if (script === new URL(import.meta.url).pathname) serve(Number(replyBytes));
