import type { IncomingMessage, ServerResponse } from "node:http";

/** What a dialect answers, every header included, so also the body's length. */
export interface DialectReply {
  readonly status: number;
  readonly headers: readonly (readonly [string, string])[];
  /** Only for gateways that pass it on; NGINX drops the connection for one. */
  readonly body?: string;
}

/** A gateway dialect as `gateway/<kind>` makes it. */
export type Dialect = (request: {
  readonly rawHeaders: readonly string[];
  readonly method: string;
  readonly url: string;
}) => DialectReply | Promise<DialectReply>;

/**
 * `/authz/<kind>`, and for a kind named with a `/` at its end everything below, in front of the router: a decision is a few
 * microseconds, and routing would cost as much again. A dialect never rejects; if one did, the answer would be 403 with the
 * reason `outage`.
 */
export function authzHandler(
  dialects: Readonly<Record<string, Dialect>>,
): (request: IncomingMessage, response: ServerResponse) => boolean {
  const prefix = "/authz/";
  const byKind = new Map(Object.entries(dialects)); // an object has names that nobody gave it
  return (request, response) => {
    const { url = "" } = request;
    if (!url.startsWith(prefix)) return false;
    const end = url.indexOf("/", prefix.length);
    const dialect = byKind.get(end === -1 ? url.slice(prefix.length) : url.slice(prefix.length, end + 1));
    if (dialect === undefined) return false;
    const answer = dialect({ rawHeaders: request.rawHeaders, method: request.method ?? "", url });
    if (answer instanceof Promise) answer.then((reply) => write(response, reply)).catch(() => write(response, outage));
    else write(response, answer);
    return true;
  };
}

const outage: DialectReply = {
  status: 403,
  headers: [
    ["Content-Length", "0"],
    ["X-Wayleave-Decision", "outage"],
    ["X-Wayleave-Reason", "outage"],
    ["X-Accel-Expires", "0"],
  ],
};

function write(response: ServerResponse, reply: DialectReply): void {
  response.sendDate = false; // nobody reads it, and it is half of what a bare answer costs to format
  const headers: string[] = [];
  for (const [name, value] of reply.headers) headers.push(name, value);
  response.writeHead(reply.status, headers);
  response.end(reply.body);
}
