import { parentPort } from "node:worker_threads";
import { makeIntermediate, makeLeaf, makeRoot, readCa } from "./ca-certificates.ts";
import type { CaTasks, FromCaWorker, ToCaWorker } from "./ca-protocol.ts";
import { readCsr } from "./svid-csr.ts";

/**
 * The thread that makes certificates. One takes some 2.6 ms of it, which on the broker's own thread would be time in
 * which nothing is decided. It keeps no state but imported keys.
 */
const port = parentPort;
if (port === null) throw new TypeError("ca-worker.ts runs as a worker");
const send = (message: FromCaWorker) => port.postMessage(message);

port.on("message", (message: ToCaWorker) => {
  work(message).then(
    (gives) => send({ call: message.call, gives }),
    (error: unknown) => send({ call: message.call, failed: error instanceof Error ? error.message : "unknown" }),
  );
});

async function work(message: ToCaWorker): Promise<CaTasks[keyof CaTasks]["gives"]> {
  switch (message.task) {
    case "root":
      return makeRoot(message.asks.trustDomain, message.asks.validity);
    case "intermediate":
      return makeIntermediate(message.asks.trustDomain, message.asks.root, message.asks.validity);
    case "leaf":
      return leaf(message.asks);
    case "read":
      return read(message.asks.certificate);
  }
}

async function leaf({ issuer, name, validity, from }: CaTasks["leaf"]["asks"]): Promise<CaTasks["leaf"]["gives"]> {
  const subject = "csr" in from ? readCsr(from.csr, name) : { ok: true as const, publicKey: from.publicKey };
  if (!subject.ok) return { problem: subject.problem };
  return { certificate: await makeLeaf(issuer, subject.publicKey, name, validity) };
}

function read(certificate: Uint8Array): CaTasks["read"]["gives"] {
  try {
    return readCa(certificate);
  } catch {
    return { problem: "is no X.509 certificate that can be read" };
  }
}
