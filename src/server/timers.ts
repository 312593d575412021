import type { Logger } from "pino";
import type { Recorder } from "../core/record.ts";
import type { SessionTimings } from "../session/ports.ts";
import { type BrokerKeys, sweepKeys } from "./keys.ts";
import type { Messaging } from "./messaging.ts";
import type { PolicySource } from "./policy-source.ts";
import type { SessionServices } from "./sessions.ts";
import type { Spiffe } from "./spiffe.ts";
import { recordReload } from "./surface.ts";

/** How often time is looked at: an end by time is at most this late. */
const sweepMs = 500;

/** A key whose last token has expired stays published this much longer at most. */
const keySweepMs = 1_000;

/** How late an intermediate is renewed, or a federated bundle read, at most. */
const bundleSweepMs = 5_000;

/** Starts what runs by itself: the sweep, the poll of the CIs, the watch on the policy. Returns how to stop. */
export function startTimers(deps: {
  readonly sessions: SessionServices;
  readonly keys: BrokerKeys;
  readonly spiffe: Spiffe;
  readonly timings: SessionTimings;
  readonly policies: PolicySource;
  readonly messaging: Pick<Messaging, "reconcile">;
  readonly recorder: Recorder;
  readonly log: Logger;
}): () => void {
  const { sessions, keys, spiffe, timings, policies, recorder, log } = deps;
  const failed = (what: string) => (error: unknown) => log.error({ err: error }, `${what} failed; it is tried again`);
  const every = (ms: number, what: string, work: () => Promise<void>): NodeJS.Timeout => {
    let running = false;
    return setInterval(() => {
      if (running) return; // never two at once: a slow CI only makes the next poll later
      running = true;
      work()
        .catch(failed(what))
        .finally(() => {
          running = false;
        });
    }, ms);
  };
  const sweepEvery = Math.min(sweepMs, timings.suspendAfterMs / 4);
  const sweep = every(sweepEvery, "the session sweep", sessions.sweep);
  const keySweep = every(keySweepMs, "the key sweep", () => sweepKeys(keys));
  const bundleSweep = every(bundleSweepMs, "the sweep of certificates and bundles", spiffe.sweep);
  const poll = every(timings.pollMs, "the CI poll", sessions.facts.poll);
  spiffe.sweep().catch(failed("the sweep of certificates and bundles"));
  // What was true before a restart is not known until it is read.
  sessions.facts.poll().catch(failed("the CI poll"));
  const unwatch = policies.watch((outcome) => {
    recordReload(recorder, outcome, log).catch(failed("recording a policy reload"));
    deps.messaging.reconcile().catch(failed("following the events of a new policy"));
    sessions.facts.refreshAll().catch(failed("reading the facts a new policy asks for"));
  });
  return () => {
    clearInterval(sweep);
    clearInterval(keySweep);
    clearInterval(bundleSweep);
    clearInterval(poll);
    unwatch();
  };
}
