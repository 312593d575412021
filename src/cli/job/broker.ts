import { Agent, type Dispatcher, request } from "undici";
import type {
  DecisionSummary,
  ExplainResponse,
  LeaseResponse,
  OAuthErrorResponse,
  ProblemResponse,
  TokenResponse,
} from "../../api/contract.ts";
import { awsProofPrefix, awsProofType } from "../../core/aws-proof.ts";
import { type ErrorCode, errorCodes, WayleaveError } from "../../core/errors.ts";
import type { ProofKey } from "./proof-key.ts";

export interface BrokerOptions {
  /** Public URL, without final slash; also what proofs name. */
  readonly url: string;
  readonly ca: readonly string[] | undefined;
  readonly now: () => number;
  /** W3C trace id that every request carries. */
  readonly trace: string;
  /** The runner's own JWT-SVID for this broker, where it left one in WAYLEAVE_RUNNER_SVID. */
  readonly runnerSvid?: string;
}

/** Which session a request speaks for. Without a refresh token the key's proof and the id are enough for lease and end. */
export interface Caller {
  readonly key: ProofKey;
  readonly sessionId: string;
  readonly refreshToken?: string;
}

/** A certificate as the broker answers it, to a job and to a gateway; bytes are base64 of DER. */
export interface X509Answer {
  readonly spiffe_id: string;
  /** Leaf first, without the root. */
  readonly certificates: readonly string[];
  readonly bundle: readonly string[];
  readonly federated_bundles: Readonly<Record<string, readonly string[]>>;
  /** ISO 8601. */
  readonly expires_at: string;
}

/** How to connect to a NATS gateway, with what was asked for: a password, or the text of a credentials file. */
export interface NatsAnswer {
  readonly url: string;
  readonly user: string;
  readonly password?: string;
  readonly creds?: string;
  readonly target: string;
  readonly gateway: string;
  readonly account: string;
  readonly inbox: string;
  /** ISO 8601. */
  readonly expires_at: string;
}

/** A trust domain's bundle, as far as it is read here. @see SPIFFE Trust Domain and Bundle §4 */
export interface BundleDocument {
  readonly keys: readonly { readonly use?: string; readonly x5c?: readonly string[] }[];
}

export type SvidPath = "identities" | "x509" | "jwt";

interface Call {
  readonly method: "GET" | "POST";
  readonly path: string;
  readonly query?: string;
  readonly headers: Readonly<Record<string, string>>;
  /** Whose proof goes along. */
  readonly key?: ProofKey;
  /** The token that the proof names. */
  readonly presented?: string | undefined;
  readonly body?: string;
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
}

/**
 * The broker, as a job talks to it. Refusals are thrown with the broker's own code; no answer, a broken answer and a fault
 * are `broker_unreachable` or the broker's fault code, all of exit status 5. Nothing is retried here but a request whose proof
 * the broker wants with its nonce of now (RFC 9449 §8).
 */
export class Broker {
  readonly url: string;
  readonly #agent: Agent;
  readonly #now: () => number;
  readonly #trace: string;
  readonly #runnerSvid: string | undefined;
  /** What the broker's last answer said that proofs must carry. */
  #nonce: string | undefined;

