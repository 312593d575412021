import { randomBytes, randomUUID } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { exportJWK, generateKeyPair, SignJWT } from "jose";
import { request } from "undici";
import { stringify } from "yaml";
import { freePort } from "../demo/free-port.ts";
import { createJobClient } from "../demo/job-client.ts";
import { type RunningNatsServer, startNatsServer } from "../demo/nats-server.ts";
import { startWayleave } from "../demo/wayleave-process.ts";
import { LoadClient, type LoadCredential } from "./nats-load.ts";
import { endWithUs, keepAway, type MeasuredProcess, startMeasured } from "./nats-process.ts";

/** A broker with its NATS gateway in a process of its own, and a real nats-server behind it. */
export interface NatsInstallation {
  readonly authentication: "operator" | "config";
  readonly broker: MeasuredProcess;
  /** Where jobs connect. */
  readonly gatewayPort: number;
  readonly server: RunningNatsServer;
  /** A static user, let in by the server itself without a callout. Config mode only. */
  readonly staticUser: LoadCredential;
  /** A fresh CI token of a new job. */
  subjectToken(): Promise<string>;
  /** Opens a session. `durable` and `fast` are the targets. */
  session(): Promise<NatsJob>;
  close(): Promise<void>;
}

export interface NatsJob {
  /** The password of `wayleave nats env` for a target. */
  password(target: "durable" | "fast"): Promise<LoadCredential>;
  /** Resolves when the end is durable. */
  end(): Promise<void>;
}

const policy = `version: 1
targets:
  durable: { nats: { account: CI } }
  fast: { nats: { account: FAST, records: fast } }
who:
  shop: { gitlab: { project: acme/shop } }
roles:
  messages:
    for: [shop]
    allow:
      durable: ["pub build.status.\${job.project_id}.*", "sub build.status.\${job.project_id}.>"]
      fast: ["pub build.status.\${job.project_id}.*", "sub build.status.\${job.project_id}.>"]
`;

/** What every benchmark publishes to; policy fills the project's id in. */
export const subjectAt = (at: number): string => `build.status.1042.step-${at}`;

const issuerUrl = "https://gitlab.bench.example";
const secretText = () => randomBytes(24).toString("base64url");

/** Installs as an operator would: configuration, `serve`, `render nats`, nats-server. Journal and streams lie on `base`. */
export async function startNatsInstallation(options: {
  readonly authentication: "operator" | "config";
  readonly base?: string;
}): Promise<NatsInstallation> {
  const { authentication, base = tmpdir() } = options;
  const directory = mkdtempSync(join(base, "wayleave-bench-nats-"));
  process.once("exit", () => rmSync(directory, { recursive: true, force: true }));
  const [brokerPort, gatewayPort, serverPort] = [await freePort(), await freePort(), await freePort()];
  const url = `http://127.0.0.1:${brokerPort}`;
  const { publicKey, privateKey } = await generateKeyPair("RS256", { extractable: true });
  const jwk = { ...(await exportJWK(publicKey)), kid: "bench", alg: "RS256", use: "sig" };
  const file = {
    ...{ issuer: url, trust_domain: "bench.example", listen: { address: `127.0.0.1:${brokerPort}` } },
    ...{ data: "./data", policy: "./policy.yaml", keys: { encryption_key_file: "encryption.key" } },
    issuers: [{ name: "gitlab", type: "gitlab", url: issuerUrl, jwks_file: "jwks.json" }],
    gateways: [
      {
        ...{ name: "bus", kind: "nats", targets: ["durable", "fast"], secret_file: "bus.secret", authentication },
        ...{ listen: `127.0.0.1:${gatewayPort}`, servers: [`nats://127.0.0.1:${serverPort}`] },
      },
    ],
  };
  const write = (name: string, text: string) => writeFileSync(join(directory, name), text, { mode: 0o600 });
  write("policy.yaml", policy);
  write("jwks.json", JSON.stringify({ keys: [jwk] }));
  write("encryption.key", randomBytes(32).toString("base64"));
  write("bus.secret", secretText());
  write("wayleave.yaml", stringify(file));
  const configPath = join(directory, "wayleave.yaml");
  const broker = await startMeasured("server-process.ts", [configPath]);
  const { server, staticUser } = await startServer({ directory, configPath, authentication, port: serverPort });
  const client = createJobClient(url, "");
  const session = async () => {
    const { status, body } = await client.exchange(await sign(privateKey, url));
    if (status !== 200) throw new Error(`the exchange answered ${status}: ${JSON.stringify(body)}`);
    return jobOf(url, String(body.refresh_token));
  };
  await letIn(gatewayPort, await (await session()).password("durable"));
  return {
    ...{ authentication, broker, gatewayPort, server, staticUser, session },
    subjectToken: () => sign(privateKey, url),
    async close() {
      await client.close();
      await broker.stop();
      await server.stop();
    },
  };
}

