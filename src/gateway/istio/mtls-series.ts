import { type IdentityPair, mergePairs, readMetrics, rises } from "../metric-series.ts";

/**
 * Which identities talked in an Istio, over mutual TLS or not, from `istio_requests_total` and
 * `istio_tcp_connections_opened_total`. Only what the called side's proxy counted is believed (`reporter="destination"` or
 * `"waypoint"`): the caller's own word proves nothing. Never throws. `scrapedAt`: ms, for text without times.
 */
export function istioMtlsPairs(
  text: string,
  scrapedAt: number,
): { readonly pairs: readonly IdentityPair[]; readonly unread: number } {
  const { series, unread } = readMetrics(
    text,
    ["istio_requests_total", "istio_tcp_connections_opened_total"],
    scrapedAt,
  );
  const pairs = series.flatMap(({ labels, points }): IdentityPair[] => {
    const rise = rises(points);
    if (rise === undefined || !["destination", "waypoint"].includes(labels.reporter ?? "")) return [];
    const caller = principal(labels.source_principal);
    const mtls = labels.connection_security_policy === "mutual_tls" && caller !== undefined;
    return [
      {
        caller: mtls ? caller : undefined,
        service: principal(labels.destination_principal),
        workload: workloadOf(labels),
        mtls,
        ...rise,
      },
    ];
  });
  return { pairs: mergePairs(pairs), unread };
}

/** Istio writes `unknown` where it knows none. */
function principal(text: string | undefined): string | undefined {
  if (text === undefined || !/^(spiffe:\/\/)?[a-z0-9._-]+\/[A-Za-z0-9._/-]+$/.test(text)) return undefined;
  return text.startsWith("spiffe://") ? text : `spiffe://${text}`;
}

function workloadOf(labels: Readonly<Record<string, string>>): string | undefined {
  const { destination_workload_namespace: namespace, destination_workload: workload } = labels;
  return namespace === undefined || workload === undefined || workload === "unknown"
    ? undefined
    : `${namespace}/${workload}`;
}
