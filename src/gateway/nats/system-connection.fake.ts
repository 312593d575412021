import type { Msg, Subscription } from "@nats-io/transport-node";
import type { SystemConnection } from "./system-request.ts";

type Callback = (error: Error | null, message: Msg) => void;

/** What the servers answer to one question; `undefined` is the server's own "nobody is there", null an answer that is no text. */
export type Answering = (payload: string) => readonly (string | null)[] | undefined;

/** A system account's connection without servers: a test plays them. */
export interface FakeConnection extends SystemConnection {
  /** By subject of the question. */
  readonly answers: Map<string, Answering>;
  /** What was asked, in order: subject and payload. */
  readonly asked: (readonly [string, string])[];
  /** Subjects that are listened to now. */
  listening(): readonly string[];
  /** A server says something. Gives what the listener threw, which would have ended a real connection's reader. */
  say(subject: string, text: string): unknown;
  /** From here on everything throws, as a connection does that is closed for good. */
  close(): void;
  /** The server refuses the subscription. */
  fail(subject: string): void;
}

export function fakeConnection(): FakeConnection {
  const callbacks = new Map<string, Callback>();
  const answers = new Map<string, Answering>();
  const asked: (readonly [string, string])[] = [];
  let closed = false;
  const message = (text: string | null, code?: number) =>
    ({ string: () => readable(text), headers: code === undefined ? undefined : { code } }) as unknown as Msg;
  return {
    answers,
    asked,
    listening: () => [...callbacks.keys()].filter((subject) => subject.startsWith("$SYS")),
    close: () => {
      closed = true;
    },
    subscribe(subject, options) {
      if (closed) throw new Error("closed");
      callbacks.set(subject, options?.callback as Callback);
      return { unsubscribe: () => callbacks.delete(subject) } as unknown as Subscription;
    },
    publish(subject, payload, options) {
      asked.push([subject, String(payload)]);
      const said = answers.get(subject)?.(String(payload));
      queueMicrotask(() => {
        const reply = options?.reply ?? "";
        if (answers.has(subject) && said === undefined) callbacks.get(reply)?.(null, message("", 503));
        for (const text of said ?? []) callbacks.get(reply)?.(null, message(text));
      });
    },
    say(subject, text) {
      const [token] = subject.split(".").slice(2);
      const callback = callbacks.get(subject) ?? callbacks.get(subject.replace(`.${token}.`, ".*."));
      try {
        callback?.(null, message(text));
        return undefined;
      } catch (error) {
        return error;
      }
    },
    fail(subject) {
      callbacks.get(subject)?.(new Error("permissions violation"), message(""));
    },
  };
}

/** Null stands for bytes that are no text. */
function readable(text: string | null): string {
  if (text === null) throw new TypeError("not UTF-8");
  return text;
}
