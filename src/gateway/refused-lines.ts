import type { Clock } from "../core/clock.ts";
import type { Recorder } from "../core/record.ts";
import { type LineProblem, lineProblems } from "./evidence.ts";

/** How often one gateway's refused lines become a record, however many there are. */
const everyMs = 10_000;

interface Waiting {
  saidAt: number;
  readonly counts: Map<LineProblem, number>;
}

const newWaiting = (): Waiting => ({ saidAt: Number.NEGATIVE_INFINITY, counts: new Map() });

/** Lines that were no evidence, as `gateway.refused` records: the first at once, more of them counted together. */
export function createRefusedLines(deps: {
  readonly clock: Pick<Clock, "now">;
  readonly recorder: Pick<Recorder, "note">;
}): { add(gateway: string, problem: LineProblem): void } {
  const gateways = new Map<string, Waiting>();
  return {
    add(gateway, problem) {
      const waiting = gateways.get(gateway) ?? newWaiting();
      gateways.set(gateway, waiting);
      waiting.counts.set(problem, (waiting.counts.get(problem) ?? 0) + 1);
      const now = deps.clock.now();
      if (now - waiting.saidAt < everyMs) return;
      waiting.saidAt = now;
      const told = [...waiting.counts].map(([name, count]) => `${count} ${lineProblems[name]}`).join("; ");
      waiting.counts.clear();
      try {
        deps.recorder.note({
          kind: "gateway.refused",
          data: { code: "invalid_request", detail: `lines of its log that are no evidence: ${told}`, gateway },
        });
      } catch {
        // the journal is full or gone; the agent hears it, and what is counted here is not worth more
      }
    },
  };
}
