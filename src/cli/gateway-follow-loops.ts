import { mkdirSync } from "node:fs";
import { rename, rm, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { writeDiscoveryFile } from "../gateway/envoy/discovery-file.ts";
import { refusalsName } from "../gateway/envoy/refusals.ts";
import type { CommandIo } from "./command-io.ts";
import type { GatewayAgent } from "./gateway-agent.ts";
import type { LogTail, TailPlace } from "./gateway-log-tail.ts";
import { isOutage } from "./job/retry.ts";
import { count } from "./terminal.ts";

export interface Following {
  readonly io: Pick<CommandIo, "stderr" | "pause" | "now">;
  readonly agent: Pick<GatewayAgent, "send" | "refusals">;
  readonly signal: AbortSignal;
}

const lookMs = 200;
const refusalsMs = 1_000;
const longestPauseMs = 5_000;

/**
 * Sends what is written to the log, until the signal aborts. A broker that is away is asked again, ever more slowly; a
 * refusal is thrown, because sending the same again would not help. `keep` is called with each place that has arrived.
 */
export async function followLog(following: Following, tail: LogTail, keep: (place: TailPlace) => void): Promise<void> {
  const { io, agent, signal } = following;
  const patience = createPatience(following, "the log waits");
  while (!signal.aborted) {
    const piece = tail.next();
    if (piece === undefined) {
      await io.pause(lookMs, signal);
      continue;
    }
    const answer = await patience(() => agent.send(piece));
    if (answer === undefined) continue;
    if (answer.refused > 0) {
      io.stderr.write(
        `wayleave: ${count(answer.refused, "line")} of the log refused; see wayleave audit list --kind gateway.refused\n`,
      );
    }
    // The broker may know more of the file than this agent, whose place was lost; it says so line by line.
    const end = Math.min(answer.upto, piece.offset + piece.bytes.length);
    if (end <= piece.offset) await io.pause(lookMs, signal);
    else {
      tail.advance(end);
      if (tail.place !== undefined) keep(tail.place);
    }
  }
}

/** Keeps the refusals in a file as fresh as once a second. A broker that is away leaves it as it is: it ends by its own time. */
export async function followRefusals(
  following: Following,
  { path, policy }: { readonly path: string; readonly policy: string },
): Promise<void> {
  const { io, agent, signal } = following;
  const patience = createPatience(following, "refusals end by their own time");
  mkdirSync(dirname(path), { recursive: true });
  let version = "";
  while (!signal.aborted) {
    const asked = await patience(async () => ({ document: await agent.refusals([refusalsName(policy)], version) }));
    if (asked === undefined) continue;
    if (asked.document !== undefined) {
      await writeDiscoveryFile(path, asked.document as Parameters<typeof writeDiscoveryFile>[1], {
        writeFile,
        rename,
        rm,
      });
      version = asked.document.version_info;
    }
    await io.pause(refusalsMs, signal);
  }
}

type Patience = <T>(work: () => Promise<T>) => Promise<T | undefined>;

/** One try: undefined after an outage, and a pause that grows while outages follow each other. */
function createPatience({ io, signal }: Following, meanwhile: string): Patience {
  let failures = 0;
  return async (work) => {
    try {
      const result = await work();
      if (failures > 0) io.stderr.write("wayleave: the broker answers again\n");
      failures = 0;
      return result;
    } catch (error) {
      if (!isOutage(error)) throw error;
      if (failures++ === 0) io.stderr.write(`wayleave: no answer from the broker (${meanwhile}; it is asked again)\n`);
      await io.pause(Math.min(longestPauseMs, 250 * 2 ** Math.min(failures, 6)), signal);
      return undefined;
    }
  };
}
