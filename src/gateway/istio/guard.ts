import { pathRegex } from "../path-regex.ts";
import type { Resource } from "../resources.ts";
import { headerSpellings, identityHeaders, overrideHeaders } from "../stripped-headers.ts";
import type { IstioWorkload } from "./settings.ts";

const namespaceOfGuard = "envoy.filters.http.wayleave";
const guardMark = "v1";

/** The condition that an ALLOW rule has besides its own: a request that the guard has not seen is refused. */
export const guardCondition = { key: `experimental.${namespaceOfGuard}[guard]`, values: [guardMark] };

/**
 * What AuthorizationPolicy cannot say: identity headers of the client are removed and, with `strict`, a request that could
 * be read in two ways is refused. It stands before everything else in the sidecar and leaves a mark that the ALLOW rules
 * ask for, so that a sidecar without it serves nothing.
 */
export function guard(name: string, namespace: string, workload: IstioWorkload, strict: boolean): Resource {
  const filters = [strip, ...(strict ? [unambiguous] : []), mark];
  return {
    apiVersion: "networking.istio.io/v1alpha3",
    kind: "EnvoyFilter",
    metadata: { name, namespace },
    spec: {
      workloadSelector: { labels: workload.labels },
      // Each goes to the front, so the last one written is the first one that runs.
      configPatches: filters.toReversed().map((value) => ({
        applyTo: "HTTP_FILTER",
        match: {
          context: "SIDECAR_INBOUND",
          listener: {
            portNumber: workload.port,
            filterChain: { filter: { name: "envoy.filters.network.http_connection_manager" } },
          },
        },
        patch: { operation: "INSERT_FIRST", value },
      })),
    },
  };
}

const typeUrl = (name: string) => `type.googleapis.com/envoy.extensions.filters.http.${name}`;

const strip = {
  name: "wayleave.strip",
  typed_config: {
    "@type": typeUrl("header_mutation.v3.HeaderMutation"),
    mutations: {
      request_mutations: [...identityHeaders, ...overrideHeaders]
        .flatMap((header) => headerSpellings(header))
        .toSorted()
        .map((remove) => ({ remove })),
    },
  },
};

const mark = {
  name: "wayleave.mark",
  typed_config: {
    "@type": typeUrl("set_metadata.v3.Config"),
    metadata: [{ metadata_namespace: namespaceOfGuard, allow_overwrite: true, value: { guard: guardMark } }],
  },
};

/** Upper-case tokens, but for CONNECT and TRACE, which RE2 has to spell out. */
const methodRegex = "^[A-Z]+(?:-[A-Z]+)*$";

const header = (name: string, match: object) => ({ header: { name, ...match } });

const unambiguous = {
  name: "wayleave.unambiguous",
  typed_config: {
    "@type": typeUrl("rbac.v3.RBAC"),
    rules: {
      action: "ALLOW",
      policies: {
        unambiguous: {
          permissions: [
            {
              and_rules: {
                rules: [
                  { url_path: { path: { safe_regex: { regex: pathRegex } } } },
                  header(":method", { string_match: { safe_regex: { regex: methodRegex } } }),
                  { not_rule: header(":method", { string_match: { exact: "CONNECT" } }) },
                  { not_rule: header(":method", { string_match: { exact: "TRACE" } }) },
                  { not_rule: header("upgrade", { present_match: true }) },
                ],
              },
            },
          ],
          principals: [{ any: true }],
        },
      },
    },
  },
};
