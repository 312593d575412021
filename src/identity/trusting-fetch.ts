import { X509Certificate } from "node:crypto";
import { getCACertificates } from "node:tls";
import { Agent, fetch as undiciFetch } from "undici";
import { WayleaveError } from "../core/errors.ts";

const connectTimeoutMs = 5_000;

/**
 * A `fetch` that trusts the certificates of `caPem` beside the default roots (the system's or Node's, and
 * NODE_EXTRA_CA_CERTS). Redirects and timeouts are the caller's to set. Throws `config_invalid` for a PEM that holds no
 * certificate.
 */
export function trustingFetch(options: { readonly caPem?: string }): typeof fetch {
  const connect = { timeout: connectTimeoutMs };
  const dispatcher = new Agent({
    connect:
      options.caPem === undefined
        ? connect
        : { ...connect, ca: [...getCACertificates("default"), ...certificatesIn(options.caPem)] },
  });
  // The package's fetch, because Node's own takes only the dispatcher it was built with. Their types differ in name only.
  const fetchIt = undiciFetch as unknown as (input: unknown, init: unknown) => Promise<Response>;
  return (input, init) => fetchIt(input, { ...init, dispatcher });
}

function certificatesIn(pem: string): readonly string[] {
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  try {
    for (const block of blocks) new X509Certificate(block);
  } catch (cause) {
    throw new WayleaveError("config_invalid", "A certificate in ca_file is damaged; export it again as PEM.", {
      cause,
    });
  }
  if (blocks.length === 0) {
    throw new WayleaveError("config_invalid", "ca_file holds no certificate; it takes one or more in PEM form.");
  }
  return blocks;
}
