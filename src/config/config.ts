import type { AwsConfig } from "../ci/aws/config.ts";
import type { OidcConfig } from "../ci/oidc/config.ts";
import type { IssuerType } from "../core/identity.ts";
import type { OperatorRole, PeopleType } from "../core/person.ts";

/** `wayleave.yaml`, checked: defaults filled, durations in ms, paths absolute, secrets and files read. */
export interface Config {
  /** Absolute path of the file it came from. */
  readonly file: string;
  /** `iss` of our tokens and the audience jobs ask for; no trailing slash. */
  readonly issuer: string;
  readonly trustDomain: string;
  readonly listen: ListenConfig;
  /** Absolute path of the data folder; may not exist yet. */
  readonly dataDir: string;
  /** Absolute path of the policy file or folder; of this configuration's own file where it lists sources. */
  readonly policyPath: string;
  /** Absent: one policy without bounds. */
  readonly policySources?: readonly PolicySourceConfig[];
  readonly keys: {
    /** 32 bytes, base64. */
    readonly encryptionKey: string;
    /** The one before it, while it is being replaced. */
    readonly previousEncryptionKey?: string;
  };
  readonly sessions: {
    readonly maxMs: number;
    readonly tokenTtlMs: number;
    /** For each project; absent: no cap. */
    readonly caps?: { readonly sessionsPerMinute?: number; readonly tokensPerMinute?: number };
  };
  readonly issuers: readonly IssuerConfig[];
  readonly gateways: readonly GatewayConfig[];
  readonly spiffe: SpiffeConfig;
  /** Absent: nobody signs in. */
  readonly people?: PeopleConfig;
  /** Absent: journal and index in the data folder. */
  readonly store?: StoreConfig;
  readonly durable: "within_50ms" | "before_answer";
  /** Who may approve break-glass; empty: nobody. Public keys are SPKI in base64. */
  readonly approvers: readonly { readonly name: string; readonly publicKey: string }[];
  readonly log: { readonly level: "debug" | "info" | "warn" | "error" };
}

/** One of several places that a policy is put together from. */
export interface PolicySourceConfig {
  readonly name: string;
  /** Absolute. */
  readonly path: string;
  /** Absent: it may say anything. */
  readonly bounds?: {
    readonly projects: readonly string[];
    readonly targets: readonly string[];
    readonly hosts: readonly string[];
  };
}

export interface ListenConfig {
  /** Without the brackets of an IPv6 address. */
  readonly host: string;
  /** 0 takes a free one. */
  readonly port: number;
  /** Where gRPC is served; absent: nowhere. */
  readonly grpc?: { readonly host: string; readonly port: number };
  /** PEM texts. */
  readonly tls?: { readonly cert: string; readonly key: string };
  readonly behindTlsProxy: boolean;
}

export interface IssuerConfig {
  readonly name: string;
  readonly type: IssuerType;
  /** Exact `iss`. Absent: the provider's `defaultIssuerUrl`. */
  readonly url?: string;
  readonly audience: string;
  /** PEM text. */
  readonly ca?: string;
  /** Uploaded public keys: nothing is fetched from this issuer. */
  readonly jwks?: { readonly keys: readonly Readonly<Record<string, unknown>>[] };
  readonly api?: { readonly url?: string; readonly token: string };
  /** What events start pipelines with. */
  readonly start?: {
    /** GitLab: trigger tokens by project path. */
    readonly projects: Readonly<Record<string, string>>;
    /** Buildkite: an API token. */
    readonly token?: string;
  };
  readonly webhooks: readonly WebhookConfig[];
  /** What its tokens mean; of type `oidc`. */
  readonly oidc?: OidcConfig;
  /** Which principals it stands for; of type `aws`. */
  readonly aws?: AwsConfig;
  /** GitLab without Premium features: its environments are never protected. */
  readonly edition?: "community";
}

export interface WebhookConfig {
  readonly name: string;
  /** Ids or paths. */
  readonly projects: readonly string[];
  /** Paths, with everything below. */
  readonly groups: readonly string[];
  /** NATS target that hears of each status. */
  readonly events?: string;
  readonly token?: string;
  readonly signingToken?: string;
}

/** What every gateway of the inventory has. */
interface GatewayBase {
  readonly name: string;
  readonly environment?: string;
  readonly targets: readonly string[];
  /** Empty for a gateway that never asks (linkerd). */
  readonly secret: string;
  /** Absolute path of the file the secret stands in; a gateway on the same machine can read it there. */
  readonly secretFile?: string;
  readonly brokerUrl: string;
  /** Absolute path on the gateway's machine. Absent: the gateway's own default. */
  readonly accessLog?: string;
  /** Longest it may keep to what was allowed while the broker is away, ms, whatever its targets say. */
  readonly keepAtMostMs?: number;
}

export interface NginxGatewayConfig extends GatewayBase {
  readonly kind: "nginx";
  /** 0: no decision cache. */
  readonly cacheMs: number;
  readonly njs: boolean;
  /** Where its break-glass responder listens. Absent: it has none. */
  readonly breakglass?: { readonly host: string; readonly port: number };
}

export interface UpstreamConfig {
  readonly host: string;
  readonly port: number;
  /** It speaks HTTP/2, as gRPC does. */
  readonly http2?: true;
}

