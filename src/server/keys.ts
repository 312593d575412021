import { createHmac, hkdfSync, randomBytes } from "node:crypto";
import { join } from "node:path";
import type { KeyHolder } from "../api/contract.ts";
import type { KeyRouteDeps } from "../api/keys.ts";
import type { Config, EnvoyGatewayConfig, GatewayConfig } from "../config/config.ts";
import type { Clock } from "../core/clock.ts";
import type { Recorder } from "../core/record.ts";
import { assertionLifeMs } from "../credential/assertion.ts";
import { fingerprint, fingerprintKey } from "../credential/fingerprint.ts";
import { type KeyChain, openKeyChain } from "../credential/key-chain.ts";
import { keyFile } from "../credential/key-file.ts";
import type { KeyHistory } from "../credential/key-history.ts";
import { type KeyClass, keyClasses } from "../credential/key-life.ts";
import { bundleRefreshSeconds, type KeyWindows, keyWindows } from "../credential/key-windows.ts";
import type { KeyRing } from "../credential/keys.ts";
import { natsKeyFile } from "../credential/nats-key-file.ts";
import { type NatsKeys, openNatsKeys } from "../credential/nats-keys.ts";
import { rewrapKeys } from "../credential/rewrap.ts";
import { type EncryptionKeys, openSecretRoot } from "../credential/secret-root.ts";

/** Everything the broker signs or derives with, opened by the operator's key. */
export interface BrokerKeys {
  readonly accessToken: KeyRing;
  readonly assertion: KeyRing;
  readonly jwtSvid: KeyRing;
  /** Where the inventory has a NATS gateway. */
  readonly nats?: NatsKeys;
  /** The verbs, by class. */
  readonly chains: Readonly<Record<Exclude<KeyClass, "nats">, KeyChain>> & { readonly nats?: KeyChain };
  readonly windows: Readonly<Record<KeyClass, KeyWindows>>;
  /** 32 bytes that other secrets are derived from. */
  readonly root: Uint8Array;
  /** Files that this start encrypted with the operator's new key. */
  readonly rewrapped: readonly string[];
  fingerprint(token: string): string;
  /** The refresh token of a session and generation: derived, so that a retry gets the same one, also after a restart. */
  refreshToken(sessionId: string, generation: number): string;
}

/** What the keys need of the journal. */
export interface KeyJournal {
  readonly recorder: Pick<Recorder, "append">;
  /** Every `key.*` record there is. */
  readonly history: KeyHistory;
  readonly clock: Pick<Clock, "now">;
  /** Told of what failed and is tried again. Must not throw. */
  onFault(error: unknown): void;
}

/** Throws `key_unavailable`. */
export async function openBrokerKeys(config: Config, journal: KeyJournal): Promise<BrokerKeys> {
  const { recorder, history, clock, onFault } = journal;
  const { encryptionKey, previousEncryptionKey } = config.keys;
  const operatorKey = Buffer.from(encryptionKey, "base64");
  const encryption: EncryptionKeys = {
    key: operatorKey,
    ...(previousEncryptionKey === undefined ? {} : { previous: Buffer.from(previousEncryptionKey, "base64") }),
  };
  const dir = join(config.dataDir, "keys");
  const rewrapped = await rewrapKeys(dir, encryption);
  if (rewrapped.length > 0) await recorder.append([{ kind: "keys.rewrapped", data: { files: rewrapped } }]);
  const root = await openSecretRoot(dir, encryption, (bytes) => randomBytes(bytes));
  const windows = windowsOf(config);
  const lives = tokenLives(config);
  const file = (keyClass: KeyClass) => keyFile(dir, keyClass, operatorKey);
  const open = (keyClass: KeyClass, from = file(keyClass)) =>
    openKeyChain({
      class: keyClass,
      file: from,
      history: history.of(keyClass),
      recorder,
      clock,
      windowMs: windows[keyClass].windowMs,
      lifeMs: lives[keyClass],
      onFault,
    });
  const chains = {
    "access-token": await open("access-token"),
    assertion: await open("assertion"),
    "jwt-svid": await open("jwt-svid"),
  };
  const nats = config.gateways.some(({ kind }) => kind === "nats")
    ? await openNatsKeys({
        file: natsKeyFile(dir, operatorKey),
        signing: file("nats"),
        openChain: (from) => open("nats", from),
        random: (bytes) => randomBytes(bytes),
      })
    : undefined;
  const marks = fingerprintKey(root);
  const refreshKey = new Uint8Array(hkdfSync("sha256", root, "", "wayleave refresh token v1", 32));
  return {
    accessToken: chains["access-token"].ring,
    assertion: chains.assertion.ring,
    jwtSvid: chains["jwt-svid"].ring,
    chains: nats === undefined ? chains : { ...chains, nats: nats.chain },
    ...(nats === undefined ? {} : { nats }),
    windows,
    root,
    rewrapped,
    fingerprint: (token) => fingerprint(marks, token),
    refreshToken: (sessionId, generation) =>
      `wlr_${createHmac("sha256", refreshKey).update(`${sessionId} ${generation}`).digest("base64url")}`,
  };
}

