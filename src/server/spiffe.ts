import { randomBytes } from "node:crypto";
import { join } from "node:path";
import type { CallerDeps } from "../api/session-caller.ts";
import type { SvidRouteDeps } from "../api/svid.ts";
import type { Config } from "../config/config.ts";
import type { Clock } from "../core/clock.ts";
import { WayleaveError } from "../core/errors.ts";
import type { AuditEvent, Recorder } from "../core/record.ts";
import { trustDomainId } from "../core/spiffe-id.ts";
import type { CertificateAuthority } from "../credential/ca-authority.ts";
import { caFile } from "../credential/ca-file.ts";
import { openOperatorCa } from "../credential/ca-operator.ts";
import { openOwnCa } from "../credential/ca-own.ts";
import { type CaSigner, createCaSigner } from "../credential/ca-signer.ts";
import type { KeyRing } from "../credential/keys.ts";
import { createGatewaySvids, type GatewaySecret } from "../credential/svid-gateway.ts";
import { mintJwtSvid } from "../credential/svid-jwt.ts";
import { type RunnerDomain, type VerifiedRunner, verifyRunnerSvid } from "../credential/svid-verify.ts";
import { createX509Signer } from "../credential/svid-x509.ts";
import type { BundleDocument } from "../credential/trust-bundle.ts";
import { type BundleFeed, openBundleFeed } from "../credential/trust-bundle-feed.ts";
import { type OwnBundle, openOwnBundle } from "../credential/trust-bundle-own.ts";
import { createGatewayGuard, secretHash } from "../gateway/gateway-guard.ts";
import { createSessionSvids, type SvidDeps } from "../session/svid.ts";
import { bundleFetch } from "./spiffe-fetch.ts";

export interface SpiffeDeps {
  readonly config: Config;
  readonly clock: Pick<Clock, "now">;
  readonly recorder: Pick<Recorder, "append" | "note">;
  /** The keys of JWT-SVIDs. */
  readonly jwtKeys: KeyRing;
  readonly caller: CallerDeps;
  /** `Policy.standings` of the policy in force. */
  readonly roles: SvidDeps["roles"];
  /** Target names of the policy in force: audiences of access tokens. */
  targets(): Iterable<string>;
  /** Told who proved nothing, for the log. */
  onRefused(detail: string): void;
  /** Told of what failed and is tried again. Must not throw. */
  onFault(error: unknown): void;
}

/** The trust domain: its CA, its bundle and those it knows, and the SVIDs of sessions and gateways. */
export interface Spiffe {
  readonly routes: SvidRouteDeps;
  /** An SVID with its key for a gateway of the inventory, for an hour. Throws `key_unavailable`. */
  mintGatewaySvid(name: string): Promise<GatewaySecret>;
  /** Roots, DER, by trust domain, its own first. */
  roots(): ReadonlyMap<string, readonly Uint8Array[]>;
  /** Called after any bundle changed, its own or a federated one. Must not throw. Returns what stops it. */
  onBundleChange(listener: () => void): () => void;
  /** The runner a JWT-SVID for this broker proves. Throws `credential_invalid` and `spiffe_id_refused`. */
  verifyRunnerSvid(token: string): Promise<VerifiedRunner>;
  warnings(): readonly string[];
  /** What time decides: rotation, federated bundles. Run it every few seconds. Never rejects. */
  sweep(): Promise<void>;
  close(): Promise<void>;
}

/**
 * Opens the CA, which is made where there is none, and the bundles. Throws `config_invalid`, `key_unavailable`,
 * `bundle_invalid` and `journal_unavailable`.
 */
export async function connectSpiffe(deps: SpiffeDeps): Promise<Spiffe> {
  const signer = createCaSigner();
  try {
    return await connect(deps, signer);
  } catch (error) {
    await signer.close();
    throw error;
  }
}

