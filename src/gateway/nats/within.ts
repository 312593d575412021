import { WayleaveError } from "../../core/errors.ts";

/** Calls after so many ms; gives what stops it. */
export type After = (ms: number, run: () => void) => () => void;

/** The promise's value, or a rejection with `broker_unreachable` where it takes longer than that. */
export function within<T>(after: After, ms: number, work: Promise<T>, late: string): Promise<T> {
  const { promise, resolve, reject } = Promise.withResolvers<T>();
  const cancel = after(ms, () => reject(new WayleaveError("broker_unreachable", late)));
  work.then(resolve, reject);
  return promise.finally(cancel);
}
