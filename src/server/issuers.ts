import type { RegisteredHook } from "../api/hooks.ts";
import { createSignedVerifier, isAwsProof } from "../ci/aws/verify-signed.ts";
import type { CiApi, HookReader, Provider } from "../ci/provider.ts";
import { providerOf } from "../ci/providers.ts";
import type { Config, IssuerConfig } from "../config/config.ts";
import type { Clock } from "../core/clock.ts";
import { WayleaveError } from "../core/errors.ts";
import type { PipelineStarter } from "../core/pipeline-start.ts";
import { createKeySource, type KeySource } from "../identity/jwks.ts";
import { trustingFetch } from "../identity/trusting-fetch.ts";
import { createVerifier, type Verifier } from "../identity/verify.ts";
import type { IssuerAccess } from "../session/ports.ts";

/** One configured issuer, connected. */
export interface ConnectedIssuer {
  readonly name: string;
  readonly url: string;
  readonly provider: Provider;
  /** Absent where it signs no tokens. */
  readonly keys?: KeySource;
  readonly access: IssuerAccess;
  readonly hooks: readonly RegisteredHook[];
  /** Present with an API credential: id of the project that has a path now. Rejects `ci_api_unreachable`. */
  readonly projectId?: (path: string) => Promise<string | undefined>;
  /** Present with a credential to start pipelines. */
  readonly starter?: PipelineStarter;
}

/** The verified path of a project id, where one of its jobs has been seen. */
type PathOf = (issuer: string, projectId: string) => string | undefined;
type Fetch = typeof globalThis.fetch;

const apiTimeoutMs = 5_000;
/** A start takes longer than a look-up; what counts as lost is measured by this. */
const startTimeoutMs = 10_000;

/** Every configured issuer with its keys, API and webhooks, and one verifier over all of them. Fetches nothing yet. */
export function connectIssuers(
  config: Config,
  clock: Clock,
  pathOf: PathOf,
): { issuers: readonly ConnectedIssuer[]; verifier: Verifier } {
  const issuers = config.issuers.map((issuer) => connect(issuer, clock, pathOf));
  const tokens = createVerifier({
    clock,
    issuers: issuers.flatMap(({ name, url, provider, keys }, at) =>
      keys === undefined
        ? []
        : [{ name, url, provider, keys, audience: config.issuers[at]?.audience ?? config.issuer }],
    ),
  });
  const signed = signedVerifier(config, clock);
  return { issuers, verifier: { verify: (token) => (isAwsProof(token) ? signed(token) : tokens.verify(token)) } };
}

/** Signed requests name no issuer, so that at most one may take them. */
function signedVerifier(config: Config, clock: Clock): Verifier["verify"] {
  const [taker, other] = config.issuers.filter(({ aws }) => aws?.sts !== undefined);
  if (other !== undefined) {
    throw new WayleaveError("config_invalid", `issuers: only one may have aws.sts; remove it from ${other.name}.`);
  }
  if (taker?.aws === undefined) {
    return async () => {
      throw new WayleaveError("issuer_unknown", "No issuer of type aws takes signed requests; add issuers[].aws.sts.");
    };
  }
  const { name, audience, aws } = taker;
  return createSignedVerifier({ name, audience, config: aws, clock, fetch: fetchOf(taker), timeoutMs: apiTimeoutMs });
}

const fetchOf = ({ ca }: IssuerConfig): Fetch => trustingFetch(ca === undefined ? {} : { caPem: ca });

function connect(config: IssuerConfig, clock: Clock, pathOf: PathOf): ConnectedIssuer {
  const provider = providerOf(config);
  if (provider === undefined) {
    throw new WayleaveError("config_invalid", `issuers: ${config.name} needs a part \`${config.type}\`.`);
  }
  const issuerUrl = config.url ?? provider.defaultIssuerUrl;
  const url = issuerUrl ?? config.aws?.sts?.[0];
  if (url === undefined) throw new WayleaveError("config_invalid", `issuers: ${config.name} needs a url.`);
  const fetch = fetchOf(config);
  const api = connectApi(config, provider, url, fetch);
  const starter = connectStarter(config, provider, url, fetch, clock);
  const { claimFacts, hooks } = provider;
  return {
    name: config.name,
    url,
    provider,
    ...(issuerUrl === undefined ? {} : { keys: keySource(config, issuerUrl, fetch, clock) }),
    ...(api?.projectId === undefined ? {} : { projectId: api.projectId }),
    ...(starter === undefined ? {} : { starter }),
    access: {
      renewable: provider.renewable,
      maxTokenLifeMs: provider.maxTokenLifeSeconds * 1000,
      ...(claimFacts === undefined ? {} : { claimFacts }),
      ...(api === undefined ? {} : { api }),
    },
    hooks: hooks === undefined ? [] : config.webhooks.map((hook) => registeredHook(config.name, hook, hooks, pathOf)),
  };
}

function keySource({ jwks }: IssuerConfig, issuerUrl: string, fetch: Fetch, clock: Clock): KeySource {
  return createKeySource({ issuerUrl, fetch, clock, ...(jwks === undefined ? {} : { jwks }) });
}

function connectApi(config: IssuerConfig, { api }: Provider, issuerUrl: string, fetch: Fetch): CiApi | undefined {
  if (config.api === undefined || api === undefined) return undefined;
  const { url, token } = config.api;
  return api.connect({ baseUrl: url ?? api.url(issuerUrl), token, fetch, timeoutMs: apiTimeoutMs });
}

function connectStarter(
  config: IssuerConfig,
  { api }: Provider,
  issuerUrl: string,
  fetch: Fetch,
  { now }: Clock,
): PipelineStarter | undefined {
  if (config.start === undefined) return undefined;
  return api?.starter?.({
    ...config.start,
    ...(config.api === undefined ? {} : { readToken: config.api.token }),
    baseUrl: config.api?.url ?? api.url(issuerUrl),
    fetch,
    timeoutMs: startTimeoutMs,
    now,
  });
}

function registeredHook(
  issuer: string,
  hook: IssuerConfig["webhooks"][number],
  reader: HookReader,
  pathOf: PathOf,
): RegisteredHook {
  return {
    issuer,
    name: hook.name,
    ...(hook.events === undefined ? {} : { events: hook.events }),
    read(request, nowMs) {
      const secrets = {
        ...(hook.token === undefined ? {} : { token: hook.token }),
        ...(hook.signingToken === undefined ? {} : { signing: hook.signingToken }),
      };
      const found = reader.read(request, secrets, nowMs);
      const status = hook.events === undefined ? undefined : reader.buildStatus(jsonOf(request.body));
      return status === undefined ? found : { ...found, status };
    },
    // A path in a hook is its sender's word. Only the path that this project's own tokens proved counts.
    covers: (id) => {
      const path = pathOf(issuer, id);
      if (hook.projects.includes(id) || path === undefined) return hook.projects.includes(id);
      return hook.projects.includes(path) || hook.groups.some((group) => path.startsWith(`${group}/`));
    },
  };
}

/** Of an authenticated delivery; undefined for what is no JSON, which tells of no status. */
function jsonOf(body: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(body));
  } catch {
    return undefined;
  }
}