async function connect(deps: SpiffeDeps, signer: CaSigner): Promise<Spiffe> {
  const { config, clock, recorder, jwtKeys, onFault } = deps;
  const { trustDomain, spiffe } = config;
  const random = (bytes: number) => randomBytes(bytes);
  const listeners = new Set<() => void>();
  const changed = () => {
    for (const listener of listeners) listener();
  };
  const authority = await openAuthority(deps, signer);
  const file = join(config.dataDir, "spiffe", "bundle.json");
  const own = await openOwnBundle({ authority, jwtKeys, file, clock, onFault });
  own.onChange(changed);
  const feeds = await openFeeds(deps, changed);
  const sign = createX509Signer({ authority, signer, clock, random });
  const gateways = createGatewaySvids({ trustDomain, sign, recorder, clock, roots: own.roots });
  const svids = createSessionSvids({
    trustDomain,
    prefixes: spiffe.prefixes,
    x509TtlMs: spiffe.svidTtlMs,
    clock,
    recorder,
    random,
    roles: deps.roles,
    signX509: sign,
    signJwt: (input) => mintJwtSvid(jwtKeys, input),
    reservedAudience: reservedAudiences(config, deps.targets),
  });
  const roots = () => rootsOf(trustDomain, own, feeds);
  return {
    routes: {
      ...deps.caller,
      trustDomain,
      svids,
      gateway: gatewayGuard(config),
      gatewaySvid: gateways.fromCsr,
      onUnauthenticated: deps.onRefused,
      roots,
      documents: () => documentsOf(trustDomain, own, feeds),
    },
    mintGatewaySvid: gateways.withKey,
    roots,
    onBundleChange(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    verifyRunnerSvid: (token) => verifyRunnerSvid(token, config.issuer, runnersOf(config, feeds), clock.now()),
    warnings: () => [...authority.warnings(), ...feeds.flatMap((feed) => feed.problem() ?? [])],
    async sweep() {
      own.sweep();
      const due = [authority.sweep(), ...feeds.map((feed) => feed.sweep())];
      for (const done of await Promise.allSettled(due)) if (done.status === "rejected") onFault(done.reason);
    },
    async close() {
      await own.close();
      await signer.close();
    },
  };
}

function openAuthority({ config, clock, recorder }: SpiffeDeps, signer: CaSigner): Promise<CertificateAuthority> {
  const { trustDomain, spiffe, dataDir, keys } = config;
  if (spiffe.ca !== undefined) return openOperatorCa({ trustDomain, ...spiffe.ca, signer, clock });
  const file = caFile(join(dataDir, "keys"), Buffer.from(keys.encryptionKey, "base64"));
  return openOwnCa({ trustDomain, file, signer, recorder, clock, random: (bytes) => randomBytes(bytes) });
}

function openFeeds({ config, clock, recorder, onFault }: SpiffeDeps, onChange: () => void): Promise<BundleFeed[]> {
  const dir = join(config.dataDir, "spiffe", "federated");
  const note = (event: AuditEvent) => {
    try {
      recorder.note(event);
    } catch (error) {
      onFault(error);
    }
  };
  const { federatesWith } = config.spiffe;
  const names = federatesWith.map(({ trustDomain }) => trustDomain);
  const twice = names.find((name, at) => names.indexOf(name) !== at);
  if (twice !== undefined)
    throw new WayleaveError(
      "config_invalid",
      `spiffe.federates_with names ${twice} twice; a trust domain has one bundle.`,
    );
  return Promise.all(
    federatesWith.map((federated) => {
      const { trustDomain, bundleUrl, bundle } = federated;
      const domain = {
        trustDomain,
        fetch: bundleFetch(federated),
        ...(bundleUrl === undefined ? {} : { url: bundleUrl }),
        ...(bundle === undefined ? {} : { bootstrap: bundle }),
      };
      return openBundleFeed({ domain, dir, clock, note, onChange });
    }),
  );
}

/** A federated entry for our own trust domain gives runners' keys only: bundles are never merged. */
function foreign(trustDomain: string, feeds: readonly BundleFeed[]): readonly BundleFeed[] {
  return feeds.filter((feed) => feed.trustDomain !== trustDomain);
}

function rootsOf(trustDomain: string, own: OwnBundle, feeds: readonly BundleFeed[]) {
  const roots = new Map<string, readonly Uint8Array[]>([[trustDomain, own.roots()]]);
  for (const feed of foreign(trustDomain, feeds)) {
    const bundle = feed.current();
    if (bundle !== undefined) roots.set(feed.trustDomain, bundle.roots);
  }
  return roots;
}

function documentsOf(trustDomain: string, own: OwnBundle, feeds: readonly BundleFeed[]) {
  const documents = new Map<string, BundleDocument>([[trustDomain, own.current()]]);
  for (const feed of foreign(trustDomain, feeds)) {
    const bundle = feed.current();
    if (bundle !== undefined) documents.set(feed.trustDomain, bundle.document);
  }
  return documents;
}

/**
 * For our own trust domain the keys of its entry in `federates_with` count (a SPIRE of the same name, say), never those by
 * which sessions get SVIDs: a job does not prove a runner.
 */
function runnersOf(
  { spiffe }: Config,
  feeds: readonly BundleFeed[],
): (trustDomain: string) => RunnerDomain | undefined {
  return (trustDomain) => {
    const { runners: prefixes = [] } = spiffe.federatesWith.find((one) => one.trustDomain === trustDomain) ?? {};
    const bundle = feeds.find((feed) => feed.trustDomain === trustDomain)?.current();
    return bundle === undefined || prefixes.length === 0 ? undefined : { bundle, prefixes };
  };
}

function gatewayGuard({ gateways }: Config): SvidRouteDeps["gateway"] {
  const guard = createGatewayGuard(
    gateways
      .filter(({ secret }) => secret !== "")
      .map(({ name, secret }) => ({ name, secretHashes: [secretHash(secret)] })),
  );
  return (name, secret) => guard(name, secret)?.name;
}

/** Where Wayleave takes tokens of other classes: its own addresses, targets, the audience of assertions, issuers' audiences. */
function reservedAudiences(
  config: Pick<Config, "issuer" | "trustDomain" | "issuers">,
  targets: () => Iterable<string>,
): (audience: string) => boolean {
  const { trustDomain } = config;
  const fixed = new Set([trustDomain, trustDomainId(trustDomain), ...config.issuers.map(({ audience }) => audience)]);
  const base = new URL(config.issuer);
  const folder = base.pathname.endsWith("/") ? base.pathname : `${base.pathname}/`;
  return (audience) => {
    if (fixed.has(audience) || [...targets()].includes(audience)) return true;
    const url = URL.parse(audience);
    return url !== null && url.origin === base.origin && `${url.pathname}/`.startsWith(folder);
  };
}
