import { WayleaveError } from "../core/errors.ts";
import type { BrokerLink } from "./nats-broker-link.ts";
import type { FeedLine } from "./nats-feed.ts";
import type { NatsReplica } from "./nats-replica.ts";

/** How soon a feed that broke is asked for again. */
const againMs = 250;

/**
 * Follows the broker's feed until the signal aborts, asking again whenever it breaks. Says to `onState` when it begins to
 * follow and when it stops; a refusal by the broker, which asking again would not change, is thrown.
 */
export async function followFeed(deps: {
  readonly link: Pick<BrokerLink, "feed">;
  readonly replica: NatsReplica;
  readonly signal: AbortSignal;
  pause(ms: number): Promise<void>;
  onState(following: boolean, detail: string): void;
}): Promise<void> {
  const { link, replica, signal } = deps;
  let following = false;
  const say = (now: boolean, detail: string): void => {
    if (now !== following && !signal.aborted) deps.onState(now, detail);
    following = now;
  };
  while (!signal.aborted) {
    try {
      replica.asked();
      for await (const line of link.feed(signal)) {
        replica.take(JSON.parse(line) as FeedLine);
        say(true, "the broker's feed is followed");
      }
      say(false, "the broker ended its feed");
    } catch (error) {
      if (isRefusal(error)) throw error;
      say(false, error instanceof WayleaveError ? error.message : "the broker's feed broke, or is not understood");
    }
    await deps.pause(againMs);
  }
}

function isRefusal(error: unknown): boolean {
  return error instanceof WayleaveError && error.wire.http < 500;
}
