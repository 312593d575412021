/** One discovery protocol as one stream speaks it: its memory is the newest state only. */
export interface DiscoverySession<In, Out> {
  /** Takes a request in. Throws for one that breaks the protocol: that ends the stream. */
  received(request: In): void;
  /** What is to be sent now; undefined while there is nothing. Asked for only when the peer can take more. */
  next(): Out | undefined;
  /** The stream has ended. */
  over(): void;
}

/**
 * Runs a session over a stream until either side ends it. What is sent is made at the moment the peer can take it, so a
 * slow peer is never given anything but the newest.
 *
 * @param follow Called with what to do on news; returns how to stop.
 */
export async function* discoveryStream<In, Out>(
  requests: AsyncIterable<In>,
  session: DiscoverySession<In, Out>,
  follow: (wake: () => void) => () => void,
  signal: AbortSignal,
): AsyncGenerator<Out> {
  let wake: () => void = () => undefined;
  let done = false;
  let failure: unknown;
  const over = (): void => {
    done = true;
    wake();
  };
  const read = async (): Promise<void> => {
    for await (const request of requests) {
      if (done) return;
      session.received(request);
      wake();
    }
  };
  const reading = read().catch((error: unknown) => {
    failure = error;
  });
  void reading.then(over);
  const unfollow = follow(() => wake());
  signal.addEventListener("abort", over, { once: true });
  try {
    while (!done && !signal.aborted) {
      const out = session.next();
      if (out !== undefined) yield out;
      else
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
    }
    if (failure !== undefined && !signal.aborted) throw failure;
  } finally {
    done = true;
    unfollow();
    signal.removeEventListener("abort", over);
    session.over();
  }
}
