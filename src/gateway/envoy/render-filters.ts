import { headerRegex } from "./header-regex.ts";
import { refusalsFilterType, refusalsName } from "./refusals.ts";
import { brokerCluster, grpcFollowed, grpcService } from "./render-clusters.ts";
import { otherPolicy } from "./render-rbac.ts";
import type { CheckedSettings } from "./settings.ts";
import { claimHeaders, tokenMetadata } from "./token-metadata.ts";
import { extension } from "./type-url.ts";

/** Filters by name: routes say by it what they want of each. */
export const filterNames = {
  headers: "wayleave.headers",
  jwt: "envoy.filters.http.jwt_authn",
  denies: "wayleave.denies",
  roles: "wayleave.roles",
  ask: "envoy.filters.http.ext_authz",
  /** Asks too, and lets through when nobody answers. */
  askObserved: "wayleave.observed",
} as const;

/** What a route can require of the token. */
export const requirements = { required: "required", observed: "observed" } as const;

/** Where HTTP questions go; the target and the request's own path follow. */
const checkPath = "/authz/envoy";
const checkTimeout = "0.2s";

/**
 * The chain, in order. A route that says nothing about it gets the strictest: no role rule allows anything, and whatever
 * passed them would still be asked about.
 */
export function renderFilters(settings: CheckedSettings, options: { readonly observes: boolean }): readonly object[] {
  const native = [
    { name: filterNames.jwt, typed_config: jwtAuthn(settings, options.observes) },
    { name: filterNames.denies, typed_config: { "@type": rbac, rules: {} } },
    { name: filterNames.roles, typed_config: { "@type": rbac, rules: {} } },
    refusals(settings),
  ];
  return [
    { name: filterNames.headers, typed_config: headers(settings) },
    ...(settings.native ? native : []),
    { name: filterNames.ask, typed_config: ask(settings, { keyed: settings.native, failOpen: false }) },
    ...(options.observes
      ? [
          {
            name: filterNames.askObserved,
            disabled: true,
            typed_config: ask(settings, { keyed: false, failOpen: true }),
          },
        ]
      : []),
    { name: "envoy.filters.http.router", typed_config: { "@type": extension("filters.http.router.v3.Router") } },
  ];
}

const rbac = extension("filters.http.rbac.v3.RBAC");

/** Of what shadow rules leave in the metadata of a request. */
export const shadowPrefixes = { denies: "denies_", roles: "roles_" } as const;

function headers({ inner }: CheckedSettings): object {
  const regex = headerRegex({ inner });
  return {
    "@type": extension("filters.http.header_mutation.v3.HeaderMutation"),
    mutations: { request_mutations: [{ remove_on_match: { key_matcher: { safe_regex: { regex } } } }] },
  };
}

function jwtAuthn(settings: CheckedSettings, observes: boolean): object {
  const own = provider(settings);
  return {
    "@type": extension("filters.http.jwt_authn.v3.JwtAuthentication"),
    // An observed route may carry a credential of the service's own: only what proved to be Wayleave's is taken away.
    providers: { wayleave: own, ...(observes ? { wayleave_observed: { ...own, forward: settings.inner } } : {}) },
    requirement_map: {
      [requirements.required]: { provider_name: "wayleave" },
      ...(observes
        ? {
            [requirements.observed]: {
              requires_any: {
                requirements: [{ provider_name: "wayleave_observed" }, { allow_missing_or_failed: {} }],
              },
            },
          }
        : {}),
    },
  };
}

/** Longest lives of what Wayleave signs (design §5, draft-ietf-oauth-transaction-tokens). */
const maxLifetime = { accessToken: "900s", assertion: "30s" };

/**
 * How tokens are verified. Cached ones are not verified again, since an ES256 signature costs more than everything else
 * together. What could change meanwhile is looked at for each request: the time by this filter, and key, session and token
 * by the refusals, which know the live keys, so that a key that is gone takes its cached tokens with it.
 */
