import { randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { stringify } from "yaml";
import { freePort } from "../demo/free-port.ts";
import { createPrivateCa } from "../demo/gitlab/certificate.ts";
import type { CiPart } from "../demo/world.ts";

/** A broker's folder as an operator lays it out; nothing runs yet. */
export interface BrokerInstallation {
  readonly directory: string;
  readonly configPath: string;
  readonly dataDir: string;
  readonly policyPath: string;
  readonly url: string;
  readonly gatewaySecret: string;
  readonly adminSocket: string;
  readonly encryptionKey: string;
  remove(): void;
}

export interface BrokerInstallationOptions {
  readonly ci: (brokerUrl: string, ca: ReturnType<typeof createPrivateCa>) => Promise<CiPart>;
  readonly policy: string;
  readonly targets: readonly string[];
  /** More of gateway `edge-1`. */
  readonly gateway?: Readonly<Record<string, unknown>>;
  /** More of the configuration. */
  readonly more?: Readonly<Record<string, unknown>>;
  readonly durable?: "within_50ms" | "before_answer";
  /** A PostgreSQL database instead of the data folder. */
  readonly database?: { readonly url: string; readonly password: string };
  readonly logLevel?: "debug" | "info" | "warn" | "error";
}

/** Writes `wayleave.yaml` with one NGINX gateway `edge-1`, a policy folder and the secrets into a new folder under /tmp. */
export async function installBroker(options: BrokerInstallationOptions): Promise<BrokerInstallation> {
  const directory = mkdtempSync(join(tmpdir(), "wayleave-broker-"));
  const ca = createPrivateCa(Date.now());
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const { issuer, files } = await options.ci(url, ca);
  const gatewaySecret = randomBytes(24).toString("base64url");
  const encryptionKey = randomBytes(32).toString("base64");
  const { database } = options;
  const store =
    database === undefined
      ? {}
      : { store: { postgres: { url: database.url, password_file: "database.password", stale_after: "2s" } } };
  const password = database === undefined ? {} : { "database.password": database.password };
  const secrets = {
    "ca.pem": ca.ca,
    "encryption.key": encryptionKey,
    "edge-1.secret": gatewaySecret,
    ...files,
    ...password,
  };
  for (const [name, text] of Object.entries(secrets)) writeFileSync(join(directory, name), text, { mode: 0o600 });
  const policyPath = join(directory, "policy");
  mkdirSync(policyPath);
  writeFileSync(join(policyPath, "policy.yaml"), options.policy);
  const configPath = join(directory, "wayleave.yaml");
  const gateway = { name: "edge-1", kind: "nginx", targets: options.targets, secret_file: "edge-1.secret" };
  const config = {
    issuer: url,
    trust_domain: "acme.example",
    listen: { address: `127.0.0.1:${port}` },
    data: "./data",
    policy: "./policy",
    keys: { encryption_key_file: "encryption.key" },
    ...store,
    durable: options.durable ?? "within_50ms",
    log: { level: options.logLevel ?? "warn" },
    issuers: [issuer],
    gateways: [{ ...gateway, broker_url: url, ...options.gateway }],
    ...options.more,
  };
  writeFileSync(configPath, stringify(config));
  const dataDir = join(directory, "data");
  const remove = () => rmSync(directory, { recursive: true, force: true });
  const adminSocket = join(dataDir, "admin.sock");
  return { directory, configPath, dataDir, policyPath, url, gatewaySecret, adminSocket, encryptionKey, remove };
}
