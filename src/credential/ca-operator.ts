import { createPrivateKey, type KeyObject, X509Certificate } from "node:crypto";
import type { Clock } from "../core/clock.ts";
import { WayleaveError } from "../core/errors.ts";
import { type CertificateAuthority, validityOf } from "./ca-authority.ts";
import type { CaFacts } from "./ca-protocol.ts";
import type { CaSigner } from "./ca-signer.ts";
import { judgePublicKey } from "./svid-key.ts";

export interface OperatorCaOptions {
  readonly trustDomain: string;
  /** PEM texts: the intermediate, then its chain up to the root; and the intermediate's key. */
  readonly cert: string;
  readonly key: string;
  readonly signer: CaSigner;
  readonly clock: Pick<Clock, "now">;
}

interface ChainCa {
  readonly certificate: X509Certificate;
  readonly facts: CaFacts;
  readonly notBefore: number;
  readonly notAfter: number;
  readonly place: string;
}

const maxChain = 8;
/** An operator hears of it this long before the chain ends. */
const warnMs = 14 * 86_400_000;

/**
 * The operator's own intermediate as this trust domain's CA. Everything that would only fail at somebody else's verifier
 * is checked here: order and signatures up to a self-signed root, CA bits, path lengths, key usages, algorithms, times, the
 * trust domain its URI names say, and that the key is its own. Not checked: name constraints and revocation. Throws
 * `config_invalid`.
 *
 * @see RFC 5280 §6.1, X509-SVID §4
 */
export async function openOperatorCa(options: OperatorCaOptions): Promise<CertificateAuthority> {
  const chain = await readChain(options);
  checkLinks(chain);
  for (const [below, ca] of chain.entries()) checkOne(ca, below, options);
  const [issuer] = chain;
  const root = chain.at(-1);
  const { keyId } = issuer?.facts ?? {};
  if (issuer === undefined || root === undefined || keyId === undefined)
    throw invalid("the intermediate has no subject key identifier");
  const privateKey = readKey(options.key, issuer.certificate);
  const notBefore = Math.max(...chain.map((ca) => ca.notBefore));
  const notAfter = Math.min(...chain.map((ca) => ca.notAfter));
  return {
    signing() {
      const now = options.clock.now();
      if (now < notBefore || now >= notAfter) {
        throw new WayleaveError(
          "key_unavailable",
          `spiffe.ca is not valid now (${new Date(notBefore).toISOString()} to ${new Date(notAfter).toISOString()}); renew it, or check the clock.`,
        );
      }
      return {
        issuer: { certificate: der(issuer), privateKey, keyId },
        chain: chain.slice(0, -1).map(der),
        notBefore,
        notAfter,
      };
    },
    roots: () => [der(root)],
    sweep: async () => undefined,
    onChange: () => () => undefined,
    warnings: () =>
      notAfter - options.clock.now() > warnMs
        ? []
        : [`spiffe.ca ends ${new Date(notAfter).toISOString()}; put a new one in place and restart`],
  };
}

const der = ({ certificate }: ChainCa): Uint8Array => new Uint8Array(certificate.raw);

async function readChain({ cert, signer }: OperatorCaOptions): Promise<readonly ChainCa[]> {
  const blocks = cert.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  if (blocks.length > maxChain) throw invalid(`cert_file holds ${blocks.length} certificates; ${maxChain} is the most`);
  const chain = await Promise.all(
    blocks.map((block, at) => readOne(block, `certificate ${at + 1} of cert_file`, signer)),
  );
  if (chain.length < 2)
    throw invalid("cert_file must hold the intermediate and then its chain up to the self-signed root, at least two");
  return chain;
}

async function readOne(pem: string, place: string, signer: CaSigner): Promise<ChainCa> {
  let certificate: X509Certificate;
  try {
    certificate = new X509Certificate(pem);
  } catch (cause) {
    throw invalid(`${place} is damaged`, cause);
  }
  const facts = await signer.ask("read", { certificate: new Uint8Array(certificate.raw) });
  if ("problem" in facts) throw invalid(`${place} ${facts.problem}`);
  const { notBefore, notAfter } = validityOf(new Uint8Array(certificate.raw));
  return { certificate, facts, notBefore, notAfter, place };
}

/** Each is signed by the next one, and the last one by itself. */
function checkLinks(chain: readonly ChainCa[]): void {
  for (const [at, { certificate, place }] of chain.entries()) {
    const above = chain[at + 1];
    const issuer = above ?? chain[at];
    const linked = issuer !== undefined && signedBy(certificate, issuer.certificate);
    if (!linked && above === undefined)
      throw invalid(`${place}, the last, is not a self-signed root; add its chain up to one`);
    if (!linked)
      throw invalid(`${place} was not signed by the one after it; order them from the intermediate up to the root`);
    if (above !== undefined && signedBy(certificate, certificate))
      throw invalid(`${place} is self-signed and not the last; a root comes last, and never signs SVIDs itself`);
  }
}

function signedBy(certificate: X509Certificate, issuer: X509Certificate): boolean {
  return certificate.checkIssued(issuer) && certificate.verify(issuer.publicKey);
}

function checkOne({ facts, place, notBefore, notAfter }: ChainCa, below: number, options: OperatorCaOptions): void {
  if (!facts.ca) throw invalid(`${place} is no CA (basicConstraints)`);
  if (!facts.signsCertificates) throw invalid(`${place} may not sign certificates (keyUsage lacks keyCertSign)`);
  // Path length counts the CAs below, and `below` of them stand in the chain.
  if (facts.pathLength !== undefined && facts.pathLength < below)
    throw invalid(`${place} allows ${facts.pathLength} CAs below itself, and the chain has ${below}`);
  if (!facts.forTls) throw invalid(`${place} is limited to other uses than both ends of TLS (extendedKeyUsage)`);
  const key = judgePublicKey(facts.publicKey);
  if (!key.ok) throw invalid(`${place} ${key.problem}`);
  if (!["SHA-256", "SHA-384", "SHA-512"].includes(facts.hash)) throw invalid(`${place} is signed with ${facts.hash}`);
  const now = options.clock.now();
  if (now < notBefore) throw invalid(`${place} is not valid before ${new Date(notBefore).toISOString()}`);
  if (now >= notAfter) throw invalid(`${place} expired at ${new Date(notAfter).toISOString()}`);
  const foreign = facts.uris.find((uri) => /^spiffe:/i.test(uri) && uri !== `spiffe://${options.trustDomain}`);
  if (foreign !== undefined)
    throw invalid(`${place} is of ${foreign.slice(0, 100)}, and trust_domain is ${options.trustDomain}`);
}

function readKey(pem: string, certificate: X509Certificate): Uint8Array {
  let key: KeyObject;
  try {
    key = createPrivateKey(pem);
  } catch (cause) {
    throw invalid("key_file holds no unencrypted private key in PEM form", cause);
  }
  if (!certificate.checkPrivateKey(key)) throw invalid("the key in key_file is not the intermediate's");
  return new Uint8Array(key.export({ format: "der", type: "pkcs8" }));
}

function invalid(problem: string, cause?: unknown): WayleaveError {
  return new WayleaveError("config_invalid", `spiffe.ca: ${problem}.`, { cause });
}
