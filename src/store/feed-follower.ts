import type { Client } from "pg";
import type { DatabaseAddress } from "./database.ts";
import type { Freshness } from "./feed-outage.ts";
import { channel, type FeedRecord, headOf, readForeign } from "./feed-write.ts";
import { keepConnection } from "./kept-connection.ts";

/** What others recorded is looked for so often, should no notification say that there is something; ms. */
const lookEveryMs = 1_000;
/** Used tokens that have expired are forgotten so often, ms. */
const forgetEveryMs = 60_000;

/**
 * Follows what other brokers record: woken by notifications, and looking each second by itself, since a notification
 * may be lost and is never believed. Returns what stops it.
 */
export function followFeed(deps: {
  readonly address: DatabaseAddress;
  readonly log: string;
  readonly now: () => number;
  readonly freshness: Freshness;
  /** Place up to which everything was told. */
  seen(): number;
  /** What was found after that, and how far the feed has come. */
  onFound(foreign: readonly FeedRecord[], head: number): void;
  onFault(error: unknown): void;
}): () => Promise<void> {
  let stopped = false;
  let wake = Promise.withResolvers<void>();
  let forgottenAt = deps.now();
  const connection = keepConnection(deps.address, "wayleave feed", async (client) => {
    client.on("notification", () => wake.resolve());
    await client.query(`listen ${channel}`);
  });

  const look = async (client: Client) => {
    const asked = deps.freshness.now();
    const head = await headOf(client);
    const foreign = head > deps.seen() ? await readForeign(client, deps.log, deps.seen()) : [];
    deps.onFound(foreign, head);
    deps.freshness.heardSince(asked);
    const now = deps.now();
    if (now - forgottenAt < forgetEveryMs) return;
    forgottenAt = now;
    await client.query("delete from replay where until < $1", [now]);
  };

  const run = async () => {
    while (!stopped) {
      wake = Promise.withResolvers();
      try {
        await look(await connection.get());
      } catch (error) {
        connection.drop();
        if (!stopped) deps.onFault(error);
      }
      const timer = setTimeout(wake.resolve, lookEveryMs);
      if (!stopped) await wake.promise;
      clearTimeout(timer);
    }
  };

  const running = run();
  return async () => {
    stopped = true;
    wake.resolve();
    await connection.close();
    await running;
  };
}
