import { randomBytes, randomUUID } from "node:crypto";
import { mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type CryptoKey, exportJWK, generateKeyPair, SignJWT } from "jose";
import { stringify } from "yaml";
import { freePort } from "../demo/free-port.ts";

/** A broker's configuration in a folder of its own, whose GitLab exists only as an uploaded key set. */
export interface Installation {
  readonly directory: string;
  readonly configPath: string;
  readonly url: string;
  readonly port: number;
  readonly gatewaySecret: string;
  /** A fresh RS256 id token of a new job. */
  subjectToken(): Promise<string>;
}

const policy = `version: 1
targets:
  billing: { http: { hosts: [billing.internal] } }
who:
  shop: { gitlab: { project: acme/shop } }
roles:
  read-billing:
    for: [shop]
    allow: { billing: ["GET /v1/invoices/**", GET /v1/health] }
`;

const issuerUrl = "https://gitlab.bench.example";

export async function makeInstallation(
  options: { durable?: "within_50ms" | "before_answer"; cache?: boolean; gateways?: readonly object[] } = {},
): Promise<Installation> {
  const directory = await mkdtemp(join(tmpdir(), "wayleave-bench-"));
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const { publicKey, privateKey } = await generateKeyPair("RS256", { extractable: true });
  const jwk = { ...(await exportJWK(publicKey)), kid: "bench", alg: "RS256", use: "sig" };
  const gatewaySecret = randomBytes(24).toString("base64url");
  const files: Record<string, string> = {
    "policy.yaml": policy,
    "jwks.json": JSON.stringify({ keys: [jwk] }),
    "encryption.key": randomBytes(32).toString("base64"),
    "edge.secret": gatewaySecret,
    "wayleave.yaml": stringify({
      issuer: url,
      trust_domain: "bench.example",
      listen: { address: `127.0.0.1:${port}` },
      policy: "./policy.yaml",
      keys: { encryption_key_file: "encryption.key" },
      durable: options.durable ?? "within_50ms",
      issuers: [{ name: "gitlab", type: "gitlab", url: issuerUrl, jwks_file: "jwks.json" }],
      gateways: [
        {
          name: "edge",
          kind: "nginx",
          targets: ["billing"],
          secret_file: "edge.secret",
          broker_url: url,
          ...(options.cache === true ? { cache: "2s", njs: true } : {}),
        },
        ...(options.gateways ?? []),
      ],
    }),
  };
  for (const [name, text] of Object.entries(files)) await writeFile(join(directory, name), text, { mode: 0o600 });
  return {
    directory,
    configPath: join(directory, "wayleave.yaml"),
    url,
    port,
    gatewaySecret,
    subjectToken: () => sign(privateKey, url),
  };
}

let jobs = 7000;

function sign(key: CryptoKey, audience: string): Promise<string> {
  const now = Math.floor(Date.now() / 1000);
  const job = String(++jobs);
  return new SignJWT({
    namespace_id: "72",
    namespace_path: "acme",
    project_id: "1042",
    project_path: "acme/shop",
    job_project_id: "1042",
    job_project_path: "acme/shop",
    job_namespace_id: "72",
    job_namespace_path: "acme",
    user_id: "1",
    user_login: "dana",
    pipeline_id: "5101",
    pipeline_source: "push",
    job_id: job,
    ref: "main",
    ref_type: "branch",
    ref_path: "refs/heads/main",
    ref_protected: "true",
    runner_id: 12,
    runner_environment: "self-hosted",
    sha: "0123456789abcdef0123456789abcdef01234567",
    project_visibility: "private",
  })
    .setProtectedHeader({ alg: "RS256", kid: "bench", typ: "JWT" })
    .setIssuer(issuerUrl)
    .setSubject("project_path:acme/shop:ref_type:branch:ref:main")
    .setAudience(audience)
    .setJti(randomUUID())
    .setIssuedAt(now)
    .setNotBefore(now - 5)
    .setExpirationTime(now + 3600)
    .sign(key);
}