  constructor({ url, ca, now, trace, runnerSvid }: BrokerOptions) {
    this.url = url;
    this.#now = now;
    this.#trace = trace;
    this.#runnerSvid = runnerSvid;
    this.#agent = new Agent({
      allowH2: false,
      connect: { timeout: 10_000, ...(ca === undefined ? {} : { ca: [...ca] }) },
    });
  }

  /** RFC 8693 exchange, bound to `key`. The same key and Idempotency-Key may be sent again. */
  exchange(
    subjectToken: string,
    key: ProofKey,
    idempotencyKey: string,
    targets: readonly string[],
  ): Promise<TokenResponse> {
    const form = new URLSearchParams({
      grant_type: "urn:ietf:params:oauth:grant-type:token-exchange",
      subject_token: subjectToken,
      subject_token_type: subjectToken.startsWith(awsProofPrefix)
        ? awsProofType
        : "urn:ietf:params:oauth:token-type:id_token",
      ...(this.#runnerSvid === undefined
        ? {}
        : {
            client_assertion_type: "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe",
            client_assertion: this.#runnerSvid,
          }),
    });
    return this.#token(form, targets, key, { "idempotency-key": idempotencyKey });
  }

  /** RFC 6749 §6: another access token of the same session. */
  refresh(refreshToken: string, key: ProofKey, targets: readonly string[]): Promise<TokenResponse> {
    const form = new URLSearchParams({ grant_type: "refresh_token", refresh_token: refreshToken });
    return this.#token(form, targets, key, {});
  }

  beat(caller: Caller, lease: string, signal?: AbortSignal): Promise<LeaseResponse> {
    return this.#session<LeaseResponse>(caller, "POST", "/v1/session/lease", { body: { lease }, signal });
  }

  async release(caller: Caller, lease: string): Promise<void> {
    await this.#session(caller, "POST", "/v1/session/release", { body: { lease }, timeoutMs: 3000 });
  }

  async end(caller: Caller): Promise<void> {
    await this.#session(caller, "POST", "/v1/session/end", { body: {} });
  }

  /** Denials of the session after a record, waiting for the first. Needs the refresh token. */
  async decisions(
    caller: Caller,
    after: string,
    waitSeconds: number,
    signal?: AbortSignal,
  ): Promise<readonly DecisionSummary[]> {
    const query = new URLSearchParams({ after, wait: String(waitSeconds) }).toString();
    const timeoutMs = waitSeconds * 1000 + 5000;
    const found = await this.#session<{ decisions: readonly DecisionSummary[] }>(
      caller,
      "GET",
      "/v1/session/decisions",
      {
        query,
        timeoutMs,
        signal,
      },
    );
    return found.decisions;
  }

  explain(caller: Caller, record: string): Promise<ExplainResponse> {
    return this.#session<ExplainResponse>(caller, "GET", `/v1/session/decisions/${encodeURIComponent(record)}`, {
      timeoutMs: 5000,
    });
  }

  /** SVIDs of the session: what is asked for is below `/v1/svid/`, a GET without a body. */
  svid<T>(caller: Caller, what: SvidPath, body?: unknown): Promise<T> {
    const method = body === undefined ? "GET" : "POST";
    return this.#session<T>(caller, method, `/v1/svid/${what}`, body === undefined ? {} : { body });
  }

  /** Publishes a CloudEvent for the job. The same `key` may be sent again. */
  emit<T>(caller: Caller, event: unknown): Promise<T> {
    return this.#session<T>(caller, "POST", "/v1/events", { body: event, timeoutMs: 15_000 });
  }

  /** A credential for a NATS gateway. What is left out is chosen where there is but one. */
  nats(
    caller: Caller,
    asked: { readonly form: "password" | "creds"; readonly target?: string; readonly gateway?: string },
  ): Promise<NatsAnswer> {
    return this.#session<NatsAnswer>(caller, "POST", "/v1/session/nats", { body: asked });
  }

  /** The bundles of the broker's trust domain and of those it federates with, by name. Open to everybody. */
  bundles(): Promise<{ readonly trust_domains: Readonly<Record<string, BundleDocument>> }> {
    return this.#call({ method: "GET", path: "/spiffe/bundles", headers: {}, timeoutMs: 10_000 });
  }

  /** A gateway's own certificate, for the key of `csr` (DER). The secret proves the gateway; there is no session. */
  gatewaySvid(gateway: string, secret: string, csr: Uint8Array): Promise<X509Answer> {
    return this.#call<X509Answer>({
      method: "POST",
      path: "/v1/gateway/svid",
      headers: {
        "content-type": "application/json",
        "x-wayleave-gateway": gateway,
        "x-wayleave-gateway-secret": secret,
      },
      body: JSON.stringify({ csr: Buffer.from(csr).toString("base64") }),
      timeoutMs: 15_000,
    });
  }

  /** Gives up everything still under way. */
  close(): Promise<void> {
    return this.#agent.destroy();
  }

  #token(
    form: URLSearchParams,
    targets: readonly string[],
    key: ProofKey,
    headers: Readonly<Record<string, string>>,
  ): Promise<TokenResponse> {
    for (const target of targets) form.append("audience", target);
    const path = "/oauth2/token";
    return this.#call<TokenResponse>({
      method: "POST",
      path,
      headers: { "content-type": "application/x-www-form-urlencoded", ...headers },
      key,
      body: form.toString(),
      timeoutMs: 15_000,
    });
  }

  #session<T>(
    caller: Caller,
    method: "GET" | "POST",
    path: string,
    more: {
      readonly body?: unknown;
      readonly query?: string;
      readonly timeoutMs?: number;
      readonly signal?: AbortSignal | undefined;
    },
  ): Promise<T> {
    const { key, refreshToken, sessionId } = caller;
    const headers = {
      ...(refreshToken === undefined ? { "wayleave-session": sessionId } : { authorization: `Bearer ${refreshToken}` }),
      ...(more.body === undefined ? {} : { "content-type": "application/json" }),
    };
    return this.#call<T>({
      method,
      path,
      headers,
      key,
      presented: refreshToken,
      timeoutMs: more.timeoutMs ?? 10_000,
      signal: more.signal,
      ...(more.query === undefined ? {} : { query: more.query }),
      ...(more.body === undefined ? {} : { body: JSON.stringify(more.body) }),
    });
  }

  async #call<T>(call: Call): Promise<T> {
    const before = this.#nonce;
    const answer = await this.#send(call);
    const again = call.key !== undefined && wantsNonce(answer) && this.#nonce !== before;
    const { status, text } = again ? await this.#send(call) : answer;
    return readAnswer<T>(this.url, status, text);
  }

  #proof({ key, method, path, presented }: Call): Readonly<Record<string, string>> {
    if (key === undefined) return {};
    const url = this.url + path;
    return { dpop: key.proof({ method, url, nowMs: this.#now(), token: presented, nonce: this.#nonce }) };
  }

  async #send(call: Call): Promise<Answer> {
    const span = crypto.randomUUID().replaceAll("-", "").slice(0, 16);
    const timeout = AbortSignal.timeout(call.timeoutMs);
    const options: Omit<Dispatcher.RequestOptions, "origin" | "path"> & { dispatcher: Agent } = {
      dispatcher: this.#agent,
      method: call.method,
      headers: { ...call.headers, ...this.#proof(call), traceparent: `00-${this.#trace}-${span}-01` },
      signal: call.signal === undefined ? timeout : AbortSignal.any([timeout, call.signal]),
      ...(call.body === undefined ? {} : { body: call.body }),
    };
    try {
      const query = call.query === undefined ? "" : `?${call.query}`;
      const response = await request(`${this.url}${call.path}${query}`, options);
      const { "dpop-nonce": nonce } = response.headers;
      if (typeof nonce === "string") this.#nonce = nonce;
      return { status: response.statusCode, text: await response.body.text() };
    } catch (cause) {
      const detail = `The broker at ${this.url} did not answer (${reasonOf(cause)}). Check the address, the network and that \`wayleave serve\` runs.`;
      throw new WayleaveError("broker_unreachable", detail, { cause });
    }
  }
}

interface Answer {
  readonly status: number;
  readonly text: string;
}

const nonceCodes: ReadonlySet<unknown> = new Set(["proof_nonce_required", "proof_nonce_stale"] satisfies ErrorCode[]);

/** Whether the answer only asks for the proof again, with the nonce that came with it. */
function wantsNonce({ status, text }: Answer): boolean {
  return (status === 400 || status === 401) && nonceCodes.has(parsed(text)?.code);
}

function readAnswer<T>(url: string, status: number, text: string): T {
  if (status === 204) return undefined as T;
  const body = parsed(text);
  if (status >= 200 && status < 300 && body !== undefined) return body as T;
  const code = errorCodes.find((known) => known === body?.code);
  const detail = body?.error_description ?? body?.detail;
  if (code !== undefined && detail !== undefined)
    throw new WayleaveError(faultCode(code, status), withRecord(detail, body?.record));
  if (status >= 400 && status < 500) {
    throw new WayleaveError(
      "access_denied",
      `${url} answered HTTP ${status}, and not as a broker does. Check the address.`,
    );
  }
  throw new WayleaveError(
    "broker_unreachable",
    `${url} answered HTTP ${status} without a usable body. Retry, or see its log.`,
  );
}

/** Undefined for a proxy's page, or half an answer. */
function parsed(text: string): Partial<OAuthErrorResponse & ProblemResponse> | undefined {
  try {
    return JSON.parse(text) as Partial<OAuthErrorResponse & ProblemResponse>;
  } catch {
    return undefined;
  }
}

/** A fault inside the broker is no refusal: to a job it is an outage. */
function faultCode(code: ErrorCode, status: number): ErrorCode {
  return status >= 500 && new WayleaveError(code, "").wire.exit !== 5 ? "broker_unreachable" : code;
}

function withRecord(detail: string, record: string | undefined): string {
  return record === undefined ? detail : `${detail} (${record})`;
}

/** Node's own word for what went wrong with a connection. */
function reasonOf(cause: unknown): string {
  if (!(cause instanceof Error)) return "unknown cause";
  const inner = cause instanceof AggregateError ? cause.errors[0] : cause;
  const { code } = inner as NodeJS.ErrnoException;
  return cause.name === "TimeoutError" ? "timed out" : (code ?? cause.name);
}
