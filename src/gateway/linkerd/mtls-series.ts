import { type IdentityPair, mergePairs, readMetrics, rises } from "../metric-series.ts";

/**
 * Which identities talked in a Linkerd, over mutual TLS or not, from `request_total` and `tcp_open_total` of inbound proxies.
 * The called side is known by the labels that Prometheus adds (`namespace`, `workload`, `serviceaccount`); identities are
 * given as SPIFFE IDs. What the calling side counted (`direction="outbound"`) proves nothing. Never throws. `scrapedAt`: ms.
 */
export function linkerdMtlsPairs(
  text: string,
  scrapedAt: number,
): { readonly pairs: readonly IdentityPair[]; readonly unread: number } {
  const { series, unread } = readMetrics(text, ["request_total", "tcp_open_total"], scrapedAt);
  const pairs = series.flatMap(({ labels, points }): IdentityPair[] => {
    const rise = rises(points);
    if (rise === undefined || labels.direction !== "inbound") return [];
    const identity = spiffeId(labels.client_id);
    const mtls = labels.tls === "true" && identity !== undefined;
    return [
      {
        caller: mtls ? identity?.id : undefined,
        service: calledService(labels, identity?.trustDomain),
        workload: workloadOf(labels),
        mtls,
        ...rise,
      },
    ];
  });
  return { pairs: mergePairs(pairs), unread };
}

/** `sa.ns.serviceaccount.identity.linkerd.<trust domain>`, or a SPIFFE ID already. */
function spiffeId(text: string | undefined): { readonly id: string; readonly trustDomain: string } | undefined {
  const spiffe = /^spiffe:\/\/([a-z0-9._-]+)\/[A-Za-z0-9._/-]+$/.exec(text ?? "");
  if (spiffe !== null) return { id: spiffe[0], trustDomain: spiffe[1] ?? "" };
  const match = /^([a-z0-9.-]+?)\.([a-z0-9-]+)\.serviceaccount\.identity\.[a-z0-9-]+\.([a-z0-9.-]+)$/.exec(text ?? "");
  if (match === null) return undefined;
  const [, account = "", namespace = "", trustDomain = ""] = match;
  return { id: `spiffe://${trustDomain}/ns/${namespace}/sa/${account}`, trustDomain };
}

/** The mesh has one trust domain, so the caller's is the service's. */
function calledService(labels: Readonly<Record<string, string>>, trustDomain: string | undefined): string | undefined {
  const account = labels.serviceaccount ?? labels.service_account;
  if (account === undefined || labels.namespace === undefined || trustDomain === undefined) return undefined;
  return `spiffe://${trustDomain}/ns/${labels.namespace}/sa/${account}`;
}

function workloadOf(labels: Readonly<Record<string, string>>): string | undefined {
  const workload = labels.workload ?? labels.deployment ?? labels.statefulset ?? labels.daemonset;
  return labels.namespace === undefined || workload === undefined ? undefined : `${labels.namespace}/${workload}`;
}
