import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";

/** How a network goes away: `silent` keeps every byte until it is back, `refused` breaks connections and takes no new ones. */
export type Cut = "silent" | "refused";

/** A network between a job and its broker that a test can break. */
export interface TcpProxy {
  readonly url: string;
  /** Where connections lead; set before the first. */
  leadTo(url: string): void;
  /** The next answer is lost: the request arrives and takes effect, then the connection breaks. Resolves when it happened. */
  loseNextAnswer(): Promise<void>;
  cut(how: Cut): void;
  mend(): void;
  close(): Promise<void>;
}

export async function startTcpProxy(): Promise<TcpProxy> {
  const pairs = new Set<readonly [Socket, Socket]>();
  let port: number | undefined;
  let down: Cut | undefined;
  let lose: (() => void) | undefined;

  const server = createServer((client) => {
    if (down === "refused" || port === undefined) {
      client.destroy();
      return;
    }
    const broker = connect(port, "127.0.0.1");
    const pair = [client, broker] as const;
    pairs.add(pair);
    const drop = () => {
      pairs.delete(pair);
      client.destroy();
      broker.destroy();
    };
    for (const socket of pair) socket.on("error", drop).on("close", drop);
    client.on("data", (chunk) => broker.write(chunk));
    broker.on("data", (chunk) => {
      if (lose === undefined) client.write(chunk);
      else {
        drop();
        lose();
        lose = undefined;
      }
    });
    if (down === "silent") for (const socket of pair) socket.pause();
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  if (typeof address !== "object" || address === null) throw new TypeError("the proxy has no address");

  const dropAll = () => {
    for (const sockets of pairs) for (const socket of sockets) socket.destroy();
  };
  return {
    url: `http://127.0.0.1:${address.port}`,
    leadTo(url) {
      port = Number(new URL(url).port);
    },
    loseNextAnswer: () =>
      new Promise((resolve) => {
        lose = resolve;
      }),
    cut(how) {
      down = how;
      if (how === "refused") dropAll();
      else for (const sockets of pairs) for (const socket of sockets) socket.pause();
    },
    mend() {
      down = undefined;
      for (const sockets of pairs) for (const socket of sockets) socket.resume();
    },
    async close() {
      dropAll();
      server.close();
      await once(server, "close");
    },
  };
}
