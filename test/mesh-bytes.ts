import { connect } from "node:tls";
import type { Place } from "./mesh-calls.ts";

/** Nothing more is coming when nothing came for this long; what comes later yet, whoever counts must not lose. */
const quietMs = 40;
/** A server that says nothing at all to this has said enough. */
const patienceMs = 700;

/** Sends exactly these bytes over TLS and resolves with all that came back until the server closed or fell silent. */
export function sendTlsBytes({ port, tls }: Place, bytes: string): Promise<string> {
  return new Promise((resolve) => {
    let answer = "";
    const socket = connect({ host: "127.0.0.1", port, ...tls }, () => socket.write(Buffer.from(bytes, "latin1")));
    const silent = () => socket.destroy();
    let timer = setTimeout(silent, patienceMs);
    socket.setEncoding("latin1");
    socket.on("data", (text: string) => {
      answer += text;
      clearTimeout(timer);
      timer = setTimeout(silent, quietMs);
    });
    socket.on("error", () => undefined); // a reset is an answer too: what came before it counts
    socket.on("close", () => {
      clearTimeout(timer);
      resolve(answer);
    });
  });
}
