import { randomBytes } from "node:crypto";
import { decodeProtectedHeader } from "jose";
import type { Config } from "../config/config.ts";
import type { Clock } from "../core/clock.ts";
import type { JobIdentity } from "../core/identity.ts";
import type { Recorder } from "../core/record.ts";
import { mintAccessToken } from "../credential/access-token.ts";
import { istioTokenTtlMs } from "../gateway/istio/settings.ts";
import { withExplaining } from "../policy/condition.ts";
import type { Policy } from "../policy/policy.ts";
import { createExchange } from "../session/exchange.ts";
import { createFactReader } from "../session/facts.ts";
import { createIssuanceCaps } from "../session/issuance-caps.ts";
import { createLeases } from "../session/lease.ts";
import { createLifecycle } from "../session/lifecycle.ts";
import type { PolicyAccess, SessionTimings } from "../session/ports.ts";
import { createRefresh } from "../session/refresh.ts";
import { createSweep } from "../session/sweep.ts";
import type { SessionTable } from "../session/table.ts";
import type { ConnectedIssuer } from "./issuers.ts";
import type { BrokerKeys } from "./keys.ts";

export interface SessionServices {
  readonly lifecycle: ReturnType<typeof createLifecycle>;
  readonly facts: ReturnType<typeof createFactReader>;
  readonly leases: ReturnType<typeof createLeases>;
  readonly exchange: ReturnType<typeof createExchange>;
  readonly refresh: ReturnType<typeof createRefresh>;
  readonly sweep: ReturnType<typeof createSweep>;
}

/** Istio hears of an end only by a resource that somebody applies, so its tokens live no longer than it says. */
function longestLifeMs({ gateways }: Config): (targets: readonly string[]) => number {
  const late = new Set(gateways.flatMap(({ kind, targets }) => (kind === "istio" ? targets : [])));
  return (targets) => (targets.some((target) => late.has(target)) ? istioTokenTtlMs : Number.POSITIVE_INFINITY);
}

/** The session services over one table, wired to keys, issuers and the policy in force. */
export function connectSessions(deps: {
  readonly config: Config;
  readonly clock: Clock;
  readonly timings: SessionTimings;
  readonly recorder: Recorder;
  readonly table: SessionTable;
  readonly keys: BrokerKeys;
  readonly issuers: readonly ConnectedIssuer[];
  readonly verify: Parameters<typeof createExchange>[0]["verify"];
  policy(): Policy;
  readonly causeOf: Parameters<typeof createExchange>[0]["causeOf"];
}): SessionServices {
  const { config, keys, table, clock, timings, recorder } = deps;
  // A refusal speaks of the merge request by number and state, so those are read wherever one of its facts is.
  const policy = (): PolicyAccess => {
    const current = deps.policy();
    return { ...current, factsFor: (identity) => [...withExplaining(current.factsFor(identity))] };
  };
  const issuers = new Map(deps.issuers.map((issuer) => [issuer.name, issuer.access]));
  const issuer = (name: string) => issuers.get(name);
  const lifecycle = createLifecycle({ table, recorder, clock, issuer });
  const facts = createFactReader({ table, lifecycle, clock, timings, issuer, policy });
  const issuing = {
    timings,
    random: (bytes: number) => randomBytes(bytes),
    policy,
    longestLifeMs: longestLifeMs(config),
    caps: createIssuanceCaps(clock, config.sessions.caps ?? {}),
    needsProof: (target: string, identity: JobIdentity) =>
      deps.policy().targetFor(target, identity)?.proof === "required",
    fingerprint: keys.fingerprint,
    refreshToken: keys.refreshToken,
    mint: async (input: Omit<Parameters<typeof mintAccessToken>[1], "issuerUrl" | "trustDomain">) => {
      const whole = { ...input, issuerUrl: config.issuer, trustDomain: config.trustDomain };
      const token = await mintAccessToken(keys.accessToken, whole);
      // As the token says: by now another key may sign.
      return { token, kid: decodeProtectedHeader(token).kid ?? "" };
    },
  };
  return {
    lifecycle,
    facts,
    leases: createLeases({ lifecycle, clock, timings }),
    exchange: createExchange({
      ...issuing,
      table,
      lifecycle,
      clock,
      issuer,
      verify: deps.verify,
      readFacts: facts.read,
      causeOf: deps.causeOf,
    }),
    refresh: createRefresh({ ...issuing, table, lifecycle, clock }),
    sweep: createSweep({ table, lifecycle, clock, timings, policy }),
  };
}
