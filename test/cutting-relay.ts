import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";

/** A network between a broker and its database that breaks at a chosen moment. */
export interface CuttingRelay {
  readonly port: number;
  /**
   * The connection that carries the n-th chunk from now on breaks: `question` loses what the client sends, `answer` what the
   * server answers, after the question took effect. Others break with it.
   */
  cutAt(n: number, lost: "question" | "answer"): void;
  /** Every connection breaks, and no new one comes to be, until `mend`. */
  cut(): void;
  /** Connections stay, and nothing comes through. */
  silence(): void;
  mend(): void;
  close(): Promise<void>;
}

export async function startCuttingRelay(serverPort: number): Promise<CuttingRelay> {
  const pairs = new Set<readonly [Socket, Socket]>();
  let state: "whole" | "cut" | "silent" = "whole";
  let due: { left: number; readonly lost: "question" | "answer" } | undefined;

  const dropAll = () => {
    for (const pair of pairs) for (const socket of pair) socket.destroy();
    pairs.clear();
  };
  const passes = (direction: "question" | "answer"): boolean => {
    if (due === undefined || due.lost !== direction || --due.left > 0) return true;
    due = undefined;
    dropAll();
    return false;
  };
  const server = createServer((client) => {
    if (state === "cut") {
      client.destroy();
      return;
    }
    const database = connect(serverPort, "127.0.0.1");
    pairs.add([client, database]);
    client.on("data", (chunk) => passes("question") && database.write(chunk));
    database.on("data", (chunk) => passes("answer") && client.write(chunk));
    for (const [socket, other] of [
      [client, database],
      [database, client],
    ] as const) {
      socket.on("error", () => other.destroy()).on("close", () => other.destroy());
      if (state === "silent") socket.pause();
    }
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  if (typeof address !== "object" || address === null) throw new TypeError("the relay has no address");
  return {
    port: address.port,
    cutAt(n, lost) {
      due = { left: n, lost };
    },
    cut() {
      state = "cut";
      dropAll();
    },
    silence() {
      state = "silent";
      for (const pair of pairs) for (const socket of pair) socket.pause();
    },
    mend() {
      state = "whole";
      for (const pair of pairs) for (const socket of pair) socket.resume();
    },
    async close() {
      dropAll();
      server.close();
      await once(server, "close");
    },
  };
}
