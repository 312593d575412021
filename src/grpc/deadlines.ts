import type { Call } from "./call.ts";
import { GrpcError, grpcStatus } from "./status.ts";

/** Ends calls whose time is over, at most 20 ms late: a timer for each would cost as much as a small handler. */
export interface Deadlines {
  /** The call has `timeoutMs` from now. */
  add(call: Call, timeoutMs: number): void;
  /** Nothing is watched any more. */
  stop(): void;
}

const everyMs = 20;

export function createDeadlines(): Deadlines {
  /** Most calls are over before the turn is: they are never watched, and not kept alive. */
  let arrived: [call: Call, end: number][] = [];
  const watched = new Map<Call, number>();
  let timer: NodeJS.Timeout | undefined;
  const stop = () => {
    clearInterval(timer);
    timer = undefined;
  };
  const sweep = () => {
    const now = performance.now();
    for (const [call, end] of watched) {
      if (!call.over && end > now) continue;
      watched.delete(call);
      call.cancel(new GrpcError(grpcStatus.deadlineExceeded, "the deadline passed"));
    }
    if (watched.size === 0) stop();
  };
  const watch = () => {
    for (const [call, end] of arrived) if (!call.over) watched.set(call, end);
    arrived = [];
    if (watched.size > 0) timer ??= setInterval(sweep, everyMs);
  };
  return {
    add(call, timeoutMs) {
      if (arrived.length === 0) setImmediate(watch);
      arrived.push([call, performance.now() + timeoutMs]);
    },
    stop() {
      watched.clear();
      stop();
    },
  };
}
