import type { ServerTotals } from "./ports.ts";

/** What servers said of connections that closed, until somebody asks. */
export interface TotalsMemory {
  /** From here on, what is said of this connection is kept. */
  expect(serverId: string, cid: number): void;
  expects(serverId: string, cid: number): boolean;
  /** Once for each connection; undefined where nothing is said within `timeoutMs`. */
  take(serverId: string, cid: number, timeoutMs: number): Promise<ServerTotals | undefined>;
  told(serverId: string, cid: number, totals: ServerTotals): void;
  /** Nobody is told anything any more. */
  close(): void;
}

/** Connections of this gateway at once, and what closed a moment ago. */
const mostExpected = 100_000;
/** What nobody asked about for so long, nobody will. */
const keptMs = 60_000;

/**
 * Totals of expected connections only, so that others that come and go push nothing out. They may be told before or after
 * they are asked for. `now` is monotonic ms. Bounded: of too many, the one expected longest ago is forgotten.
 */
export function createTotalsMemory(now: () => number): TotalsMemory {
  const expected = new Set<string>();
  const told = new Map<string, { readonly totals: ServerTotals; readonly at: number }>();
  const waiting = new Map<string, (totals: ServerTotals | undefined) => void>();

  const forgetOld = () => {
    const oldest = now() - keptMs;
    for (const [key, { at }] of told) {
      if (at > oldest) return;
      told.delete(key);
    }
  };

  return {
    expect(serverId, cid) {
      if (expected.size >= mostExpected) expected.delete(expected.values().next().value ?? "");
      expected.add(keyOf(serverId, cid));
    },
    expects: (serverId, cid) => expected.has(keyOf(serverId, cid)),
    take(serverId, cid, timeoutMs) {
      const key = keyOf(serverId, cid);
      const known = told.get(key);
      told.delete(key);
      if (known !== undefined) return Promise.resolve(known.totals);
      waiting.get(key)?.(undefined);
      return new Promise((resolve) => {
        const settle = (totals: ServerTotals | undefined) => {
          clearTimeout(timer);
          waiting.delete(key);
          resolve(totals);
        };
        const timer = setTimeout(settle, timeoutMs, undefined);
        waiting.set(key, settle);
      });
    },
    told(serverId, cid, totals) {
      const key = keyOf(serverId, cid);
      const wasExpected = expected.delete(key);
      const asked = waiting.get(key);
      if (asked !== undefined) return asked(totals);
      if (!wasExpected) return;
      forgetOld();
      told.set(key, { totals, at: now() });
    },
    close() {
      for (const settle of waiting.values()) settle(undefined);
      expected.clear();
      told.clear();
    },
  };
}

const keyOf = (serverId: string, cid: number): string => `${serverId}/${cid}`;
