/** Replies that a connection may answer: each message it was delivered with one, once, for some time. */
export interface ResponsePermits {
  /** It was delivered a message with this reply subject. */
  grant(reply: string): void;
  /** True once for each grant that is not too old. */
  use(reply: string): boolean;
  readonly size: number;
}

/** Longest reply that is remembered: an inbox has some 50 characters. */
const longestReply = 512;

/** @param now Monotonic ms. When there are more than `max`, the oldest is forgotten. */
export function createResponsePermits(limits: {
  readonly max: number;
  readonly lifeMs: number;
  now(): number;
}): ResponsePermits {
  /** Until when, in the order of granting, which is that of expiry. */
  const granted = new Map<string, number>();
  return {
    grant(reply) {
      if (reply.length > longestReply) return;
      granted.delete(reply);
      granted.set(reply, limits.now() + limits.lifeMs);
      if (granted.size > limits.max) granted.delete(granted.keys().next().value ?? "");
    },
    use(reply) {
      const until = granted.get(reply);
      if (until === undefined) return false;
      granted.delete(reply);
      return limits.now() < until;
    },
    get size() {
      return granted.size;
    },
  };
}
