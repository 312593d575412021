import type { Clock } from "../core/clock.ts";
import { WayleaveError } from "../core/errors.ts";
import type { AuditEvent } from "../core/record.ts";

/** The records of a gateway on their way to the broker. */
export interface NatsUpload {
  /** Resolves when all of them are durable at the broker. Rejects `journal_unavailable` where that was not heard in time: then they may or may not be. */
  append(events: readonly AuditEvent[]): Promise<void>;
  /** Sent behind, and again until the broker takes it. Throws `journal_unavailable` where too much waits. */
  note(event: AuditEvent): void;
  /** Resolves when everything so far is durable at the broker. Rejects like `append`. */
  settled(): Promise<void>;
  /** Tries for a moment to send what waits, then gives up. */
  close(): Promise<void>;
}

export interface NatsUploadDeps {
  readonly clock: Pick<Clock, "monotonic">;
  /** Sends one batch, a JSON text; rejects `broker_unreachable` for no answer, and with the broker's own code for a refusal. */
  post(body: string): Promise<void>;
  /** Resolves after so many ms, or as soon as the signal aborts. */
  pause(ms: number, signal?: AbortSignal): Promise<void>;
  /** Names this run of the gateway. */
  readonly run: string;
  /** Told of records that the broker would not take. Must not throw. */
  onLost(detail: string): void;
  /** How long an `append` waits for the broker. */
  readonly patienceMs?: number;
}

const defaultPatienceMs = 2_000;
const retryMs = 200;

/** Below what the broker takes at a time. */
const maxBatchBytes = 2 * 1024 * 1024;
const maxBatchEvents = 5_000;

/** Records that wait, at most. */
const maxWaitingBytes = 32 * 1024 * 1024;

interface Entry {
  /** Its number and itself, as JSON; empty for a mere mark in the queue. */
  readonly text: string;
  readonly waiter?: { readonly resolve: () => void; readonly reject: (error: Error) => void };
  /** Monotonic ms: from then on it is of no use any more. Infinite for what is noted. */
  readonly until: number;
}

/**
 * One batch is under way, and the next one grows meanwhile. Each event has a number by which the broker knows what it has
 * already: a batch whose answer was lost is sent again, and recorded once.
 */
export function createNatsUpload(deps: NatsUploadDeps): NatsUpload {
  const { clock, patienceMs = defaultPatienceMs } = deps;
  let waiting: Entry[] = [];
  let bytes = 0;
  let n = 0;
  let running: Promise<void> | undefined;
  let closed = false;

  const push = (entry: Entry): void => {
    waiting.push(entry);
    bytes += entry.text.length;
    running ??= Promise.resolve().then(run);
  };
  const textOf = (event: AuditEvent): string => `{"n":${++n},"event":${JSON.stringify(event)}}`;
  const refuseFull = (): void => {
    if (closed || bytes > maxWaitingBytes) throw unavailable("too many records wait for the broker");
  };

  async function run(): Promise<void> {
    while (waiting.length > 0) {
      const batch = take(waiting);
      const left = await send(deps, batch).catch((error: unknown) => refusedBatch(deps, batch, error));
      waiting = [...left.filter(alive), ...waiting.slice(batch.length).filter(alive)];
      bytes = waiting.reduce((sum, { text }) => sum + text.length, 0);
      if (left.length > 0 && waiting.length > 0) await deps.pause(retryMs);
    }
    running = undefined;
  }

  /** False for what its sender has given up; then it is told so. */
  const alive = ({ until, waiter }: Entry): boolean => {
    if (!closed && clock.monotonic() < until) return true;
    if (closed && waiter === undefined) return false;
    waiter?.reject(unavailable("the broker does not answer, so nothing can be recorded"));
    return false;
  };

  const wait = (texts: readonly string[]): Promise<void> =>
    new Promise((resolve, reject) => {
      const until = clock.monotonic() + patienceMs;
      for (const text of texts.slice(0, -1)) push({ text, until });
      push({ text: texts.at(-1) ?? "", until, waiter: { resolve, reject } });
    });

  return {
    async append(events) {
      refuseFull();
      await wait(events.map(textOf));
    },
    note(event) {
      refuseFull();
      push({ text: textOf(event), until: Number.POSITIVE_INFINITY });
    },
    async settled() {
      if (waiting.length > 0) await wait([]);
    },
    async close() {
      const done = new AbortController();
      await Promise.race([running, deps.pause(patienceMs, done.signal)]);
      done.abort();
      closed = true;
      waiting.forEach(alive);
    },
  };
}

function take(waiting: readonly Entry[]): readonly Entry[] {
  let bytes = 0;
  const end = waiting.findIndex(({ text }, at) => {
    bytes += text.length;
    return at > 0 && (bytes > maxBatchBytes || at >= maxBatchEvents);
  });
  return end === -1 ? [...waiting] : waiting.slice(0, end);
}

/** What is left to be sent again: nothing, or all of it. */
async function send({ post, run }: NatsUploadDeps, batch: readonly Entry[]): Promise<readonly Entry[]> {
  const texts = batch.flatMap(({ text }) => (text === "" ? [] : [text]));
  if (texts.length > 0) await post(`{"run":${JSON.stringify(run)},"events":[${texts.join(",")}]}`);
  for (const { waiter } of batch) waiter?.resolve();
  return [];
}

/** No answer is tried again. A refusal would be repeated: what it was about is lost, and said. */
function refusedBatch({ onLost }: NatsUploadDeps, batch: readonly Entry[], error: unknown): readonly Entry[] {
  if (error instanceof WayleaveError && error.wire.http >= 500) return batch;
  onLost(error instanceof Error ? error.message : "the broker refused them");
  for (const { waiter } of batch) waiter?.reject(unavailable("the broker refuses the records of this gateway"));
  return [];
}

function unavailable(detail: string): WayleaveError {
  return new WayleaveError("journal_unavailable", detail);
}
