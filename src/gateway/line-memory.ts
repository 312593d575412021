import { hash } from "node:crypto";
import type { Clock } from "../core/clock.ts";
import type { AuditRecord } from "../core/record.ts";
import { lineIdentity, type RequestEvent } from "./evidence.ts";

/** Which lines of one gateway are recorded already. */
export interface LineMemory {
  /** Reads what was recorded before this broker started; once. */
  load(): Promise<void>;
  /** For files, whose places tell the rest: each line of before the start is known as often as it was recorded. */
  readonly recorded: Known;
  /** For streams, which have no places: every entry is told apart by what it says. */
  readonly streamed: Known;
}

interface Known {
  knows(event: RequestEvent): boolean;
  add(event: RequestEvent): void;
}

/** How far back a line may be sent again after a restart. */
const maxRecorded = 10_000;
const maxStreamed = 10_000;
const maxAgeMs = 24 * 3_600_000;

export function createLineMemory(
  deps: {
    readonly clock: Pick<Clock, "now">;
    recorded(gateway: string, sinceMs: number, limit: number): Promise<readonly AuditRecord[]>;
  },
  gateway: string,
): LineMemory {
  const before = new Map<string, number>();
  const streamed = new Set<string>();
  let loading: Promise<void> | undefined;
  const load = async (): Promise<void> => {
    const records = await deps.recorded(gateway, deps.clock.now() - maxAgeMs, maxRecorded);
    for (const record of records) {
      if (record.kind !== "gateway.request" || record.data.gateway !== gateway) continue;
      const key = keyOf(record);
      before.set(key, (before.get(key) ?? 0) + 1);
    }
  };
  return {
    load() {
      loading ??= load().catch((error: unknown) => {
        loading = undefined; // asked again with the next piece, which is not taken until then
        before.clear();
        throw error;
      });
      return loading;
    },
    recorded: {
      knows(event) {
        const key = keyOf(event);
        const count = before.get(key) ?? 0;
        if (count > 1) before.set(key, count - 1);
        else before.delete(key);
        return count > 0;
      },
      add: () => undefined, // the place in the file remembers it
    },
    streamed: {
      knows: (event) => streamed.has(keyOf(event)),
      add(event) {
        const [oldest] = streamed;
        if (streamed.size >= maxStreamed && oldest !== undefined) streamed.delete(oldest);
        streamed.add(keyOf(event));
      },
    },
  };
}

/** Short, because thousands are kept. */
function keyOf(event: RequestEvent): string {
  return hash("sha256", lineIdentity(event), "base64url").slice(0, 22);
}
