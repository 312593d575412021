import { createInbox, type Msg, type NatsConnection, type Subscription } from "@nats-io/transport-node";
import { WayleaveError } from "../../core/errors.ts";

/** What is used of a connection as a user of the system account. Its own reconnecting brings the subscriptions back. */
export type SystemConnection = Pick<NatsConnection, "publish" | "subscribe">;

/**
 * Asks all servers at once and resolves with their answers, in the order they came: when `enough` says that nobody is left to
 * answer, when nobody is there at all, and at the latest after `timeoutMs`. With `quietMs`, also when nothing came for so
 * long after an answer. Rejects `nats_unavailable` on a closed connection. Not checked: who answered.
 */
export function gather(
  connection: SystemConnection,
  subject: string,
  payload: string,
  options: {
    readonly timeoutMs: number;
    readonly quietMs?: number;
    enough?(answers: readonly string[]): boolean;
  },
): Promise<readonly string[]> {
  return new Promise((resolve, reject) => {
    const answers: string[] = [];
    const reply = createInbox();
    let quiet: NodeJS.Timeout | undefined;
    let subscription: Subscription | undefined;
    const finish = () => {
      clearTimeout(timer);
      clearTimeout(quiet);
      subscription?.unsubscribe();
      resolve(answers);
    };
    const timer = setTimeout(finish, options.timeoutMs);
    const take = (text: string) => {
      answers.push(text);
      if (options.enough?.(answers) === true) return finish();
      if (options.quietMs === undefined) return;
      clearTimeout(quiet);
      quiet = setTimeout(finish, options.quietMs);
    };
    // A callback that throws would end the connection's reader; a connection throws where it is closed for good.
    const guarded = (step: () => void) => {
      try {
        step();
      } catch (cause) {
        reject(
          new WayleaveError(
            "nats_unavailable",
            "The connection to nats-server is closed, or what came over it cannot be read.",
            { cause },
          ),
        );
        finish();
      }
    };
    guarded(() => {
      const over = (message: Msg) => message.headers?.code === noResponders;
      subscription = connection.subscribe(reply, {
        callback: (error, message) =>
          guarded(() => (error !== null || over(message) ? finish() : take(message.string()))),
      });
      connection.publish(subject, payload, { reply });
    });
  });
}

const noResponders = 503;
