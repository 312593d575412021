import { connect, type Socket } from "node:net";

/** A client that writes HTTP/2 frames by hand, so that it can stop, lie and cut wherever it wants. */
export interface RawClient {
  /** HEADERS with the pseudo-headers of a gRPC call, changed by `headers` (`undefined` leaves one out). */
  open(stream: number, headers?: Readonly<Record<string, string | undefined>>, endStream?: boolean): void;
  data(stream: number, bytes: Uint8Array, endStream?: boolean): void;
  reset(stream: number, code?: number): void;
  /** Bytes as they are. */
  send(bytes: Uint8Array): void;
  /** Types of the frames that came so far, by stream: `0x3` is RST_STREAM, `0x7` GOAWAY. */
  frames(stream: number): readonly number[];
  readonly closed: Promise<void>;
  end(): void;
}

const preface = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");

export async function rawClient(port: number): Promise<RawClient> {
  const socket = connect(port, "127.0.0.1");
  const chunks: Buffer[] = [];
  socket.on("data", (chunk) => chunks.push(chunk));
  socket.on("error", () => {});
  const closed = new Promise<void>((resolve) => socket.once("close", () => resolve()));
  await new Promise<void>((resolve) => socket.once("connect", resolve));
  socket.write(Buffer.concat([preface, frame(0x4, 0, 0, Buffer.alloc(0))]));
  return {
    ...writing(socket),
    frames: (stream) => framesIn(Buffer.concat(chunks), stream),
    closed,
    end: () => socket.destroy(),
  };
}

function writing(socket: Socket): Pick<RawClient, "open" | "data" | "reset" | "send"> {
  return {
    open(stream, headers = {}, endStream = false) {
      const all = {
        ":method": "POST",
        ":scheme": "http",
        ":path": "/t.Echo/Say",
        ":authority": "127.0.0.1",
        "content-type": "application/grpc",
        te: "trailers",
        ...headers,
      };
      const block = Object.entries(all).flatMap(([name, value]) => (value === undefined ? [] : [literal(name, value)]));
      socket.write(frame(0x1, endStream ? 0x5 : 0x4, stream, Buffer.concat(block)));
    },
    data: (stream, bytes, endStream = false) => socket.write(frame(0x0, endStream ? 0x1 : 0, stream, bytes)),
    reset(stream, code = 8) {
      const payload = Buffer.alloc(4);
      payload.writeUInt32BE(code);
      socket.write(frame(0x3, 0, stream, payload));
    },
    send: (bytes) => socket.write(bytes),
  };
}

/** RFC 9113 §4.1. */
function frame(type: number, flags: number, stream: number, payload: Uint8Array): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

/** RFC 7541 §6.2.2: a literal without indexing, new name, not Huffman-coded. */
function literal(name: string, value: string): Buffer {
  return Buffer.concat([Buffer.from([0]), text(name), text(value)]);
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value, "latin1");
  return Buffer.concat([integer(bytes.length), bytes]);
}

/** RFC 7541 §5.1, with a prefix of seven bits. */
function integer(value: number): Buffer {
  if (value < 127) return Buffer.from([value]);
  const bytes = [127];
  let rest = value - 127;
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) + 128);
  return Buffer.from([...bytes, rest]);
}

function framesIn(bytes: Buffer, stream: number): number[] {
  const types: number[] = [];
  for (let at = 0; at + 9 <= bytes.length; at += 9 + bytes.readUIntBE(at, 3)) {
    if ((bytes.readUInt32BE(at + 5) & 0x7fffffff) === stream) types.push(bytes[at + 3] as number);
  }
  return types;
}
