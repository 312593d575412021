import { createServer } from "node:http";

/** What the upstream saw of one request it served. */
export interface Served {
  readonly method: string;
  readonly url: string;
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>;
  readonly rawHeaders: readonly string[];
}

export interface Upstream {
  readonly port: number;
  readonly served: readonly Served[];
  close(): Promise<void>;
}

/** The internal billing API of the story: knows nothing of tokens, serves whatever the gateway lets through. */
export async function startUpstream(): Promise<Upstream> {
  const served: Served[] = [];
  const server = createServer((request, response) => {
    const { method = "", url = "", headers, rawHeaders } = request;
    served.push({ method, url, headers, rawHeaders });
    request.resume();
    response.writeHead(method === "POST" ? 201 : 200, { "content-type": "application/json" });
    response.end(`${JSON.stringify({ ok: true, method, path: url })}\n`);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  if (typeof address !== "object" || address === null) throw new TypeError("the upstream has no address");
  return {
    port: address.port,
    served,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
