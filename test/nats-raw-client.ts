import { connect, type Socket } from "node:net";

/**
 * A connection to nats-server that writes any bytes, and reads what the server sends with a parser of its own: nothing of
 * the gateway's is used, so that it says what the server understood.
 */
export class RawNatsClient {
  /** Each message as `subject LF reply LF headers LF payload`, one character a byte. */
  messages: string[] = [];
  readonly errors: string[] = [];
  pongs = 0;
  readonly #socket: Socket;
  #rest: Buffer = Buffer.alloc(0);
  #waiting: { readonly pongs: number; readonly resolve: () => void; readonly reject: (error: Error) => void }[] = [];

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on("data", (chunk) => this.#read(chunk));
    socket.on("error", (error) => this.#fail(error));
    socket.on("close", () => this.#fail(new Error(`the server closed the connection: ${this.errors.join(", ")}`)));
  }

  static async open(port: number, options: Readonly<Record<string, unknown>>): Promise<RawNatsClient> {
    const client = new RawNatsClient(connect({ host: "127.0.0.1", port, noDelay: true }));
    client.write(Buffer.from(`CONNECT ${JSON.stringify({ verbose: false, headers: true, ...options })}\r\n`));
    await client.settled();
    return client;
  }

  write(bytes: Buffer): void {
    if (bytes.length > 0) this.#socket.write(bytes);
  }

  /** Resolves when the server has read all that was written, and all that it had to send before that has come. */
  settled(unanswered = 0): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#waiting.push({ pongs: this.pongs + unanswered + 1, resolve, reject });
    if (this.#socket.destroyed) this.#fail(new Error("the connection is closed"));
    else this.#socket.write("PING\r\n");
    return promise;
  }

  close(): void {
    this.#waiting = [];
    this.#socket.destroy();
  }

  #fail(error: Error): void {
    for (const { reject } of this.#waiting.splice(0)) reject(error);
  }

  #read(chunk: Buffer): void {
    const bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    let at = 0;
    for (;;) {
      const end = bytes.indexOf("\r\n", at);
      const next = end < 0 ? -1 : this.#line(bytes, bytes.toString("latin1", at, end), end + 2);
      if (next < 0) break;
      at = next;
    }
    this.#rest = bytes.subarray(at);
  }

  /** Gives where the next line begins; negative where this one's message has not all come. */
  #line(bytes: Buffer, line: string, after: number): number {
    const words = line.split(" ");
    if (words[0] === "MSG" || words[0] === "HMSG") return this.#message(bytes, words, after);
    if (words[0] === "PONG") this.#pong();
    if (words[0] === "-ERR") this.errors.push(line);
    return after;
  }

  #message(bytes: Buffer, words: readonly string[], after: number): number {
    const sizes = words[0] === "MSG" ? 1 : 2;
    const total = Number(words.at(-1));
    const headers = sizes === 1 ? 0 : Number(words.at(-2));
    if (bytes.length < after + total + 2) return -1;
    const reply = words.length - sizes > 3 ? words[3] : "";
    const headerText = bytes.toString("latin1", after, after + headers);
    this.messages.push(
      `${words[1]}\n${reply}\n${headerText}\n${bytes.toString("latin1", after + headers, after + total)}`,
    );
    return after + total + 2;
  }

  #pong(): void {
    this.pongs++;
    while ((this.#waiting[0]?.pongs ?? Number.POSITIVE_INFINITY) <= this.pongs) this.#waiting.shift()?.resolve();
  }
}