/** The broker reaches a server that starts after it within a second or so. */
async function letIn(port: number, credential: LoadCredential): Promise<void> {
  for (let tries = 0; ; tries++) {
    try {
      (await LoadClient.open(port, credential)).close();
      return;
    } catch (error) {
      if (tries >= 100) throw error;
    }
    await pause(50);
  }
}

function jobOf(url: string, token: string): NatsJob {
  const call = async (path: string, body: unknown) => {
    const headers = { authorization: `Bearer ${token}`, "content-type": "application/json" };
    const { statusCode, body: answer } = await request(`${url}${path}`, {
      ...{ method: "POST", headers, body: JSON.stringify(body) },
    });
    const text = await answer.text();
    if (statusCode >= 300) throw new Error(`${path} answered ${statusCode}: ${text}`);
    return text;
  };
  return {
    async password(target) {
      const { user, password } = JSON.parse(await call("/v1/session/nats", { target, form: "password" })) as {
        readonly user: string;
        readonly password: string;
      };
      return { user, pass: password };
    },
    end: async () => void (await call("/v1/session/end", {})),
  };
}

async function startServer(at: {
  readonly directory: string;
  readonly configPath: string;
  readonly authentication: "operator" | "config";
  readonly port: number;
}) {
  const folder = join(at.directory, "nats");
  mkdirSync(folder, { mode: 0o700 });
  const rendering = ["render", "nats", "--config", at.configPath, "--out", folder, "--data", join(folder, "data")];
  await startWayleave(rendering, at.directory).exited(0);
  const staticUser = { user: "static", pass: secretText() };
  if (at.authentication === "config") addStaticUser(folder, staticUser);
  const server = await startNatsServer({ directory: folder, config: "nats-server.conf", port: at.port });
  endWithUs(server.pid);
  keepAway(server.pid);
  return { server, staticUser };
}

/** As an operator adds a service of their own: a user of the jobs' account that the callout is not asked about. */
function addStaticUser(folder: string, { user, pass }: { readonly user: string; readonly pass: string }): void {
  change(join(folder, "wayleave-accounts.conf"), /"?CI"? \{/, (found) => {
    const rights = '{ publish: ">", subscribe: ">" }';
    return `${found}\n  users: [ { user: "${user}", password: "${pass}", permissions: ${rights} } ]`;
  });
  change(join(folder, "wayleave.conf"), /auth_users: \[/, (found) => `${found} "${user}",`);
}

function change(path: string, what: RegExp, into: (found: string) => string): void {
  const text = readFileSync(path, "utf8");
  if (!what.test(text)) throw new Error(`${path} does not hold ${what}`);
  writeFileSync(path, text.replace(what, into));
}

let jobs = 7000;

function sign(key: Parameters<SignJWT["sign"]>[0], audience: string): Promise<string> {
  const now = Math.floor(Date.now() / 1000);
  return new SignJWT({
    ...{ namespace_id: "72", namespace_path: "acme", project_id: "1042", project_path: "acme/shop" },
    ...{ job_project_id: "1042", job_project_path: "acme/shop", job_namespace_id: "72", job_namespace_path: "acme" },
    ...{ user_id: "1", user_login: "dana", pipeline_id: "5101", pipeline_source: "push", job_id: String(++jobs) },
    ...{ ref: "main", ref_type: "branch", ref_path: "refs/heads/main", ref_protected: "true" },
    ...{ runner_id: 12, runner_environment: "self-hosted", project_visibility: "private" },
    sha: "0123456789abcdef0123456789abcdef01234567",
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
