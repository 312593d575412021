import type { Readable } from "node:stream";
import type { Refusal } from "./denial.ts";
import type { Origin } from "./forwarded-fields.ts";

/** Whoever asks, over either version of HTTP. */
export interface Client {
  readonly origin: Origin;
  /** Absent: the request has none. */
  readonly body?: Readable;
  /** The head of the answer went out: from then on it can only be cut short. */
  readonly begun: boolean;
  /** The client waits for leave to send the body (`Expect: 100-continue`). */
  proceed(): void;
  /** Names and values in turn. `last`: nothing follows. */
  head(status: number, fields: readonly string[], last: boolean): void;
  /** False: no more until `onDrain` calls back. */
  write(chunk: Buffer): boolean;
  end(trailers: readonly string[]): void;
  /** A whole answer of our own; a body that was not read is not waited for. */
  refuse(refusal: Refusal): void;
  /** Ends the answer where it is, so that the client sees that it is not whole. */
  cut(grpcMessage: string | undefined): void;
  onDrain(listener: () => void): void;
  /** The exchange ended, whoever ended it. */
  onClose(listener: () => void): void;
}
