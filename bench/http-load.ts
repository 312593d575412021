import { connect, type Socket } from "node:net";
import { percentile } from "./machine.ts";

export interface LoadResult {
  readonly requestsPerSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly failed: number;
}

export interface LoadOptions {
  readonly port: number;
  /** The exact bytes of one request, keep-alive. */
  readonly request: string;
  readonly connections: number;
  readonly durationMs: number;
  /** Status line every answer must begin with; others count as failed. */
  readonly expect: string;
}

const terminator = Buffer.from("\r\n\r\n");

/**
 * Closed-loop HTTP/1.1 load from this process: one request in flight on each connection, answers told apart by their
 * Content-Length. Enough for a ratio between two servers in one run; not a statement about either alone.
 */
export async function load(options: LoadOptions): Promise<LoadResult> {
  const latencies: number[] = [];
  let failed = 0;
  const end = performance.now() + options.durationMs;
  const clients = Array.from({ length: options.connections }, () =>
    client(options, end, (ms, ok) => {
      latencies.push(ms);
      if (!ok) failed++;
    }),
  );
  const start = performance.now();
  const stopSpinning = spin();
  await Promise.all(clients);
  stopSpinning();
  const seconds = (performance.now() - start) / 1000;
  latencies.sort((a, b) => a - b);
  return {
    requestsPerSecond: latencies.length / seconds,
    p50Ms: percentile(latencies, 0.5),
    p99Ms: percentile(latencies, 0.99),
    failed,
  };
}

function client(options: LoadOptions, end: number, done: (ms: number, ok: boolean) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket: Socket = connect(options.port, "127.0.0.1");
    socket.setNoDelay(true);
    let sentAt = 0;
    let waiting: Buffer = Buffer.alloc(0);
    let bodyLength: number | undefined;
    const send = () => {
      sentAt = performance.now();
      socket.write(options.request);
    };
    socket.once("connect", send);
    socket.once("error", reject);
    socket.on("data", (chunk) => {
      waiting = waiting.length === 0 ? chunk : Buffer.concat([waiting, chunk]);
      const head = waiting.indexOf(terminator);
      if (head === -1) return;
      // Every answer of a run has a body of the same length: reading it once keeps the generator out of the figures.
      bodyLength ??= contentLength(waiting, head);
      const length = head + terminator.length + bodyLength;
      if (waiting.length < length) return;
      done(
        performance.now() - sentAt,
        waiting.subarray(0, options.expect.length).toString("latin1") === options.expect,
      );
      waiting = waiting.subarray(length);
      if (performance.now() < end) return send();
      socket.end();
      resolve();
    });
  });
}

function contentLength(buffer: Buffer, head: number): number {
  return Number(/content-length: (\d+)/i.exec(buffer.subarray(0, head).toString("latin1"))?.[1] ?? 0);
}

/** Keeps this process awake: on a virtual machine, waking a sleeping peer costs a server more than answering it. */
function spin(): () => void {
  let immediate: NodeJS.Immediate;
  const again = () => {
    immediate = setImmediate(again);
  };
  again();
  return () => clearImmediate(immediate);
}
