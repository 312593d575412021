import { randomUUID } from "node:crypto";
import { setTimeout as pause } from "node:timers/promises";
import { type NatsGatewaySettings, natsGatewayProtocol } from "../api/nats-gateway.ts";
import { vocabulary } from "../ci/providers.ts";
import type { Clock } from "../core/clock.ts";
import { WayleaveError } from "../core/errors.ts";
import { createLimits } from "../gateway/limits.ts";
import type { NatsAuthority, ServerControl } from "../gateway/nats/ports.ts";
import { besidePolicy } from "../policy/beside.ts";
import { compile } from "../policy/compile.ts";
import { parsePolicy } from "../policy/parse.ts";
import type { Policy } from "../policy/policy.ts";
import { type BrokerLink, createBrokerLink, type LinkOptions } from "./nats-broker-link.ts";
import type { PolicyTexts } from "./nats-feed.ts";
import { followFeed } from "./nats-follow.ts";
import { createRemoteAuthority, createRemoteControl } from "./nats-remote-authority.ts";
import { NatsReplica } from "./nats-replica.ts";
import { createNatsUpload } from "./nats-upload.ts";

/** The broker's half of a NATS gateway that is a process of its own. */
export interface RemoteBroker {
  readonly authority: NatsAuthority;
  readonly control: ServerControl;
  readonly settings: NatsGatewaySettings;
  /** Settles when the broker refuses to be followed: then this gateway has nothing to do any more. */
  readonly followed: Promise<void>;
  /** Sends what waits to be recorded, and lets go of the broker. */
  close(): Promise<void>;
}

export interface RemoteBrokerOptions extends LinkOptions {
  readonly clock: Clock;
  readonly staleAfterMs?: number;
  /** One line for whoever runs it. */
  say(text: string): void;
}

/** How often belief in the feed is looked at, where nobody asks for a decision. */
const lookMs = 250;

/**
 * Asks the broker what it is to do, and begins to follow it; resolves with the first snapshot. Rejects `broker_unreachable`,
 * and with the broker's own code where it refuses.
 */
export async function connectBroker(options: RemoteBrokerOptions): Promise<RemoteBroker> {
  const { clock, name, say } = options;
  const link = createBrokerLink(options);
  const stop = new AbortController();
  try {
    const settings = await settingsOf(link);
    const replica = new NatsReplica({
      clock,
      compile: (texts) => compileTexts(texts, clock, say),
      ...(options.staleAfterMs === undefined ? {} : { staleAfterMs: options.staleAfterMs }),
    });
    const upload = createNatsUpload({
      clock,
      post: async (body) => void (await link.post("records", body, recordsTimeoutMs)),
      pause: waiting,
      run: randomUUID(),
      onLost: (detail) => say(`records were refused, and are lost: ${detail}`),
    });
    const begun = Promise.withResolvers<void>();
    const followed = followFeed({
      link,
      replica,
      signal: stop.signal,
      pause: (ms) => waiting(ms, stop.signal),
      onState(following, detail) {
        say(following ? detail : `${detail}; without it everything is refused`);
        if (following) begun.resolve();
      },
    });
    const look = setInterval(() => replica.look(), lookMs);
    look.unref();
    followed.catch(() => undefined).finally(() => clearInterval(look));
    const broker: RemoteBroker = {
      authority: createRemoteAuthority({ gateway: name, clock, link, replica, upload }),
      control: createRemoteControl(link),
      settings,
      followed,
      async close() {
        await upload.close();
        stop.abort();
        await followed.catch(() => undefined);
        await link.close();
      },
    };
    await Promise.race([begun.promise, followed]);
    return broker;
  } catch (error) {
    stop.abort();
    await link.close();
    throw error;
  }
}

function waiting(ms: number, signal?: AbortSignal): Promise<void> {
  return pause(ms, undefined, signal === undefined ? {} : { signal }).catch(() => undefined);
}

/** A batch is sent again where its answer takes longer. */
const recordsTimeoutMs = 2_000;

async function settingsOf(link: BrokerLink): Promise<NatsGatewaySettings> {
  const settings = await link.get<NatsGatewaySettings>("settings");
  if (settings.protocol === natsGatewayProtocol) return settings;
  throw new WayleaveError(
    "config_invalid",
    "This gateway and its broker are of different versions; install the broker's.",
  );
}

/** The policy that the broker has in force, with its candidate beside it. Throws `policy_invalid`. */
function compileTexts(texts: PolicyTexts, clock: Clock, say: (text: string) => void): Policy {
  const active = compileOne(texts, texts.issuers, say);
  if (texts.candidate === undefined) return active;
  const { canary } = texts.candidate;
  const candidate = compileOne(texts.candidate, texts.issuers, say);
  const onFault = () => undefined; // the broker tells of a candidate that fails
  return besidePolicy({ active, candidate, canary, shadow: createLimits(clock), onFault });
}

/** One policy; says where this gateway cannot do all of it. */
function compileOne(
  { files, lock, version }: Pick<PolicyTexts, "files" | "lock" | "version">,
  issuers: PolicyTexts["issuers"],
  say: (text: string) => void,
): Policy {
  const { model } = parsePolicy({ files, vocabulary, issuers, ...(lock === undefined ? {} : { lock }) });
  if (model?.version !== version) {
    throw new WayleaveError(
      "policy_invalid",
      "The broker's policy is not understood here; install the broker's version.",
    );
  }
  const nats = new Set(model.targets.filter(({ kind }) => kind === "nats").map((target) => target.name));
  for (const { name, limit, allow, place } of model.roles) {
    if (limit?.scope !== "global" || !Object.keys(allow).some((target) => nats.has(target))) continue;
    say(
      `role ${name} (${place.file}:${place.line}) has a limit of scope global, which only the broker can count: it allows ` +
        "nothing at a gateway of its own process; say scope: gateway, or run the gateway inside `serve`",
    );
  }
  return compile(model, vocabulary);
}
