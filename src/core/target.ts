/** What kind of thing a target is. `http` and `mesh` share the HTTP operation; the others have verbs of their own. */
export const targetKinds = ["http", "mesh", "tcp", "nats", "kubernetes", "cloud", "secret"] as const;
export type TargetKind = (typeof targetKinds)[number];

/** An HTTP (or gRPC, or mesh) request as every gateway and the decision must read it. */
export interface HttpOperation {
  readonly kind: "http";
  /** Upper-case method token. */
  readonly method: string;
  /** Lower-case host without port. Empty where the gateway has no host to compare (mesh). */
  readonly host: string;
  /** Raw request target up to `?`, not decoded. `parsePath` says whether it is unambiguous. */
  readonly path: string;
  /** WebSocket upgrade, gRPC stream or long upload. */
  readonly stream: boolean;
}

/** What a job may do at a NATS account. */
export const natsVerbs = ["pub", "sub", "req", "pull"] as const;

/**
 * `pub`: send a message, an acknowledgement to the job's own inbox included. `req`: send one only to be answered there.
 * `sub`: receive. `pull`: fetch from, look at and acknowledge to one durable JetStream consumer, the subject being
 * `<stream>.<consumer>`.
 */
export interface NatsOperation {
  readonly kind: "nats";
  readonly verb: (typeof natsVerbs)[number];
  readonly subject: string;
  readonly queue?: string;
}

/** Everything else is one verb: tcp `connect`, kubernetes `login`, cloud `assume`, secret `read`. */
export interface VerbOperation {
  readonly kind: "verb";
  readonly verb: string;
}

export type Operation = HttpOperation | NatsOperation | VerbOperation;

/** The verbs of the kinds that have only verbs. */
export const targetVerbs = {
  tcp: ["connect"],
  kubernetes: ["login"],
  cloud: ["assume"],
  secret: ["read"],
} as const satisfies Partial<Record<TargetKind, readonly string[]>>;
