import { Agent, type Dispatcher, request } from "undici";

/** What came back from a call through the gateway. */
export interface CallResult {
  readonly status: number;
  readonly body: string;
  readonly record: string | undefined;
  readonly reason: string | undefined;
  /** Milliseconds from request to answer. */
  readonly tookMs: number;
}

export interface TokenAnswer {
  readonly status: number;
  readonly body: Readonly<Record<string, unknown>>;
}

/** A job as `curl` would act it: exchanges its CI token, then calls through the gateway. Knows no other secret. */
export interface JobClient {
  exchange(subjectToken: string, idempotencyKey?: string): Promise<TokenAnswer>;
  call(method: string, url: string, accessToken?: string): Promise<CallResult>;
  close(): Promise<void>;
}

/** Every `*.localhost` name is this machine, whatever its resolver says. */
export function createJobClient(brokerUrl: string, ca: string): JobClient {
  const agent = new Agent({
    connect: {
      ca,
      lookup: (_host, options, done) =>
        options.all === true
          ? (done as unknown as (error: null, found: object[]) => void)(null, [{ address: "127.0.0.1", family: 4 }])
          : done(null, "127.0.0.1", 4),
    },
  });
  return {
    async exchange(subjectToken, idempotencyKey) {
      const form = new URLSearchParams({
        grant_type: "urn:ietf:params:oauth:grant-type:token-exchange",
        subject_token: subjectToken,
        subject_token_type: "urn:ietf:params:oauth:token-type:id_token",
      });
      const { statusCode, body } = await request(`${brokerUrl}/oauth2/token`, {
        method: "POST",
        headers: {
          "content-type": "application/x-www-form-urlencoded",
          ...(idempotencyKey === undefined ? {} : { "idempotency-key": idempotencyKey }),
        },
        body: form.toString(),
        dispatcher: agent,
      });
      return { status: statusCode, body: (await body.json()) as Record<string, unknown> };
    },
    async call(method, url, accessToken) {
      const start = performance.now();
      const { statusCode, headers, body } = await request(url, {
        method: method as Dispatcher.HttpMethod,
        headers: accessToken === undefined ? {} : { authorization: `Bearer ${accessToken}` },
        dispatcher: agent,
      });
      const text = await body.text();
      const problem = readProblem(text);
      return {
        status: statusCode,
        body: text,
        record: first(headers["x-wayleave-record"]) ?? problem.record,
        reason: first(headers["x-wayleave-reason"]) ?? problem.code,
        tookMs: performance.now() - start,
      };
    },
    close: () => agent.close(),
  };
}

function first(value: string | string[] | undefined): string | undefined {
  return Array.isArray(value) ? value[0] : value;
}

function readProblem(text: string): { record?: string; code?: string } {
  try {
    return JSON.parse(text) as { record?: string; code?: string };
  } catch {
    return {};
  }
}
