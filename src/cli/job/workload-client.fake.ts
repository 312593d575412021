import type { Readable } from "node:stream";
import {
  create,
  type DescMessage,
  fromBinary,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from "@bufbuild/protobuf";
import { Client, type ClientDuplexStream, credentials, Metadata, type ServiceError } from "@grpc/grpc-js";
import {
  JWTBundlesResponseSchema,
  JWTSVIDRequestSchema,
  JWTSVIDResponseSchema,
  ValidateJWTSVIDRequestSchema,
  ValidateJWTSVIDResponseSchema,
  X509BundlesResponseSchema,
  X509SVIDRequestSchema,
  X509SVIDResponseSchema,
} from "../../proto/workload_pb.ts";

export interface Stream<M> {
  /** The next message; rejects with the status that ends the stream. */
  next(): Promise<M>;
  cancel(): void;
}

const header = { "workload.spiffe.io": "true" };

/** A gRPC client that shares no code with our server but the messages. */
export function workloadClient(url: string, metadata: Readonly<Record<string, string>> = header) {
  const client = new Client(url, credentials.createInsecure());
  const said = () => {
    const all = new Metadata();
    for (const [name, value] of Object.entries(metadata)) all.set(name, value);
    return all;
  };
  const api = "/SpiffeWorkloadAPI";

  function call<I extends DescMessage, O extends DescMessage>(
    path: string,
    input: I,
    output: O,
    request: MessageInitShape<I>,
  ): Promise<MessageShape<O>> {
    return new Promise((resolve, reject) =>
      client.makeUnaryRequest(
        path,
        (message: MessageShape<I>) => Buffer.from(toBinary(input, message)),
        (bytes: Buffer) => fromBinary(output, bytes),
        create(input, request),
        said(),
        (error: ServiceError | null, answer) => (error === null ? resolve(answer as MessageShape<O>) : reject(error)),
      ),
    );
  }

  /** A stream of both directions; server streams are one that says one thing. */
  function bidi<I extends DescMessage, O extends DescMessage>(
    path: string,
    input: I,
    output: O,
  ): { readonly raw: ClientDuplexStream<MessageShape<I>, MessageShape<O>>; readonly answers: Stream<MessageShape<O>> } {
    const raw = client.makeBidiStreamRequest(
      path,
      (message: MessageShape<I>) => Buffer.from(toBinary(input, message)),
      (bytes: Buffer) => fromBinary(output, bytes),
      said(),
    );
    return { raw, answers: queue(raw) };
  }

  function server<O extends DescMessage>(path: string, output: O): Stream<MessageShape<O>> {
    const { raw, answers } = bidi(path, X509SVIDRequestSchema, output);
    raw.write(create(X509SVIDRequestSchema));
    raw.end();
    return answers;
  }

  return {
    x509Svids: () => server(`${api}/FetchX509SVID`, X509SVIDResponseSchema),
    x509Bundles: () => server(`${api}/FetchX509Bundles`, X509BundlesResponseSchema),
    jwtBundles: () => server(`${api}/FetchJWTBundles`, JWTBundlesResponseSchema),
    jwtSvids: (audience: string[], spiffeId = "") =>
      call(`${api}/FetchJWTSVID`, JWTSVIDRequestSchema, JWTSVIDResponseSchema, { audience, spiffeId }),
    validate: (audience: string, svid: string) =>
      call(`${api}/ValidateJWTSVID`, ValidateJWTSVIDRequestSchema, ValidateJWTSVIDResponseSchema, {
        audience,
        svid,
      }),
    witSvids: () => server(`${api}/FetchWITSVID`, X509SVIDResponseSchema),
    call,
    bidi,
    close: () => client.close(),
  };
}

function queue<M>(raw: Readable & { cancel(): void }): Stream<M> {
  const waiting: M[] = [];
  let failure: ServiceError | undefined;
  let wake: () => void = () => undefined;
  raw.on("data", (message: M) => {
    waiting.push(message);
    wake();
  });
  raw.on("error", (error: ServiceError) => {
    failure = error;
    wake();
  });
  return {
    async next() {
      for (;;) {
        const message = waiting.shift();
        if (message !== undefined) return message;
        if (failure !== undefined) throw failure;
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    },
    cancel: () => raw.cancel(),
  };
}