function provider(settings: CheckedSettings): object {
  const { inner, issuer, trustDomain, targets, keyCacheMs, broker } = settings;
  const { header, payload } = tokenMetadata;
  const claims = { [claimHeaders.subject]: "sub", [claimHeaders.session]: "sid" };
  const ofJob = { [claimHeaders.job]: "job.job_id", [claimHeaders.token]: "jti" };
  return {
    issuer,
    audiences: inner ? [trustDomain] : targets.map(({ name }) => name),
    remote_jwks: {
      http_uri: {
        uri: `${broker.base}${inner ? "/assertion/jwks" : "/oauth2/jwks"}`,
        cluster: brokerCluster,
        timeout: "2s",
      },
      cache_duration: `${keyCacheMs / 1000}s`,
      async_fetch: { failed_refetch_duration: "1s" },
    },
    from_headers: [inner ? { name: "Txn-Token" } : { name: "Authorization", value_prefix: "Bearer " }],
    // The question may need it; the route takes it away.
    forward: true,
    payload_in_metadata: payload,
    header_in_metadata: header,
    claim_to_headers: Object.entries({ ...claims, ...(inner ? {} : ofJob) }).map(([header_name, claim_name]) => ({
      header_name,
      claim_name,
    })),
    clock_skew_seconds: 1,
    require_expiration: true,
    max_lifetime: inner ? maxLifetime.assertion : maxLifetime.accessToken,
    jwt_cache_config: { jwt_cache_size: 1000, jwt_max_token_size: 4096 },
  };
}

/** Ended sessions, revoked tokens and live keys, as the broker pushes them; until it does, everything is refused. */
function refusals(settings: CheckedSettings): object {
  return {
    name: refusalsName(settings.policyVersion),
    config_discovery: {
      config_source: { resource_api_version: "V3", initial_fetch_timeout: "5s", ...refusalsSource(settings) },
      type_urls: [refusalsFilterType],
      default_config: { "@type": refusalsFilterType, rules: {} },
    },
  };
}

export const refusalsFile = "wayleave-refusals.json";

function refusalsSource(settings: CheckedSettings): object {
  if (settings.revocation === "file") return { path_config_source: { path: `${settings.directory}/${refusalsFile}` } };
  if (settings.revocation === "rest") {
    return {
      api_config_source: {
        api_type: "REST",
        transport_api_version: "V3",
        cluster_names: [brokerCluster],
        refresh_delay: "1s",
        request_timeout: "2s",
      },
    };
  }
  return {
    api_config_source: {
      api_type: "DELTA_GRPC",
      transport_api_version: "V3",
      grpc_services: [grpcFollowed()],
    },
  };
}

function ask(
  settings: CheckedSettings,
  { keyed, failOpen }: { readonly keyed: boolean; readonly failOpen: boolean },
): object {
  return {
    "@type": extension("filters.http.ext_authz.v3.ExtAuthz"),
    transport_api_version: "V3",
    ...(settings.protocol === "grpc"
      ? { grpc_service: { ...grpcService(), timeout: checkTimeout } }
      : { http_service: httpService(settings, "") }),
    failure_mode_allow: failOpen,
    status_on_error: { code: 503 },
    validate_mutations: true,
    ...(settings.protocol === "grpc"
      ? { encode_raw_headers: true, include_peer_certificate: settings.inner }
      : { allowed_headers: { patterns: [{ safe_regex: { regex: ".*" } }] } }),
    ...(keyed ? { filter_enabled_metadata: otherPolicy(settings) } : {}),
  };
}

const toUpstream = [
  ...["authorization", "traceparent", "txn-token", "x-wayleave-decision", "x-wayleave-job", "x-wayleave-record"],
  ...["x-wayleave-role", "x-wayleave-session", "x-wayleave-subject"],
];
const toClient = [
  ...["cache-control", "content-type", "retry-after", "www-authenticate"],
  ...["x-wayleave-decision", "x-wayleave-reason", "x-wayleave-record"],
];
/** For the access log. */
const toMetadata = [
  ...["x-wayleave-decision", "x-wayleave-job", "x-wayleave-reason", "x-wayleave-record"],
  ...["x-wayleave-role", "x-wayleave-session", "x-wayleave-subject"],
];
const exactly = (names: readonly string[]) => ({ patterns: names.map((exact) => ({ exact })) });

/** The question over HTTP. Without a target, which no route leaves it at, it is refused. */
function httpService({ broker }: CheckedSettings, target: string): object {
  return {
    server_uri: { uri: broker.base, cluster: brokerCluster, timeout: checkTimeout },
    path_prefix: `${checkPath}/${target}`,
    authorization_response: {
      allowed_upstream_headers: exactly(toUpstream),
      allowed_client_headers: exactly(toClient),
      dynamic_metadata_from_headers: exactly(toMetadata),
    },
  };
}

/** Questions say which target they are about; no client can. */
export function askAbout(settings: CheckedSettings, target: string): object {
  return {
    "@type": extension("filters.http.ext_authz.v3.ExtAuthzPerRoute"),
    check_settings:
      settings.protocol === "grpc"
        ? { context_extensions: { target } }
        : { http_service: httpService(settings, target) },
  };
}
