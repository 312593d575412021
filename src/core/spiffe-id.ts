/** A SPIFFE ID that names a workload: its path is not empty. */
export interface SpiffeId {
  /** The whole URI. IDs are equal exactly where this is. */
  readonly text: string;
  readonly trustDomain: string;
  /** Begins with `/`. */
  readonly path: string;
}

const trustDomainForm = /^[a-z0-9._-]{1,255}$/;
const segmentForm = /^(?!\.{1,2}$)[A-Za-z0-9._-]+$/;
const scheme = "spiffe://";
const maxBytes = 2048;

/** True for the name of a trust domain. @see SPIFFE-ID §2.1 */
function isTrustDomain(text: string): boolean {
  return trustDomainForm.test(text);
}

/** Undefined for everything that is no SPIFFE ID with a path, exactly as it must be written. @see SPIFFE-ID §2 */
export function parseSpiffeId(text: string): SpiffeId | undefined {
  if (text.length > maxBytes || !text.startsWith(scheme)) return undefined;
  const [trustDomain = "", ...segments] = text.slice(scheme.length).split("/");
  if (!isTrustDomain(trustDomain) || segments.length === 0) return undefined;
  if (!segments.every((segment) => segmentForm.test(segment))) return undefined;
  return { text, trustDomain, path: `/${segments.join("/")}` };
}

/** The ID of a trust domain itself: what a CA certificate and a bundle are named by. */
export function trustDomainId(trustDomain: string): string {
  return scheme + trustDomain;
}

/** The ID of a role that names no other. Role ids are path segments: the policy's loader sees to it. */
export function roleSpiffeId(trustDomain: string, role: string): string {
  return `${scheme}${trustDomain}/role/${role}`;
}

/** The ID of a gateway of the inventory. */
export function gatewaySpiffeId(trustDomain: string, gateway: string): string {
  return `${scheme}${trustDomain}/gateway/${gateway}`;
}

/** True where `id` is the prefix or lies below it: whole segments, so that `…/ci` does not cover `…/cicero`. */
export function isUnder(id: SpiffeId, prefix: string): boolean {
  const base = prefix.endsWith("/") ? prefix.slice(0, -1) : prefix;
  return base.length > scheme.length && (id.text === base || id.text.startsWith(`${base}/`));
}

/** First path segments that Wayleave gives out itself: a role that named one could pass for a gateway or another role. */
const reserved: ReadonlySet<string> = new Set(["ci", "role", "gateway"]);

/** Why a role may not name this ID, as the end of a sentence; undefined where it may. */
export function namedIdProblem(
  text: string,
  allowed: { readonly trustDomain: string; readonly prefixes: readonly string[] },
): string | undefined {
  const id = parseSpiffeId(text);
  if (id === undefined) return "is no SPIFFE ID with a path";
  if (id.trustDomain !== allowed.trustDomain) return `is of another trust domain than ${allowed.trustDomain}`;
  const [, first = ""] = id.path.split("/", 2);
  if (reserved.has(first)) return `begins with /${first}/, which Wayleave gives out itself`;
  if (allowed.prefixes.some((prefix) => isUnder(id, prefix))) return undefined;
  return "is under none of spiffe.prefixes";
}
