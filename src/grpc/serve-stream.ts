import type { ServerHttp2Stream } from "node:http2";
import type { Message } from "@bufbuild/protobuf";
import type { Call } from "./call.ts";
import { createFrameReader, encodeFrame } from "./frame.ts";
import type { StreamMethod } from "./method.ts";
import { decode } from "./serve-unary.ts";
import { GrpcError, grpcStatus } from "./status.ts";

/** Feeds a streaming method what arrives and sends what it yields, each no faster than the other side takes it. */
export function serveStream(method: StreamMethod, stream: ServerHttp2Stream, call: Call): void {
  const reader = createFrameReader(method.maxBytes);
  const requests = createRequests(stream);
  stream.on("data", (chunk: Buffer) => {
    if (call.over) return;
    try {
      for (const bytes of reader.push(chunk)) requests.push(decode(method, bytes));
    } catch (error) {
      call.cancel(error as GrpcError);
    }
  });
  stream.on("end", () => {
    // A reset ends the body too.
    if (call.over || stream.aborted || stream.destroyed) return;
    if (reader.partial) call.cancel(new GrpcError(grpcStatus.internal, "the request ended inside a message"));
    else requests.end();
  });
  const responses = method.handle(requests, call)[Symbol.asyncIterator]();
  call.onCancel = (error) => {
    requests.end(error);
    responses.return?.()?.catch(() => {}); // it is over: what its clean-up says reaches nobody
  };
  send(method, responses, call).catch((error) => call.fail(error));
}

async function send(method: StreamMethod, responses: AsyncIterator<Message>, call: Call): Promise<void> {
  while (!call.over) {
    const next = await responses.next();
    if (next.done) call.finish();
    else await call.write(encodeFrame(method.output, next.value));
  }
}

interface Requests extends AsyncIterable<Message> {
  push(message: Message): void;
  /** No more will come; `error` is thrown to who waits for more, after everything that came before. */
  end(error?: GrpcError): void;
}

/** Messages waiting for the method at most; past it the client's window closes. */
const maxWaiting = 16;

function createRequests(stream: ServerHttp2Stream): Requests {
  const waiting: Message[] = [];
  let ended = false;
  let failure: GrpcError | undefined;
  let wake = () => {};
  /** True once a message waits, false when none will come. */
  const more = async () => {
    while (waiting.length === 0) {
      if (failure !== undefined) throw failure;
      if (ended) return false;
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
    return true;
  };
  async function* read(): AsyncGenerator<Message> {
    while (await more()) {
      const message = waiting.shift() as Message;
      if (waiting.length === 0) stream.resume();
      yield message;
    }
  }
  return {
    push(message) {
      waiting.push(message);
      if (waiting.length >= maxWaiting) stream.pause();
      wake();
    },
    end(error) {
      ended = true;
      failure ??= error;
      wake();
    },
    [Symbol.asyncIterator]: read,
  };
}
