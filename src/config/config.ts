import type { IssuerType } from "../core/identity.ts";

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
  /** Absolute path of the policy file or folder. */
  readonly policyPath: string;
  readonly keys: {
    /** 32 bytes, base64. */
    readonly encryptionKey: string;
  };
  readonly sessions: { readonly maxMs: number; readonly tokenTtlMs: number };
  readonly issuers: readonly IssuerConfig[];
  readonly gateways: readonly GatewayConfig[];
  readonly durable: "within_50ms" | "before_answer";
  readonly log: { readonly level: "debug" | "info" | "warn" | "error" };
}

export interface ListenConfig {
  /** Without the brackets of an IPv6 address. */
  readonly host: string;
  /** 0 takes a free one. */
  readonly port: number;
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
  readonly webhooks: readonly WebhookConfig[];
}

export interface WebhookConfig {
  readonly name: string;
  /** Ids or paths. */
  readonly projects: readonly string[];
  /** Paths, with everything below. */
  readonly groups: readonly string[];
  readonly token?: string;
  readonly signingToken?: string;
}

export interface GatewayConfig {
  readonly name: string;
  readonly kind: "nginx";
  readonly environment?: string;
  readonly targets: readonly string[];
  readonly secret: string;
  /** Absolute path of the file the secret stands in; a gateway on the same machine can read it there. */
  readonly secretFile?: string;
  readonly brokerUrl: string;
  /** Absolute path on the gateway's machine. Absent: the gateway's own default. */
  readonly accessLog?: string;
  /** 0: no decision cache. */
  readonly cacheMs: number;
  readonly njs: boolean;
}
