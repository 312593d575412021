import type { BreakglassRouteDeps } from "../api/breakglass.ts";
import type { Config } from "../config/config.ts";
import type { BreakglassInForce, BreakglassUse } from "../core/breakglass-record.ts";
import type { Clock } from "../core/clock.ts";
import type { AuditRecord, Recorder } from "../core/record.ts";
import { createGatewayGuard, secretHash } from "../gateway/gateway-guard.ts";
import { createQueue } from "../gateway/queue.ts";
import type { RecordReader } from "./surface.ts";

/** What was done with break-glass while the broker was away, and what still may be. */
export interface BreakglassServices {
  readonly routes: BreakglassRouteDeps;
  /** Used, and not over yet: for every status output. */
  inForce(): Promise<readonly BreakglassInForce[]>;
}

/** Longest that break-glass lasts, and some more for a responder's clock, ms. */
const forgetAfterMs = 2 * 3_600_000;

/** A responder sends again what it has no answer for: this far back a use is known again. */
const sinceMs = 7 * 24 * 3_600_000;
const mostKnown = 20_000;

/** Takes in the uses that responders wrote down, each once, and knows what is in force; after a restart from the records. */
export function connectBreakglass(deps: {
  readonly config: Pick<Config, "gateways">;
  readonly clock: Pick<Clock, "now">;
  readonly recorder: Pick<Recorder, "append">;
  readonly records: RecordReader;
  onRefused(detail: string): void;
  log: { warn(fields: object, text: string): void };
}): BreakglassServices {
  const { clock, recorder, records } = deps;
  const oneByOne = createQueue();
  const known = new Set<string>();
  let allowed: BreakglassUse[] = [];
  let loaded: Promise<void> | undefined;
  const learn = (use: BreakglassUse): void => {
    known.add(use.use);
    if (use.outcome === "allow") allowed.push(use);
  };
  const load = (): Promise<void> => {
    loaded ??= records
      .query({ kind: "breakglass.used", sinceMs: clock.now() - sinceMs, limit: mostKnown })
      .then((found: readonly AuditRecord[]) => {
        for (const record of found) if (record.kind === "breakglass.used") learn(record.data);
      })
      .catch((error: unknown) => {
        loaded = undefined; // asked again next time
        throw error;
      });
    return loaded;
  };
  const take = (gateway: string) => (uses: readonly BreakglassUse[]) =>
    oneByOne(async () => {
      await load();
      const fresh = [...new Map(uses.map((use) => [use.use, use])).values()].filter(({ use }) => !known.has(use));
      if (fresh.length === 0) return;
      // Whoever sends it is who it happened at, whatever it says.
      const events = fresh.map((use) => ({ kind: "breakglass.used" as const, data: { ...use, gateway } }));
      await recorder.append(events);
      for (const { data } of events) learn(data);
      deps.log.warn({ gateway, uses: fresh.length }, "break-glass was used while the broker was away");
    });
  const guard = createGatewayGuard(
    deps.config.gateways.flatMap((gateway) =>
      gateway.kind === "nginx" ? [{ name: gateway.name, secretHashes: [secretHash(gateway.secret)] }] : [],
    ),
  );
  return {
    routes: {
      gateway: (name, secret) => {
        const gateway = guard(name, secret);
        return gateway === undefined ? undefined : take(gateway.name);
      },
      onUnauthenticated: deps.onRefused,
    },
    async inForce() {
      await load();
      const now = clock.now();
      allowed = allowed.filter(({ request }) => (request?.ends_at ?? 0) > now - forgetAfterMs);
      return summarize(allowed.filter(({ request }) => (request?.ends_at ?? 0) > now));
    },
  };
}

function summarize(uses: readonly BreakglassUse[]): readonly BreakglassInForce[] {
  const byId = new Map<string, BreakglassInForce>();
  for (const { request, approvers = [] } of uses) {
    if (request === undefined) continue;
    const { id, reason, targets, gateways, ends_at } = request;
    const uses = (byId.get(id)?.uses ?? 0) + 1;
    byId.set(id, { id, reason, targets, gateways, approvers, ends_at: new Date(ends_at).toISOString(), uses });
  }
  return [...byId.values()];
}
