import type { IncomingMessage, ServerResponse } from "node:http";

/** What a dialect answers, every header included: no body, ever, so that the gateway keeps its connection. */
export interface DialectReply {
  readonly status: number;
  readonly headers: readonly (readonly [string, string])[];
}

/** A gateway dialect as `gateway/<kind>` makes it. */
export type Dialect = (request: {
  readonly rawHeaders: readonly string[];
  readonly method: string;
  readonly url: string;
}) => DialectReply | Promise<DialectReply>;

/**
 * `/authz/<kind>` in front of the router: a decision is a few microseconds, and routing would cost as much again.
 * A dialect never rejects; if one did, the answer would be 403 with the reason `outage`.
 */
export function authzHandler(
  dialects: Readonly<Record<string, Dialect>>,
): (request: IncomingMessage, response: ServerResponse) => boolean {
  const prefix = "/authz/";
  return (request, response) => {
    const { url = "" } = request;
    if (!url.startsWith(prefix)) return false;
    const dialect = dialects[url.slice(prefix.length)];
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
  response.end();
}
