import { isIP } from "node:net";
import { type ConnectionOptions, connect, type PeerCertificate, type TLSSocket } from "node:tls";
import type { buildConnector } from "undici";
import { WayleaveError } from "../../core/errors.ts";
import { parseSpiffeId } from "../../core/spiffe-id.ts";
import { pem } from "../pem.ts";
import type { SvidSource } from "./svid-source.ts";

/** What a service of the mesh is verified with, and what it is shown. */
export interface ServiceTrust {
  /** Roots of the service's own trust domain, and of no other: PEM. Empty where nothing is known of it. */
  readonly roots: string;
  /** The job's certificate chain and key, PEM: the mesh asks for them. */
  readonly cert?: string;
  readonly key?: string;
}

/** The service as the policy names it. */
interface Named {
  /** Target name, for messages. */
  readonly target: string;
  readonly spiffeId: string;
}

export interface ServiceOptions extends Named {
  /** Asked for each connection, so that a renewal or a withdrawn root counts for the next one. */
  trust(trustDomain: string): Promise<ServiceTrust>;
  /** Told, in a sentence, that who answers is somebody else. */
  onImpostor(detail: string): void;
}

/** For services of this trust domain, by the job's own best SVID. Throws where the job has none. */
export async function serviceTrust(svids: Pick<SvidSource, "x509">, trustDomain: string): Promise<ServiceTrust> {
  const held = await svids.x509.current();
  const roots = pem("CERTIFICATE", held.bundles.get(trustDomain) ?? []);
  const [own] = held.svids;
  if (own === undefined) return { roots };
  return { roots, cert: pem("CERTIFICATE", own.certificates), key: pem("PRIVATE KEY", [own.privateKey]) };
}

const timeoutMs = 10_000;

/**
 * Opens connections to one service of the mesh, for undici. The certificate must chain to a root of the trust domain that the
 * target's SPIFFE ID names and carry exactly that ID; until that is known nothing is sent, so no credential goes to another.
 * Fails with `access_denied` and both names. Host names are not looked at: a mesh names services by their ID.
 *
 * @see X509-SVID §5
 */
export function connectToService(options: ServiceOptions): buildConnector.connector {
  return (to, callback) => {
    dial(options, to).then(
      (socket) => callback(null, socket),
      (error: Error) => {
        if (error instanceof WayleaveError && error.code === "access_denied") options.onImpostor(error.message);
        callback(error, null);
      },
    );
  };
}

async function dial(options: ServiceOptions, to: buildConnector.Options): Promise<TLSSocket> {
  const id = parseSpiffeId(options.spiffeId);
  if (id === undefined) throw refused(options, "the policy names no SPIFFE ID for it");
  const { roots, cert, key } = await options.trust(id.trustDomain);
  if (roots === "") throw refused(options, `no trust bundle of ${id.trustDomain} is known here`);
  const settings: ConnectionOptions = {
    host: to.hostname,
    port: Number(to.port || 443),
    ca: roots,
    minVersion: "TLSv1.2",
    checkServerIdentity: (_, certificate) => serviceProblem(options, certificate),
    ...(isIP(to.hostname) === 0 ? { servername: to.hostname } : {}),
    ...(cert === undefined || key === undefined ? {} : { cert, key }),
  };
  return new Promise((resolve, reject) => {
    const socket = connect(settings);
    const late = setTimeout(() => socket.destroy(timedOut()), timeoutMs);
    socket.once("error", (error) => {
      clearTimeout(late);
      reject(reasonOf(options, error));
    });
    socket.once("secureConnect", () => {
      clearTimeout(late);
      resolve(socket);
    });
  });
}

/** For `tls.connect`, which asks once the chain is good: why this certificate is not the service's, or undefined. */
export function serviceProblem(options: Named, leaf: PeerCertificate) {
  const uris = uriNames(leaf.subjectaltname);
  if (uris.length === 1 && uris[0] === options.spiffeId) return undefined;
  const is = uris.length === 1 ? `is ${printable(uris[0] ?? "")}` : `has ${uris.length} SPIFFE IDs, and must have one`;
  return refused(options, `who answers ${is}`);
}

/**
 * URI names of Node's `subjectaltname`: a list with commas, in which names that hold one, or could be misread otherwise, are
 * JSON strings (CVE-2021-44532). A SPIFFE ID has none of those characters, so a quoted name never equals one.
 */
function uriNames(text: string | undefined): readonly string[] {
  const names = (text ?? "").match(/(?:[^,"]|"(?:[^"\\]|\\.)*")+/g) ?? [];
  return names.flatMap((name) => (name.trimStart().startsWith("URI:") ? [name.trimStart().slice(4)] : []));
}

/** OpenSSL's codes for a chain that is not to be believed. */
const chainProblems: Readonly<Record<string, string>> = {
  CERT_HAS_EXPIRED: "its certificate has expired",
  CERT_NOT_YET_VALID: "its certificate is not valid yet; compare the clocks",
  DEPTH_ZERO_SELF_SIGNED_CERT: "its certificate is signed by nobody but itself",
  SELF_SIGNED_CERT_IN_CHAIN: "its certificate is of another root than its trust domain's",
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: "its certificate is of another root than its trust domain's",
  UNABLE_TO_GET_ISSUER_CERT: "its certificate is of another root than its trust domain's",
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: "its certificate is of another root than its trust domain's",
  CERT_SIGNATURE_FAILURE: "its certificate's signature is wrong",
  INVALID_PURPOSE: "its certificate is not for servers",
  INVALID_CA: "its certificate was signed by one that is no CA",
};

/** Errors of the network stay as they are. */
function reasonOf(options: Named, error: Error): Error {
  const problem = chainProblems[(error as NodeJS.ErrnoException).code ?? ""];
  return problem === undefined ? error : refused(options, problem);
}

function refused({ target, spiffeId }: Named, why: string): WayleaveError {
  return new WayleaveError(
    "access_denied",
    `Target ${target} must be ${spiffeId}, and ${why}. Nothing was sent; check the target's address and its mesh.spiffe_id.`,
  );
}

function timedOut(): Error {
  return Object.assign(new Error("the service did not answer in time"), { code: "ETIMEDOUT" });
}

function printable(text: string): string {
  return JSON.stringify(text.slice(0, 300)).replaceAll(/[^\x20-\x7e]/g, "?");
}
