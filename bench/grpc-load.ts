import { connect, type Socket } from "node:net";
import type { LoadResult } from "./http-load.ts";
import { percentile } from "./machine.ts";

export interface GrpcLoadOptions {
  readonly port: number;
  readonly path: string;
  /** Metadata of every call. */
  readonly metadata: Readonly<Record<string, string>>;
  /** The encoded request message. */
  readonly message: Uint8Array;
  readonly connections: number;
  /** Calls in flight on each connection. */
  readonly streams: number;
  readonly durationMs: number;
}

const frameType = { data: 0x0, headers: 0x1, reset: 0x3, settings: 0x4, ping: 0x6, goaway: 0x7 } as const;
const endStream = 0x1;
const endHeaders = 0x4;
const preface = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");

/**
 * Closed-loop gRPC load from this process: so many unary calls in flight on each connection. The frames are made once, with
 * every header in the dynamic table as a real client has them, and answers are only counted, so that the generator costs
 * less than the server. An answer that is not as long as the first one of its connection counts as failed.
 */
export async function grpcLoad(options: GrpcLoadOptions): Promise<LoadResult> {
  const latencies: number[] = [];
  let failed = 0;
  const start = performance.now();
  const end = start + options.durationMs;
  const stopSpinning = spin();
  await Promise.all(
    Array.from({ length: options.connections }, () =>
      client(options, end, (ms, ok) => {
        latencies.push(ms);
        if (!ok) failed++;
      }),
    ),
  );
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

function client(options: GrpcLoadOptions, end: number, done: (ms: number, ok: boolean) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect(options.port, "127.0.0.1");
    socket.setNoDelay(true);
    const sentAt = new Map<number, number>();
    const bytesOf = new Map<number, number>();
    const request = createRequest(options);
    let expected: number | undefined;
    let nextStream = 1;
    const send = () => {
      sentAt.set(nextStream, performance.now());
      socket.write(request(nextStream));
      nextStream += 2;
    };
    const answered = (stream: number, ok: boolean) => {
      const bytes = bytesOf.get(stream) ?? 0;
      expected ??= bytes;
      done(performance.now() - (sentAt.get(stream) ?? 0), ok && bytes > 0 && bytes === expected);
      sentAt.delete(stream);
      bytesOf.delete(stream);
      if (performance.now() < end) send();
      else if (sentAt.size === 0) {
        socket.destroy();
        resolve();
      }
    };
    socket.once("error", reject);
    socket.once("connect", () => {
      socket.write(opening);
      for (let at = 0; at < options.streams; at++) send();
    });
    const onAnswer: OnFrame = (type, flags, stream, length) => {
      if (type === frameType.data) bytesOf.set(stream, (bytesOf.get(stream) ?? 0) + length);
      else if (type === frameType.reset && sentAt.has(stream)) answered(stream, false);
      else if (type === frameType.headers && (flags & endStream) !== 0) answered(stream, true);
    };
    readFrames(socket, (type, flags, stream, length) => {
      if (stream !== 0) onAnswer(type, flags, stream, length);
      else if (type === frameType.goaway) reject(new Error("the server said goodbye"));
      else if (type === frameType.settings && (flags & 0x1) === 0) socket.write(frame(frameType.settings, 0x1, 0));
    });
  });
}

type OnFrame = (type: number, flags: number, stream: number, length: number) => void;

/** Frame heads as they come; payloads are not looked at. */
function readFrames(socket: Socket, onFrame: OnFrame): void {
  let waiting: Buffer = Buffer.alloc(0);
  socket.on("data", (chunk) => {
    const bytes = waiting.length === 0 ? chunk : Buffer.concat([waiting, chunk]);
    let at = 0;
    while (bytes.length - at >= 9) {
      const length = bytes.readUIntBE(at, 3);
      if (bytes.length - at < 9 + length) break;
      onFrame(bytes[at + 3] as number, bytes[at + 4] as number, bytes.readUInt32BE(at + 5) & 0x7fffffff, length);
      at += 9 + length;
    }
    waiting = bytes.subarray(at);
  });
}

/** Preface, no push and large windows: the connection's is never given back, and lasts for two million answers. */
const opening = Buffer.concat([
  preface,
  frame(frameType.settings, 0, 0, Buffer.from([0, 2, 0, 0, 0, 0])),
  frame(0x8, 0, 0, Buffer.from([0x7f, 0xff, 0, 0])),
]);

/** The bytes of one call by its stream. The first puts every header into the server's table, the rest point at them. */
function createRequest({ path, metadata, message }: GrpcLoadOptions): (stream: number) => Buffer {
  const headers = Object.entries({
    ":method": "POST",
    ":scheme": "http",
    ":path": path,
    ":authority": "broker",
    te: "trailers",
    "content-type": "application/grpc",
    ...metadata,
  });
  const prefix = Buffer.alloc(5);
  prefix.writeUInt32BE(message.length, 1);
  const body = Buffer.concat([prefix, message]);
  const literal = ([name, value]: [string, string]) => Buffer.concat([Buffer.from([0x40]), text(name), text(value)]);
  const first = callFrames(Buffer.concat(headers.map(literal)), body);
  // RFC 7541 §2.3.3: the newest entry of the dynamic table is 62.
  const rest = callFrames(Buffer.from(headers.map((_, at) => 0x80 | (61 + headers.length - at))), body);
  return (stream) => (stream === 1 ? first(stream) : rest(stream));
}

function callFrames(block: Buffer, body: Buffer): (stream: number) => Buffer {
  const template = Buffer.concat([
    frame(frameType.headers, endHeaders, 0, block),
    frame(frameType.data, endStream, 0, body),
  ]);
  return (stream) => {
    const bytes = Buffer.from(template);
    bytes.writeUInt32BE(stream, 5);
    bytes.writeUInt32BE(stream, 9 + block.length + 5);
    return bytes;
  };
}

/** RFC 9113 §4.1. */
function frame(type: number, flags: number, stream: number, payload: Buffer = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

/** RFC 7541 §5.2, not Huffman-coded, shorter than 127 bytes. */
function text(value: string): Buffer {
  return Buffer.concat([Buffer.from([value.length]), Buffer.from(value)]);
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
