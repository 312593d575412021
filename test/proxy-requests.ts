import { type Agent, request as httpRequest, type IncomingMessage, type RequestListener } from "node:http";
import { afterEach } from "vitest";
import { httpTarget, type ProxyLabOptions, startProxyLab, startService } from "./proxy-lab.ts";

export const policy = `
targets:
  billing: { http: { hosts: [billing.internal] } }
  observed: { mode: observe, http: { hosts: [observed.internal] } }
  shared: { http: { hosts: [shared.internal] }, routes: [{ match: GET /health, unidentified: pass }] }
  db: { tcp: { address: "127.0.0.1:1" } }
roles:
  read: { for: shop, allow: { billing: ["GET /v1/**", "HEAD /v1/**", "POST /v1/**", "PUT /v1/**", { op: GET /s/**, stream: true }, { op: POST /s/**, stream: true }], shared: [GET /x], observed: [GET /x], db: [connect] } }
  busy: { for: shop, limit: { rate: 1/h, per: session }, allow: { billing: [GET /once] } }`;

const closers: (() => unknown)[] = [];

/** Done after the test, the last first. */
export const atEnd = (close: () => unknown): void => void closers.push(close);

afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

/** A proxy before one service, with a session whose token is `good`. */
export async function labBefore(answer?: RequestListener, options: Partial<ProxyLabOptions> = {}) {
  const service = await startService(answer);
  closers.push(service.close);
  const target = (name: string) => httpTarget(name, service.port);
  const lab = await startProxyLab({
    policy,
    targets: [target("billing"), target("observed"), target("shared")],
    ...options,
  });
  closers.push(() => lab.close());
  lab.open("good");
  return { lab, service };
}

export interface Answered {
  readonly status: number;
  readonly headers: IncomingMessage["headers"];
  readonly text: string;
}

export interface Asked {
  readonly method?: string;
  readonly path?: string;
  readonly headers?: Readonly<Record<string, string | readonly string[]>>;
  readonly body?: string;
  readonly agent?: Agent;
}

export function ask(
  port: number,
  { method = "GET", path = "/v1/a", headers = {}, body, agent }: Asked = {},
): Promise<Answered> {
  return new Promise((resolve, reject) => {
    const all = { host: "billing.internal", authorization: "Bearer good", ...headers };
    const request = httpRequest({
      port,
      method,
      path,
      headers: all as never,
      ...(agent === undefined ? {} : { agent }),
    });
    request.on("error", reject);
    request.on("response", async (response) => {
      let text = "";
      try {
        for await (const chunk of response) text += chunk;
        resolve({ status: response.statusCode ?? 0, headers: response.headers, text });
      } catch (error) {
        reject(error);
      }
    });
    request.end(body);
  });
}
