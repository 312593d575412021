import type { RegisteredHook } from "../api/hooks.ts";
import type { CiApi, Provider } from "../ci/provider.ts";
import { providers } from "../ci/providers.ts";
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
  readonly keys: KeySource;
  readonly access: IssuerAccess;
  readonly hooks: readonly RegisteredHook[];
  /** Present with an API credential: id of the project that has a path now. Rejects `ci_api_unreachable`. */
  readonly projectId?: (path: string) => Promise<string | undefined>;
  /** Present with a credential to start pipelines. */
  readonly starter?: PipelineStarter;
}

/** The verified path of a project id, where one of its jobs has been seen. */
type PathOf = (issuer: string, projectId: string) => string | undefined;

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
  const verifier = createVerifier({
    clock,
    issuers: issuers.map(({ name, url, provider, keys }, at) => ({
      name,
      url,
      provider,
      keys,
      audience: config.issuers[at]?.audience ?? config.issuer,
    })),
  });
  return { issuers, verifier };
}

function connect(config: IssuerConfig, clock: Clock, pathOf: PathOf): ConnectedIssuer {
  const provider = providers[config.type];
  const url = config.url ?? provider.defaultIssuerUrl;
  if (url === undefined) throw new WayleaveError("config_invalid", `issuers: ${config.name} needs a url.`);
  const fetch = trustingFetch(config.ca === undefined ? {} : { caPem: config.ca });
  const keys = createKeySource({
    issuerUrl: url,
    fetch,
    clock,
    ...(config.jwks === undefined ? {} : { jwks: config.jwks }),
  });
  const api: CiApi | undefined =
    config.api === undefined
      ? undefined
      : provider.api({
          baseUrl: config.api.url ?? provider.apiUrl(url),
          token: config.api.token,
          fetch,
          timeoutMs: apiTimeoutMs,
        });
  const baseUrl = config.api?.url ?? provider.apiUrl(url);
  return {
    name: config.name,
    url,
    provider,
    keys,
    ...(api?.projectId === undefined ? {} : { projectId: api.projectId }),
    ...(config.start === undefined
      ? {}
      : {
          starter: provider.starter({
            ...config.start,
            ...(config.api === undefined ? {} : { readToken: config.api.token }),
            baseUrl,
            fetch,
            timeoutMs: startTimeoutMs,
            now: clock.now,
          }),
        }),
    access: {
      renewable: provider.renewable,
      maxTokenLifeMs: provider.maxTokenLifeSeconds * 1000,
      ...(api === undefined ? {} : { api }),
    },
    hooks: config.webhooks.map((hook) => ({
      issuer: config.name,
      name: hook.name,
      ...(hook.events === undefined ? {} : { events: hook.events }),
      read(request, nowMs) {
        const secrets = {
          ...(hook.token === undefined ? {} : { token: hook.token }),
          ...(hook.signingToken === undefined ? {} : { signing: hook.signingToken }),
        };
        const found = provider.hook(request, secrets, nowMs);
        const status = hook.events === undefined ? undefined : provider.buildStatus(jsonOf(request.body));
        return status === undefined ? found : { ...found, status };
      },
      // A path in a hook is its sender's word. Only the path that this project's own tokens proved counts.
      covers: (id) => {
        const path = pathOf(config.name, id);
        if (hook.projects.includes(id) || path === undefined) return hook.projects.includes(id);
        return hook.projects.includes(path) || hook.groups.some((group) => path.startsWith(`${group}/`));
      },
    })),
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
