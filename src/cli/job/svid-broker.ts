import { WayleaveError } from "../../core/errors.ts";
import { parseSpiffeId } from "../../core/spiffe-id.ts";
import type { Broker, BundleDocument, Caller, X509Answer } from "./broker.ts";
import type { GrantedX509, SvidBroker } from "./svid-source.ts";

// What the broker answers at /v1/svid/…, as far as it is used here.
interface Identities {
  readonly identities: readonly { readonly spiffe_id: string; readonly role: string }[];
  readonly withheld: readonly { readonly role: string; readonly because: string }[];
}
interface Jwt {
  readonly spiffe_id: string;
  readonly svid: string;
  readonly expires_at: string;
}

/** The broker's SVIDs for one session. */
export function sessionSvids(broker: Broker, caller: Caller): SvidBroker {
  return {
    async ground() {
      const [{ identities, withheld }, { trust_domains }] = await Promise.all([
        broker.svid<Identities>(caller, "identities"),
        broker.bundles(),
      ]);
      const bundles = Object.entries(trust_domains);
      return {
        identities: identities.map(({ spiffe_id, role }) => ({ spiffeId: spiffe_id, role })),
        withheld,
        x509Bundles: new Map(bundles.map(([domain, bundle]) => [domain, rootsOf(bundle)])),
        jwtBundles: new Map(bundles.map(([domain, bundle]) => [domain, jwtBundle(bundle)])),
      };
    },
    async x509(csr, role) {
      const body = { csr: Buffer.from(csr).toString("base64"), role };
      return grantedX509(await broker.svid<X509Answer>(caller, "x509", body));
    },
    async jwt(audience, spiffeId) {
      const svid = await broker.svid<Jwt>(caller, "jwt", { audience, spiffe_id: spiffeId });
      return { spiffeId: svid.spiffe_id, token: svid.svid, expiresAt: Date.parse(svid.expires_at) };
    },
  };
}

/** Root certificates of a bundle: each key for X.509-SVIDs has its one certificate with it. */
function rootsOf({ keys }: BundleDocument): readonly Uint8Array[] {
  return ders(keys.flatMap(({ use, x5c }) => (use === "x509-svid" && x5c?.[0] !== undefined ? [x5c[0]] : [])));
}

/** What the Workload API gives as a JWT bundle: the keys of JWT-SVIDs and no others. */
function jwtBundle({ keys, ...rest }: BundleDocument): string {
  return JSON.stringify({ ...rest, keys: keys.filter(({ use }) => use === "jwt-svid") });
}

/** The answer's bytes. It comes from the broker itself, so only its encoding is undone. */
export function grantedX509(answer: X509Answer): GrantedX509 {
  const id = parseSpiffeId(answer.spiffe_id);
  if (id === undefined) throw new WayleaveError("internal", "The broker granted an SVID without a SPIFFE ID.");
  const federated = Object.entries(answer.federated_bundles).map(([domain, roots]) => [domain, ders(roots)] as const);
  return {
    spiffeId: id.text,
    certificates: ders(answer.certificates),
    bundles: new Map([[id.trustDomain, ders(answer.bundle)], ...federated]),
    expiresAt: Date.parse(answer.expires_at),
  };
}

function ders(texts: readonly string[]): readonly Uint8Array[] {
  return texts.map((text) => Buffer.from(text, "base64"));
}
