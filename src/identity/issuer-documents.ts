import { excerpt } from "./excerpt.ts";
import { type JwksDocument, readJwks } from "./jwks-document.ts";
import { isObject, parseStrictJson } from "./strict-json.ts";

export interface IssuerDocumentsOptions {
  /** Exact `iss`. */
  readonly issuerUrl: string;
  readonly fetch: typeof fetch;
  /** For both documents together, ms. */
  readonly timeoutMs: number;
}

const maxBodyBytes = 256 * 1024;

/** A document that cannot be used; its message is ours and safe to show. */
class DocumentProblem extends Error {
  override readonly name = "DocumentProblem";
}

/**
 * The issuer's keys, by way of its discovery document, or why there are none. Redirects are not followed, bodies are
 * bounded, and the document's `issuer` must equal ours byte for byte. Never rejects.
 * @see OpenID Connect Discovery 1.0 §4
 */
export async function fetchIssuerKeys(options: IssuerDocumentsOptions): Promise<JwksDocument> {
  const signal = AbortSignal.timeout(options.timeoutMs);
  // A final slash is part of the issuer's name (Auth0), and is left out before what is appended.
  const discoveryUrl = `${options.issuerUrl.replace(/\/$/, "")}/.well-known/openid-configuration`;
  try {
    const discovery = await fetchJson(options.fetch, discoveryUrl, signal);
    const jwksUrl = readDiscovery(discovery, discoveryUrl, options.issuerUrl);
    const jwks = readJwks(await fetchJson(options.fetch, jwksUrl, signal));
    return jwks.ok ? jwks : { ok: false, problem: `${excerpt(jwksUrl, 200)} ${jwks.problem}` };
  } catch (error) {
    if (error instanceof DocumentProblem) return { ok: false, problem: error.message };
    if (signal.aborted) return { ok: false, problem: `there was no answer within ${options.timeoutMs} ms` };
    return { ok: false, problem: `the connection failed${networkCode(error)}` };
  }
}

/** The JWKS address of a discovery document. */
function readDiscovery(value: unknown, from: string, issuerUrl: string): string {
  if (!isObject(value)) throw new DocumentProblem(`${from} is no JSON object`);
  const { issuer, jwks_uri: jwksUri } = value;
  if (issuer !== issuerUrl) {
    const says = typeof issuer === "string" ? excerpt(issuer, 200) : "nothing";
    throw new DocumentProblem(`${from} says the issuer is ${says}, not ${excerpt(issuerUrl, 200)}`);
  }
  if (typeof jwksUri !== "string" || !URL.canParse(jwksUri)) {
    throw new DocumentProblem(`${from} has no usable jwks_uri`);
  }
  const { protocol, hostname, username, password } = new URL(jwksUri);
  const plain = protocol === "http:" && isLoopback(hostname) && isLoopback(new URL(issuerUrl).hostname);
  if (protocol !== "https:" && !plain) throw new DocumentProblem(`${from} names a jwks_uri that is not https`);
  if (username !== "" || password !== "") throw new DocumentProblem(`${from} names a jwks_uri with a password in it`);
  return jwksUri;
}

async function fetchJson(fetchIt: typeof fetch, url: string, signal: AbortSignal): Promise<unknown> {
  const response = await fetchIt(url, { redirect: "manual", headers: { accept: "application/json" }, signal });
  if (response.status !== 200) {
    await response.body?.cancel();
    throw new DocumentProblem(`${excerpt(url, 200)} answered ${response.status}`);
  }
  const json = parseStrictJson(await readBounded(response, url));
  if (!json.ok) throw new DocumentProblem(`${excerpt(url, 200)} ${json.problem}`);
  return json.value;
}

/** The decoded body; a longer one than `maxBodyBytes` is not read to its end. */
async function readBounded(response: Response, url: string): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of response.body ?? []) {
    size += chunk.byteLength;
    if (size > maxBodyBytes) throw new DocumentProblem(`${excerpt(url, 200)} is longer than ${maxBodyBytes} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

function isLoopback(host: string): boolean {
  return (
    host === "localhost" || host.endsWith(".localhost") || /^127(\.\d{1,3}){3}$/.test(host) || /^\[?::1\]?$/.test(host)
  );
}

/** `: ECONNREFUSED` where the failure has such a code; nothing else of it is shown. */
function networkCode(error: unknown): string {
  const cause = error instanceof Error ? (error.cause ?? error) : error;
  const code = isObject(cause) ? cause.code : undefined;
  return typeof code === "string" && /^[A-Z0-9_]{1,60}$/.test(code) ? `: ${code}` : "";
}
