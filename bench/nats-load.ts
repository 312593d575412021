import { connect, type Socket } from "node:net";

/** How a client says who it is in CONNECT: `user` and `pass`, or nothing more. */
export type LoadCredential = Readonly<Record<string, string>>;

const noBytes: Buffer = Buffer.alloc(0);
const ping = Buffer.from("PING\r\n");
const pong = Buffer.from("PONG\r\n");
/** What is looked for stands among so many last bytes: a PING of the server's may have come after it. */
const lastBytes = 64;
/** The last message of a burst ends so, and nothing comes after it. */
const endMark = "<<end of the burst>>";
const tail = Buffer.from(`${endMark}\r\n`);

/** Bytes of one burst, written again and again: the client costs as little as it can. */
interface Burst {
  readonly chunk: Buffer;
  readonly messages: number;
}

/** About 64 KiB of PUBs of `size` bytes. */
export function makeBurst(subject: (at: number) => string, size: number): Burst {
  const payload = "x".repeat(size);
  let text = "";
  let messages = 0;
  for (; text.length < 65_536; messages++) text += `PUB ${subject(messages % 8)} ${size}\r\n${payload}\r\n`;
  return { chunk: Buffer.from(text, "latin1"), messages };
}

/** A NATS client that does nothing but write prepared bytes and look at the last bytes that come. */
export class LoadClient {
  readonly #socket: Socket;
  #data: ((chunk: Buffer) => void) | undefined;
  #failed: ((error: Error) => void) | undefined;
  #drained: (() => void) | undefined;
  readonly closed: Promise<void>;

  private constructor(socket: Socket) {
    this.#socket = socket;
    this.closed = new Promise((resolve) => socket.once("close", () => resolve()));
    socket.on("data", (chunk) => {
      if (chunk.length <= lastBytes && chunk.includes(ping)) socket.write(pong);
      this.#data?.(chunk);
    });
    socket.on("drain", () => this.#drained?.());
    socket.on("error", (error) => this.#failed?.(error));
    socket.on("close", () => this.#failed?.(new Error("the connection was closed")));
  }

  /** Resolves once the server has answered CONNECT and PING; rejects with its `-ERR`. */
  static async open(port: number, credential: LoadCredential): Promise<LoadClient> {
    const client = new LoadClient(connect({ port, host: "127.0.0.1", noDelay: true }));
    const said = { verbose: false, pedantic: false, headers: true, no_responders: true, lang: "bench", ...credential };
    let text = "";
    await client.#until((chunk) => {
      const first = text === "";
      text += chunk.toString("latin1");
      if (first) client.#socket.write(`CONNECT ${JSON.stringify(said)}\r\nPING\r\n`);
      if (text.includes("-ERR")) throw new Error(text.slice(text.indexOf("-ERR")).trim());
      return text.includes("PONG\r\n");
    });
    return client;
  }

  write(bytes: Buffer | string): void {
    this.#socket.write(bytes);
  }

  /** Sends so many messages and resolves when the server has read them all. */
  async publish({ chunk, messages }: Burst, count: number): Promise<number> {
    const times = Math.ceil(count / messages);
    for (let at = 0; at < times; at++) {
      if (!this.#socket.write(chunk)) await this.#writable();
    }
    await this.settled();
    return times * messages;
  }

  /** Resolves when the server has read `last` and everything before. Nothing else may be on its way to here. */
  async settled(last: Buffer = noBytes): Promise<void> {
    const answered = this.#seen(pong);
    this.#socket.write(last.length === 0 ? ping : Buffer.concat([last, ping]));
    await answered;
  }

  /** Resolves when the last message of a burst has come. */
  burst(): Promise<void> {
    return this.#seen(tail);
  }

  /** Resolves when a message has come whose payload ends so. */
  message(ending: string): Promise<void> {
    return this.#seen(Buffer.from(`${ending}\r\n`));
  }

  /** The message that ends a burst. */
  end(subject: string): void {
    this.#socket.write(`PUB ${subject} ${endMark.length}\r\n${endMark}\r\n`);
  }

  close(): void {
    this.#failed = undefined;
    this.#socket.destroy();
  }

  #writable(): Promise<void> {
    return new Promise((resolve) => {
      this.#drained = resolve;
    });
  }

  #seen(what: Buffer): Promise<void> {
    let rest: Buffer = Buffer.alloc(0);
    return this.#until((chunk) => {
      rest = chunk.length >= lastBytes ? chunk : Buffer.concat([rest, chunk]);
      rest = rest.subarray(-lastBytes);
      return rest.includes(what);
    });
  }

  #until(done: (chunk: Buffer) => boolean): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#failed = reject;
      this.#data = (chunk) => {
        try {
          if (!done(chunk)) return;
        } catch (error) {
          reject(error as Error);
          return;
        }
        this.#data = undefined;
        resolve();
      };
    });
  }
}
