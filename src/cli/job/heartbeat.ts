import { randomBytes } from "node:crypto";
import { WayleaveError } from "../../core/errors.ts";
import type { CommandIo } from "../command-io.ts";
import type { Broker, Caller } from "./broker.ts";
import { isOutage } from "./retry.ts";

export interface Heartbeat {
  /** Stops beating and tells the broker that the command exited, as far as it can be told. */
  release(): Promise<void>;
}

/** Id of one command's lease. */
export function leaseId(): string {
  return randomBytes(12).toString("base64url");
}

const firstIntervalMs = 10_000;
const outageIntervalMs = 3000;

/**
 * Beats while a command runs, the first time at once. An outage is beaten through; `onRefused` is called once when the broker
 * says no, and the command goes on: what it may reach is decided at the gateways.
 */
export function beat(
  io: Pick<CommandIo, "pause">,
  broker: Broker,
  caller: Caller,
  lease: string,
  onRefused: (error: WayleaveError) => void,
): Heartbeat {
  const stopped = new AbortController();
  // The key's proof alone: a heartbeat has no need of the refresh token.
  const prover: Caller = { key: caller.key, sessionId: caller.sessionId };

  async function loop(): Promise<void> {
    while (!stopped.signal.aborted) {
      let waitMs = firstIntervalMs;
      try {
        waitMs = (await broker.beat(prover, lease, stopped.signal)).interval * 1000;
      } catch (error) {
        if (stopped.signal.aborted) return;
        if (!isOutage(error)) return onRefused(asRefusal(error));
        waitMs = outageIntervalMs;
      }
      await io.pause(waitMs, stopped.signal);
    }
  }

  const beating = loop();
  return {
    async release() {
      stopped.abort();
      await beating;
      // Unreleased, the lease would suspend the session; unreachable, the broker learns of it when the lease is missed.
      await broker.release(prover, lease).catch(() => undefined);
    },
  };
}

function asRefusal(error: unknown): WayleaveError {
  return error instanceof WayleaveError
    ? error
    : new WayleaveError("internal", "The heartbeat failed.", { cause: error });
}
