/** Where a target's service is. */
export interface ProxyUpstream {
  /** HTTP/1.1 or, as gRPC needs it, HTTP/2. */
  readonly protocol: "http1" | "http2";
  readonly host: string;
  readonly port: number;
  /** Absent: plain. */
  readonly tls?: UpstreamTls;
}

/** Who the service must be. */
export interface UpstreamTls {
  /** PEM texts; absent: what Node trusts. */
  readonly ca?: readonly string[];
  /** The name its certificate must carry; absent where `spiffeId` says who it is. */
  readonly serverName?: string;
  /** The one URI its certificate must carry. */
  readonly spiffeId?: string;
}

/** A service behind the proxy that takes requests. */
export interface ProxyHttpTarget {
  readonly kind: "http";
  readonly name: string;
  /** Name that jobs ask for it by; absent: the hosts that policy gives it. */
  readonly host?: string;
  readonly upstream: ProxyUpstream;
  /** Lower-case name of the header that the job's access token comes in. */
  readonly credentialHeader: string;
  /** What the service itself wants to see; no job ever holds it. */
  readonly upstreamAuth?: { readonly header: string; readonly value: string };
}

/** A service behind the proxy that takes connections, at the address that policy gives it. */
export interface ProxyTcpTarget {
  readonly kind: "tcp";
  readonly name: string;
}

/** Times are ms. */
export interface ProxyLimits {
  /** To be connected to a service. */
  readonly connectMs: number;
  /** From a request's last byte to the head of its answer. */
  readonly answerMs: number;
  /** A request and its answer as a whole, unless policy says `stream: true`. */
  readonly exchangeMs: number;
  /** What a request's body, and its answer's, may have unless policy says `stream: true`. Bytes. */
  readonly maxBytes: number;
  /** What is open may finish within this when the proxy stops. */
  readonly drainMs: number;
}

export interface ProxySettings {
  readonly name: string;
  readonly listen: { readonly host: string; readonly port: number };
  /** PEM texts. Absent: plain. */
  readonly tls?: { readonly cert: string; readonly key: string };
  readonly targets: readonly (ProxyHttpTarget | ProxyTcpTarget)[];
  readonly limits: ProxyLimits;
}
