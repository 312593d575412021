import type { Duplex } from "node:stream";
import type { OpenExchange } from "./open-exchanges.ts";

/**
 * Lets bytes through between two connections, counted, each side as fast as the other reads; an end of one is passed on, and
 * the close of one closes the other. Resolves with who went first once both are closed.
 */
export function joinSockets(client: Duplex, service: Duplex, open: Pick<OpenExchange, "bytesIn" | "bytesOut">) {
  let first: "client" | "upstream" | undefined;
  const pass = (from: Duplex, to: Duplex, count: (bytes: number) => void, name: "client" | "upstream") => {
    from.on("data", (chunk: Buffer) => {
      count(chunk.length);
      if (!to.write(chunk)) from.pause();
    });
    to.on("drain", () => from.resume());
    from.once("end", () => {
      first ??= name;
      to.end();
    });
    from.on("error", () => to.destroy());
    return new Promise<void>((resolve) => {
      from.once("close", () => {
        first ??= name;
        to.destroy();
        resolve();
      });
    });
  };
  const sent = (bytes: number) => {
    open.bytesIn += bytes;
  };
  const received = (bytes: number) => {
    open.bytesOut += bytes;
  };
  const closed = Promise.all([pass(client, service, sent, "client"), pass(service, client, received, "upstream")]);
  return closed.then((): "client" | "upstream" => first ?? "client");
}
