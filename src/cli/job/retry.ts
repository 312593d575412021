import { WayleaveError } from "../../core/errors.ts";
import type { CommandIo } from "../command-io.ts";

const pausesMs = [500, 1000, 2000, 4000];

/**
 * Tries again while the broker gives no answer, saying so on stderr: an outage never looks like a refusal. A refusal is an
 * answer and is thrown at once; the last outage is thrown too.
 */
export async function retrying<T>(io: Pick<CommandIo, "pause" | "stderr">, work: () => Promise<T>): Promise<T> {
  for (const [at, pauseMs] of pausesMs.entries()) {
    try {
      return await work();
    } catch (error) {
      if (!isOutage(error)) throw error;
      io.stderr.write(`wayleave: no answer from the broker (retrying, ${at + 2} of ${pausesMs.length + 1})\n`);
      await io.pause(pauseMs);
    }
  }
  return await work();
}

/** True for "no answer", false for "no". */
export function isOutage(error: unknown): error is WayleaveError {
  return error instanceof WayleaveError && error.wire.exit === 5;
}
