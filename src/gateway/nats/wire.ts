/** What a gateway accepts on the wire; a client that exceeds one of them is told so and disconnected. */
export interface WireLimits {
  /** Longest line, CONNECT included, without its CRLF. */
  readonly maxLine: number;
  /** Headers and payload of one message. */
  readonly maxPayload: number;
}

/** One PUB or HPUB as it was read. The reader uses one object again and again: it holds only during the call. */
export interface PublishOp {
  subject: string;
  /** Empty where there is none. */
  reply: string;
  /** Header block in `buffer`, from `NATS/1.0` to its blank line; both equal where there is none. */
  headerStart: number;
  headerEnd: number;
  /** The payload follows the headers and ends here, before its CRLF. */
  payloadEnd: number;
  buffer: Buffer;
}

/** Why the wire was refused: a stable code, and one line that the client is told. */
export interface WireViolation {
  readonly code:
    | "operation_unknown"
    | "operation_malformed"
    | "line_too_long"
    | "payload_too_large"
    | "headers_malformed"
    /** Well formed, but no job may set it: the message alone is refused. */
    | "header_refused"
    | "subject_invalid";
  readonly detail: string;
}

/** What a client may say. Calls come in the order of the wire; after `violation` nothing comes any more. */
export interface ClientOps {
  connect(json: string): void;
  publish(op: PublishOp): void;
  /** `queue` is empty where there is none. */
  subscribe(subject: string, queue: string, sid: string): void;
  /** `max` is 0 where it is to end at once. */
  unsubscribe(sid: string, max: number): void;
  ping(): void;
  pong(): void;
  violation(violation: WireViolation): void;
}

/** One MSG or HMSG of the server; it holds only during the call. Offsets as in `PublishOp`. */
export interface MessageOp extends PublishOp {
  sid: string;
}

/** What nats-server may say. */
export interface ServerOps {
  info(json: string): void;
  message(op: MessageOp): void;
  ok(): void;
  /** The text between the quotes of `-ERR '…'`. */
  error(text: string): void;
  ping(): void;
  pong(): void;
  violation(violation: WireViolation): void;
}
