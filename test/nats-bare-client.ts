import { once } from "node:events";
import { connect as connectTcp } from "node:net";
import { onTestFinished } from "vitest";

export interface ServerInfo {
  readonly server_id: string;
  readonly client_id: number;
  readonly nonce: string;
}

/** A client on a bare socket: what it was told first, and what came of its CONNECT. */
export interface BareClient {
  readonly info: ServerInfo;
  /** `PONG`, or what the server said before it closed. */
  readonly outcome: string;
  /** ms from CONNECT to the outcome. */
  readonly ms: number;
  /** Sends operations and gives all lines up to the next PONG. */
  ask(operations: string): Promise<readonly string[]>;
  /** Lines up to the first that matches, or to the end of the connection. */
  next(line: RegExp): Promise<readonly string[]>;
  close(): void;
}

/** Connects as the gateway does, or as an attacker would: `options` makes CONNECT's options of the server's INFO. */
export async function connectBare(port: number, options: (info: ServerInfo) => object): Promise<BareClient> {
  const socket = connectTcp(port, "127.0.0.1");
  socket.setEncoding("utf8").on("error", () => undefined);
  onTestFinished(() => void socket.destroy());
  const lines: string[] = [];
  const wake = new Set<() => void>();
  let rest = "";
  let closed = false;
  socket.on("data", (chunk: string) => {
    const parts = (rest + chunk).split("\r\n");
    rest = parts.pop() ?? "";
    lines.push(...parts);
    for (const each of wake) each();
  });
  socket.on("close", () => {
    closed = true;
    for (const each of wake) each();
  });
  /** Lines up to the first one that ends a wait. */
  const until = async (last: RegExp): Promise<readonly string[]> => {
    for (;;) {
      const at = lines.findIndex((line) => last.test(line));
      if (at >= 0) return lines.splice(0, at + 1);
      if (closed) return lines.splice(0);
      await new Promise<void>((resolve) => {
        const done = () => {
          wake.delete(done);
          resolve();
        };
        wake.add(done);
      });
    }
  };
  await once(socket, "connect");
  const [first = ""] = await until(/^INFO /);
  const info = JSON.parse(first.slice(5)) as ServerInfo;
  const said = {
    verbose: false,
    pedantic: false,
    headers: true,
    no_responders: true,
    lang: "bare",
    version: "1",
    protocol: 1,
  };
  const startedAt = performance.now();
  socket.write(`CONNECT ${JSON.stringify({ ...said, ...options(info) })}\r\nPING\r\n`);
  const answer = await until(/^(PONG|-ERR)/);
  return {
    info,
    outcome: answer.at(-1) ?? "closed",
    ms: performance.now() - startedAt,
    async ask(operations) {
      socket.write(`${operations}PING\r\n`);
      return until(/^PONG/);
    },
    next: until,
    close: () => void socket.destroy(),
  };
}
