import { request as httpRequest } from "node:http";
import type { AuditRecord, RecordKind } from "../src/core/record.ts";

/** Records as they become durable, from the operator's socket. */
export interface RecordStream {
  /** The next record of that kind that was not yet taken, waiting for it as long as the caller's test may run. */
  next<K extends RecordKind>(kind: K): Promise<Extract<AuditRecord, { readonly kind: K }>>;
  close(): void;
}

/** Resolves when the stream is open: everything that happens after that is in it. */
export async function streamRecords(adminSocket: string): Promise<RecordStream> {
  const waiting: AuditRecord[] = [];
  let arrived: () => void = () => undefined;
  const request = httpRequest({ socketPath: adminSocket, path: "/v1/records/stream" });
  const response = await new Promise<import("node:http").IncomingMessage>((resolve, reject) => {
    request.once("response", resolve).once("error", reject).end();
  });
  let rest = "";
  response.setEncoding("utf8").on("data", (text: string) => {
    const lines = (rest + text).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) waiting.push(JSON.parse(line) as AuditRecord);
    arrived();
  });
  response.on("error", () => undefined); // the broker may be gone before the stream is
  request.on("error", () => undefined);
  return {
    async next(kind) {
      for (;;) {
        const at = waiting.findIndex((record) => record.kind === kind);
        if (at !== -1) {
          const [found] = waiting.splice(0, at + 1).slice(-1);
          return found as Extract<AuditRecord, { readonly kind: typeof kind }>;
        }
        await new Promise<void>((resolve) => {
          arrived = resolve;
        });
      }
    },
    close: () => request.destroy(),
  };
}
