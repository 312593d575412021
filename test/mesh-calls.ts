import { Agent, type RequestOptions, request } from "node:https";

/** What somebody shows a TLS server. */
export interface Certificate {
  readonly cert: string | Buffer;
  readonly key: string | Buffer;
}

export interface MeshAnswer {
  readonly status: number;
  readonly body: string;
  readonly headers: NodeJS.Dict<string | string[]>;
}

export interface MeshCall {
  readonly method?: string;
  readonly path: string;
  /** `host` included, where it is not the billing API's. */
  readonly headers?: Readonly<Record<string, string | readonly string[]>>;
  /** A new connection for each request where there is none. */
  readonly through?: Agent;
}

/** A TLS server and how to speak to it. */
export interface Place {
  readonly port: number;
  readonly tls: {
    readonly ca: string | Buffer;
    readonly servername: string;
    readonly cert?: string | Buffer;
    readonly key?: string | Buffer;
  };
}

/** One request. Rejects with the error of the connection, a refused certificate's included. */
export function call(place: Place, { method = "GET", path, headers, through }: MeshCall): Promise<MeshAnswer> {
  const options: RequestOptions = {
    host: "127.0.0.1",
    port: place.port,
    method,
    path,
    headers: { host: "billing.localhost", ...(headers as Record<string, string>) },
    ...place.tls,
    agent: through ?? false,
  };
  return new Promise((resolve, reject) => {
    const sent = request(options, (response) => {
      let body = "";
      response.setEncoding("utf8").on("data", (text: string) => {
        body += text;
      });
      response.once("error", reject);
      response.on("end", () => resolve({ status: response.statusCode ?? 0, headers: response.headers, body }));
    });
    sent.once("error", reject).end();
  });
}

/** One connection, kept, and how often it had to be opened. */
export function oneConnection(): { readonly agent: Agent; opened(): number } {
  const agent = new Agent({ keepAlive: true, maxSockets: 1, maxCachedSessions: 0 });
  let opened = 0;
  const create = agent.createConnection.bind(agent);
  agent.createConnection = (...given: Parameters<typeof create>) => {
    opened++;
    return create(...given);
  };
  return { agent, opened: () => opened };
}
