import { hash } from "node:crypto";
import { create, type DescMessage, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { type Any, AnySchema } from "@bufbuild/protobuf/wkt";
import { trustDomainId } from "../../core/spiffe-id.ts";
import { SecretSchema } from "../../proto/envoy/extensions/transport_sockets/tls/v3/secret_pb.ts";
import { SPIFFECertValidatorConfigSchema } from "../../proto/envoy/extensions/transport_sockets/tls/v3/tls_spiffe_validator_config_pb.ts";

/** One X.509-SVID with its key. */
export interface SecretSvid {
  readonly spiffeId: string;
  /** Leaf first, without the root. */
  readonly certificateChainPem: string;
  readonly privateKeyPem: string;
}

/** What one client may be told: who it is, and whom it may believe. */
export interface Secrets {
  /** The first one is `default`. */
  readonly svids: readonly SecretSvid[];
  readonly trustDomain: string;
  /** By trust domain, its own included: roots as PEM; empty where there is none. */
  readonly bundles: ReadonlyMap<string, string>;
}

export interface SecretOptions {
  /** The client's Envoy cannot tell trust domains apart (before 1.18, or told not to): it gets plain roots. */
  readonly plainRoots: boolean;
}

/** One secret as it goes out. */
export interface NamedSecret {
  readonly resource: Any;
  /** Tells this secret from every other, also from those of an earlier run. Made without the key. */
  readonly version: string;
}

export const secretTypeUrl = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";

/**
 * The secret of this name, as SPIRE's agent names them: `default` or a SPIFFE ID gives a certificate; `ROOTCA`, the ID of a
 * trust domain, or `ALL` give whom to believe, bound to their trust domains. Undefined for every other name, and for `ALL`
 * where roots are plain: merged, one trust domain's root would vouch for another's names.
 */
export function secretNamed(name: string, secrets: Secrets, { plainRoots }: SecretOptions): NamedSecret | undefined {
  const svid = name === "default" ? secrets.svids[0] : secrets.svids.find(({ spiffeId }) => spiffeId === name);
  if (svid !== undefined) return certificate(name, svid);
  const domains = trustDomainsNamed(name, secrets).filter(([, roots]) => roots !== "");
  const [first] = domains;
  if (first === undefined) return undefined;
  if (plainRoots && name === "ALL") return undefined;
  const value = plainRoots ? { trustedCa: inline(first[1]) } : spiffeContext(domains);
  const resource = pack(secretTypeUrl, SecretSchema, { name, type: { case: "validationContext", value } });
  return { resource, version: versionOf(resource.value) };
}

type Roots = readonly [trustDomain: string, rootsPem: string];

function trustDomainsNamed(name: string, { trustDomain, bundles }: Secrets): readonly Roots[] {
  if (name === "ALL") return [...bundles].toSorted(([a], [b]) => (a < b ? -1 : 1));
  const asked = name === "ROOTCA" ? trustDomain : [...bundles.keys()].find((domain) => trustDomainId(domain) === name);
  return asked === undefined ? [] : [[asked, bundles.get(asked) ?? ""]];
}

function certificate(name: string, { certificateChainPem, privateKeyPem }: SecretSvid): NamedSecret {
  const value = { certificateChain: inline(certificateChainPem), privateKey: inline(privateKeyPem) };
  const resource = pack(secretTypeUrl, SecretSchema, { name, type: { case: "tlsCertificate", value } });
  return { resource, version: versionOf(certificateChainPem) };
}

/** Envoy's SPIFFE validator: a certificate is believed only by the roots of the trust domain that its own ID names. */
function spiffeContext(domains: readonly Roots[]) {
  const trustDomains = domains.map(([name, roots]) => ({ name, trustBundle: inline(roots) }));
  const typedConfig = pack(spiffeValidatorTypeUrl, SPIFFECertValidatorConfigSchema, { trustDomains });
  return { customValidatorConfig: { name: "envoy.tls.cert_validator.spiffe", typedConfig } };
}

const spiffeValidatorTypeUrl =
  "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig";

function versionOf(content: string | Uint8Array): string {
  return hash("sha256", content).slice(0, 32);
}

function pack<D extends DescMessage>(typeUrl: string, schema: D, init: MessageInitShape<D>): Any {
  return create(AnySchema, { typeUrl, value: toBinary(schema, create(schema, init)) });
}

function inline(text: string) {
  return { specifier: { case: "inlineBytes" as const, value: new TextEncoder().encode(text) } };
}