/** What time alone decides about keys, for all classes. */
export async function sweepKeys({ chains }: Pick<BrokerKeys, "chains">): Promise<void> {
  await Promise.all(Object.values(chains).map((chain) => chain.sweep()));
}

/** The verbs as operators are served them. */
export function keyOperation(keys: BrokerKeys, config: Config, clock: Pick<Clock, "now">): KeyRouteDeps {
  return {
    now: clock.now,
    classes: keyClasses.filter((keyClass) => keys.chains[keyClass] !== undefined),
    chain(keyClass) {
      const chain = keys.chains[keyClass];
      if (chain === undefined) throw new TypeError(`class ${keyClass} is not one of this installation`);
      return chain;
    },
    cacheMs: (keyClass) => keys.windows[keyClass].cacheMs,
    holders: config.gateways.flatMap(holderOf),
  };
}

/** Nothing for a gateway that asks: it knows at once. */
function holderOf(gateway: GatewayConfig): readonly KeyHolder[] {
  const { name, kind } = gateway;
  if (kind === "istio" && gateway.mode === "native") {
    const note = "has them in its resources: render and apply those before activating, and after revoking";
    return [{ gateway: name, kind, class: "access-token", note }];
  }
  if (kind !== "envoy" || gateway.mode !== "native") return [];
  const keyClass = gateway.behind.length > 0 ? "assertion" : "access-token";
  return [{ gateway: name, kind, class: keyClass, note: envoyNote(gateway) }];
}

function envoyNote({ keyCacheMs, revocation, revocationTtlMs }: EnvoyGatewayConfig): string {
  const told = { grpc: "at once", rest: "within about a second", file: "by `wayleave gateway follow`" }[revocation];
  return `keeps them ${seconds(keyCacheMs)}; hears of a revocation ${told}, or refuses everything after ${seconds(revocationTtlMs)}`;
}

function seconds(ms: number): string {
  return `${ms / 1000} s`;
}

function windowsOf(config: Config): Readonly<Record<KeyClass, KeyWindows>> {
  const caches = config.gateways.flatMap((gateway) => (gateway.kind === "envoy" ? [gateway.keyCacheMs] : []));
  const tokens = keyWindows(caches);
  return {
    "access-token": tokens,
    assertion: tokens,
    "jwt-svid": keyWindows([bundleRefreshSeconds * 1000]),
    nats: keyWindows([natsSpreadMs]),
  };
}

/** A new signing key is pushed to every nats-server at once; one that was away asks the others when it comes back. */
const natsSpreadMs = 5_000;

/** Longest life of a token of each class, ms. A NATS user lives as long as its session. */
function tokenLives({ sessions, spiffe }: Config): Readonly<Record<KeyClass, number>> {
  const tokenMs = sessions.tokenTtlMs;
  return {
    "access-token": tokenMs,
    assertion: assertionLifeMs,
    "jwt-svid": Math.max(tokenMs, spiffe.svidTtlMs),
    nats: sessions.maxMs,
  };
}
