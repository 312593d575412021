import { X509Certificate } from "node:crypto";
import type { PeerCertificate } from "node:tls";
import { Agent, fetch as undiciFetch } from "undici";
import type { FederationConfig } from "../config/config.ts";
import { WayleaveError } from "../core/errors.ts";
import { parseSpiffeId } from "../core/spiffe-id.ts";
import { toPem } from "../credential/ca-authority.ts";
import type { TrustBundle } from "../credential/trust-bundle.ts";
import { trustingFetch } from "../identity/trusting-fetch.ts";

/** Gets a bundle from its endpoint, which is authenticated as its profile says. */
export type BundleFetch = (url: string, known: TrustBundle | undefined) => Promise<Response>;

const timeoutMs = 10_000;

/** The fetch of one federated trust domain. Throws `config_invalid` where the profile lacks what it needs. */
export function bundleFetch(domain: FederationConfig): BundleFetch {
  return domain.profile === "https_spiffe" ? spiffeFetch(domain) : webFetch();
}

/** @see SPIFFE Federation §5.2.1 */
function webFetch(): BundleFetch {
  const fetchIt = trustingFetch({});
  return (url) => fetchIt(url, requestInit());
}

/** The endpoint is whoever has the SVID that is configured, by the bundle known so far. @see SPIFFE Federation §5.2.2 */
function spiffeFetch({ trustDomain, endpointSpiffeId = "", bundle, bundleUrl = "" }: FederationConfig): BundleFetch {
  const problem =
    parseSpiffeId(endpointSpiffeId)?.trustDomain !== trustDomain
      ? "endpoint_spiffe_id must be a SPIFFE ID of that trust domain"
      : bundle === undefined
        ? "bundle_file must hold its bundle, by which the endpoint is known"
        : bundleUrl.startsWith("https://")
          ? undefined
          : "bundle_url must begin with https://";
  if (problem !== undefined)
    throw new WayleaveError(
      "config_invalid",
      `spiffe.federates_with, ${trustDomain}, profile https_spiffe: ${problem}.`,
    );
  return async (url, known) => {
    const roots = known?.roots ?? [];
    // With an empty list TLS would fall back to the public CAs.
    if (roots.length === 0) throw new TypeError("the bundle known so far has no root");
    const agent = new Agent({
      connect: {
        timeout: timeoutMs,
        ca: toPem(roots),
        checkServerIdentity: (_host: string, peer: PeerCertificate) => identityProblem(peer, endpointSpiffeId),
      },
    });
    try {
      // The package's fetch, because Node's own takes only the dispatcher it was built with.
      const fetchIt = undiciFetch as unknown as (input: string, init: unknown) => Promise<Response>;
      const response = await fetchIt(url, { ...requestInit(), dispatcher: agent });
      // Read before the connection goes; it is bounded there.
      return new Response(await boundedBody(response), { status: response.status });
    } finally {
      await agent.destroy();
    }
  };
}

const maxBytes = 1024 * 1024 + 1;

async function boundedBody(response: Response): Promise<Uint8Array<ArrayBuffer>> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of response.body ?? []) {
    chunks.push(chunk);
    size += chunk.length;
    if (size >= maxBytes) break;
  }
  return new Uint8Array(Buffer.concat(chunks));
}

/** The chain was verified; the host's name means nothing here. */
function identityProblem(peer: PeerCertificate, expected: string): Error | undefined {
  const names = new X509Certificate(peer.raw).subjectAltName ?? "";
  // A quoted name holds characters that no name we look for has, and could be made to look like several.
  const uris = names.includes('"') ? [] : names.split(", ").filter((name) => name.startsWith("URI:"));
  return uris.length === 1 && uris[0] === `URI:${expected}`
    ? undefined
    : new Error("the endpoint's certificate is not the one of endpoint_spiffe_id");
}

function requestInit() {
  return {
    redirect: "error",
    headers: { accept: "application/json" },
    signal: AbortSignal.timeout(timeoutMs),
  } as const satisfies RequestInit;
}
