import { type Dispatcher, request } from "undici";

/** One question as a rendered NGINX puts it to `/authz/nginx`. */
export interface EdgeQuestion {
  readonly token?: string;
  readonly target: string;
  readonly method: string;
  readonly host: string;
  readonly path: string;
}

export interface EdgeAnswer {
  readonly status: number;
  readonly decision: string;
  readonly reason: string;
  readonly record: string;
  readonly rule: string | undefined;
}

/** Asks a broker what gateway `edge-1` would ask it. */
export async function askEdge(
  broker: { readonly url: string; readonly gatewaySecret: string },
  question: EdgeQuestion,
  dispatcher?: Dispatcher,
): Promise<EdgeAnswer> {
  const { statusCode, headers, body } = await request(`${broker.url}/authz/nginx`, {
    headers: {
      "x-wayleave-gateway": "edge-1",
      "x-wayleave-gateway-secret": broker.gatewaySecret,
      "x-wayleave-target": question.target,
      "x-original-method": question.method,
      "x-original-host": question.host,
      "x-original-uri": question.path,
      ...(question.token === undefined ? {} : { authorization: `Bearer ${question.token}` }),
    },
    ...(dispatcher === undefined ? {} : { dispatcher }),
  });
  await body.dump();
  const header = (name: string) => {
    const value = headers[name];
    return typeof value === "string" ? value : undefined;
  };
  return {
    status: statusCode,
    decision: header("x-wayleave-decision") ?? "",
    reason: header("x-wayleave-reason") ?? "",
    record: header("x-wayleave-record") ?? "",
    rule: header("x-wayleave-role"),
  };
}