export interface EnvoyGatewayConfig extends GatewayBase {
  readonly kind: "envoy";
  readonly mode: "native" | "call_out";
  readonly protocol: "grpc" | "http";
  /** Where it reaches the broker's gRPC listener. Absent: there is none. */
  readonly grpc?: { readonly host: string; readonly port: number; readonly tls: boolean };
  /** Path on the gateway's machine. */
  readonly brokerCaFile?: string;
  readonly revocation: "grpc" | "rest" | "file";
  readonly revocationTtlMs: number;
  readonly keyCacheMs: number;
  /** Names of gateways in front: then it takes mutual TLS and assertions. Empty: it takes access tokens. */
  readonly behind: readonly string[];
  readonly listen: { readonly host: string; readonly port: number };
  readonly upstreams: Readonly<Record<string, UpstreamConfig>>;
  /** Paths on the gateway's machine. */
  readonly tls?: { readonly certFile: string; readonly keyFile: string };
}

export interface MeshWorkload {
  readonly target: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly port: number;
  readonly service: string;
}

interface MeshGatewayBase extends GatewayBase {
  readonly namespace: string;
  readonly workloads: readonly MeshWorkload[];
  readonly meshTrustDomain: string;
}

export interface IstioGatewayConfig extends MeshGatewayBase {
  readonly kind: "istio";
  readonly mode: "native" | "call_out";
}

export interface LinkerdGatewayConfig extends MeshGatewayBase {
  readonly kind: "linkerd";
}

export interface NatsGatewayConfig extends GatewayBase {
  readonly kind: "nats";
  /** Where jobs connect; port 0 takes a free one. */
  readonly listen: { readonly host: string; readonly port: number };
  /** PEM texts. */
  readonly tls?: { readonly cert: string; readonly key: string };
  /** What jobs are told, `nats://` or `tls://`; absent: where it listens. */
  readonly publicUrl?: string;
  readonly servers: readonly NatsServerAddress[];
  /** PEM text. */
  readonly serverCa?: string;
  readonly authentication: "operator" | "config";
  /** Jobs may connect to the servers themselves: their messages have no records. */
  readonly direct: boolean;
  /** It is a process of its own. */
  readonly standalone: boolean;
}

export interface NatsServerAddress {
  readonly host: string;
  readonly port: number;
  readonly tls: boolean;
}

/** The Wayleave proxy. */
export interface ProxyGatewayConfig extends GatewayBase {
  readonly kind: "proxy";
  /** Where jobs send their requests; port 0 takes a free one. */
  readonly listen: { readonly host: string; readonly port: number };
  /** PEM texts. */
  readonly tls?: { readonly cert: string; readonly key: string };
  /** By target. */
  readonly upstreams: Readonly<Record<string, ProxyUpstreamConfig>>;
  readonly limits: {
    readonly connectMs: number;
    readonly answerMs: number;
    readonly exchangeMs: number;
    readonly maxBytes: number;
    readonly drainMs: number;
  };
}

export interface ProxyUpstreamConfig {
  readonly host: string;
  readonly port: number;
  readonly protocol: "http1" | "http2";
  /** PEM texts, and who the service must be. Absent: plain. */
  readonly tls?: { readonly ca?: readonly string[]; readonly serverName?: string; readonly spiffeId?: string };
  /** Host that jobs ask for it by; absent: as policy says. */
  readonly name?: string;
  /** Lower case. */
  readonly credentialHeader: string;
  readonly auth?: { readonly header: string; readonly value: string };
}

export type GatewayConfig =
  | NginxGatewayConfig
  | EnvoyGatewayConfig
  | IstioGatewayConfig
  | LinkerdGatewayConfig
  | NatsGatewayConfig
  | ProxyGatewayConfig;

export interface StoreConfig {
  readonly postgres: {
    readonly address: {
      /** A name, an address, or the folder of a Unix socket. */
      readonly host: string;
      readonly port: number;
      readonly database: string;
      readonly user: string;
      readonly password?: string;
      /** Absent: plain text. `ca` is a PEM text; absent: the system's certificates. */
      readonly tls?: { readonly ca?: string };
    };
    readonly staleAfterMs: number;
  };
}

export interface SpiffeConfig {
  readonly svidTtlMs: number;
  /** Prefixes of SPIFFE IDs that a role may name. */
  readonly prefixes: readonly string[];
  /** PEM texts of the operator's own intermediate, its chain up to the root, and its key. */
  readonly ca?: { readonly cert: string; readonly key: string };
  readonly federatesWith: readonly FederationConfig[];
}

export interface FederationConfig {
  readonly trustDomain: string;
  readonly bundleUrl?: string;
  readonly profile: "https_web" | "https_spiffe";
  readonly endpointSpiffeId?: string;
  /** Text of the bundle file: a SPIFFE JWKS document. */
  readonly bundle?: string;
  /** SPIFFE ID prefixes whose JWT-SVIDs prove a runner. */
  readonly runners: readonly string[];
}

/** The directory that operators sign in by. */
export interface PeopleConfig {
  readonly type: PeopleType;
  /** Exact `iss`; may end with a slash. */
  readonly issuer: string;
  readonly clientId: string;
  /** `sub` for Google, which has no groups. */
  readonly groupsClaim: string;
  /** `openid` first. */
  readonly scopes: readonly string[];
  readonly hostedDomain?: string;
  /** Groups that give each role. */
  readonly roles: Readonly<Record<OperatorRole, readonly string[]>>;
  readonly sessionMs: number;
  /** PEM text. */
  readonly ca?: string;
}
