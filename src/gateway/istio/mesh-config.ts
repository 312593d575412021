import { WayleaveError } from "../../core/errors.ts";
import type { PolicyModel } from "../../policy/model.ts";
import { printYaml } from "../resources.ts";
import { type CheckedSettings, checkSettings, type FrontedTarget, type IstioGatewaySettings } from "./settings.ts";

/** Where the broker answers Envoy's HTTP questions; the target and the request's own path follow. */
const checkPath = "/authz/envoy";

export const logProvider = ({ provider }: FrontedTarget): string => `${provider}-log`;

/**
 * What belongs into MeshConfig: who is asked, and what is logged. It holds the gateway's secret: write it with mode 0600.
 * Throws `render_refused` for a secret that a header cannot carry; the message does not hold it.
 */
export function renderMeshConfig(input: {
  readonly gateway: IstioGatewaySettings;
  readonly model: PolicyModel;
  readonly secret: string;
}): string {
  const settings = checkSettings(input.gateway, input.model);
  if (!/^[A-Za-z0-9._~+/=-]{16,256}$/.test(input.secret)) {
    throw new WayleaveError(
      "render_refused",
      "A gateway secret is 16 to 256 letters, digits and ._~+/=-; make a new one.",
    );
  }
  return printYaml(
    {
      pathNormalization: { normalization: "MERGE_SLASHES" },
      extensionProviders: settings.targets.flatMap((fronted) => [
        { name: fronted.provider, envoyExtAuthzHttp: asks(settings, fronted, input.secret) },
        { name: logProvider(fronted), envoyFileAccessLog: logs(settings, fronted) },
      ]),
    },
    `Wayleave for gateway ${settings.name}: part of MeshConfig. Rendered; do not edit.
SECRET: the gateway's secret is in it, and will be in Istio's ConfigMap and in each sidecar's configuration.`,
  );
}

function asks(settings: CheckedSettings, fronted: FrontedTarget, secret: string): object {
  return {
    service: settings.broker.host,
    port: settings.broker.port,
    pathPrefix: `${checkPath}/${fronted.model.name}`,
    timeout: "1s",
    failOpen: fronted.model.mode === "observe",
    statusOnError: "503",
    includeAdditionalHeadersInCheck: {
      "x-wayleave-gateway": settings.name,
      "x-wayleave-gateway-secret": secret,
      "x-wayleave-target": fronted.model.name,
    },
    // Whatever it reads, or has to refuse twice or misspelt; Istio takes no single star.
    includeRequestHeadersInCheck: [
      "authorization",
      "connection",
      "content-*",
      "dpop",
      "te",
      "traceparent",
      "transfer-encoding",
      "txn*",
      "upgrade",
      "x-*",
      "x.*",
      "x_*",
    ],
    headersToUpstreamOnAllow: [
      "traceparent",
      "txn-token",
      "x-wayleave-decision",
      "x-wayleave-job",
      "x-wayleave-record",
      "x-wayleave-role",
      "x-wayleave-session",
      "x-wayleave-subject",
    ],
    headersToDownstreamOnDeny: [
      "content-type",
      "retry-after",
      "www-authenticate",
      "x-wayleave-decision",
      "x-wayleave-reason",
      "x-wayleave-record",
    ],
  };
}

/**
 * One JSON object a line, with the fields that an Envoy's log has; queries can hold secrets, so the path is without. An HTTP
 * question leaves no metadata: what it decided is in the headers.
 */
function logs(settings: CheckedSettings, fronted: FrontedTarget): object {
  return {
    path: "/dev/stdout",
    logFormat: {
      labels: {
        gateway: settings.name,
        time: "%START_TIME(%s.%3f)%",
        method: "%REQ(:METHOD)%",
        host: "%REQ(:AUTHORITY)%",
        path: "%REQ_WITHOUT_QUERY(:PATH)%",
        status: "%RESPONSE_CODE%",
        details: "%RESPONSE_CODE_DETAILS%",
        peer: "%DOWNSTREAM_PEER_URI_SAN%",
        milliseconds: "%DURATION%",
        traceparent: "%REQ(TRACEPARENT)%",
        route: fronted.model.name,
        jwt: "%DYNAMIC_METADATA(envoy.filters.http.jwt_authn)%",
        decision: "%REQ(X-WAYLEAVE-DECISION)%",
        record: "%REQ(X-WAYLEAVE-RECORD)%",
        session: "%REQ(X-WAYLEAVE-SESSION)%",
        role: "%REQ(X-WAYLEAVE-ROLE)%",
        refusal: "%RESP(X-WAYLEAVE-REASON)%",
        refusal_record: "%RESP(X-WAYLEAVE-RECORD)%",
      },
    },
  };
}
