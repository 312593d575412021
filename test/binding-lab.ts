import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pino } from "pino";
import { request } from "undici";
import { parse, stringify } from "yaml";
import { createProofKey, type ProofKey } from "../src/cli/job/proof-key.ts";
import { loadConfig } from "../src/config/load.ts";
import { type RunningServer, startServer } from "../src/server.ts";
import { type CrashCi, startCrashCi, startJob } from "./broker-crash-load.ts";
import { type BrokerInstallation, installBroker } from "./broker-installation.ts";
import { type RecordStream, streamRecords } from "./record-queue.ts";

const policy = `version: 1
targets:
  billing: { http: { hosts: [billing.internal] } }
  ledger: { http: { hosts: [ledger.internal] }, proof: required }
  reports: { http: { hosts: [reports.internal] } }
who: { shop: { gitlab: { project: acme/shop } } }
roles:
  read:
    for: [shop]
    allow: { billing: ["GET /v1/**"], ledger: ["GET /v1/**"], reports: ["GET /v1/**"] }
`;

export interface TokenAnswer {
  readonly status: number;
  readonly nonce: string | undefined;
  readonly body: Readonly<Record<string, unknown>>;
}

/** What gateway `edge-1` is told about one request, or whichever gateway asks. */
export interface EdgeAnswer {
  readonly status: number;
  readonly decision: string;
  readonly reason: string;
  readonly record: string;
  readonly challenge: string;
}

export interface EdgeQuestion {
  readonly gateway?: string;
  readonly secret?: string;
  readonly target: string;
  readonly method?: string;
  readonly path?: string;
  readonly authorization: string;
  readonly dpop?: string | readonly string[];
}

/** A broker with two NGINX gateways, of which `edge-1` fronts billing and ledger, `edge-2` reports; ledger wants proofs. */
export interface BindingLab {
  readonly installation: BrokerInstallation;
  readonly url: string;
  readonly records: RecordStream;
  readonly secrets: Readonly<Record<"edge-1" | "edge-2", string>>;
  /** The CI's token of a new job. */
  subjectToken(): Promise<string>;
  /** A proof for the token endpoint, with the nonce of now unless another is given. */
  proof(key: ProofKey, more?: { readonly nonce?: string | undefined; readonly path?: string }): Promise<string>;
  token(form: Readonly<Record<string, string>>, headers?: Readonly<Record<string, string>>): Promise<TokenAnswer>;
  /** An exchange bound to a new key. */
  exchange(targets: string): Promise<Session>;
  ask(question: EdgeQuestion): Promise<EdgeAnswer>;
  restart(): Promise<void>;
  close(): Promise<void>;
}

/** A job that holds a key. */
export interface Session {
  readonly key: ProofKey;
  readonly id: string;
  readonly accessToken: string;
  readonly refreshToken: string;
  readonly type: string;
}

export const exchangeGrant = {
  grant_type: "urn:ietf:params:oauth:grant-type:token-exchange",
  subject_token_type: "urn:ietf:params:oauth:token-type:id_token",
};

export async function startBindingLab(settings: Readonly<Record<string, unknown>> = {}): Promise<BindingLab> {
  let ci: CrashCi | undefined;
  const installation = await installBroker({
    policy,
    targets: ["billing", "ledger"],
    ci: async (url) => {
      ci = await startCrashCi(url);
      return ci.part;
    },
  });
  if (ci === undefined) throw new TypeError("the installation has a CI");
  const { gitlab } = ci;
  const crash = ci;
  const { url, directory, configPath, gatewaySecret } = installation;
  const secrets = { "edge-1": gatewaySecret, "edge-2": "the-secret-of-the-other-edge" };
  writeFileSync(join(directory, "edge-2.secret"), secrets["edge-2"], { mode: 0o600 });
  const config = parse(readFileSync(configPath, "utf8")) as { gateways: object[] };
  const second = { name: "edge-2", kind: "nginx", targets: ["reports"], secret_file: "edge-2.secret", broker_url: url };
  writeFileSync(configPath, stringify({ ...config, ...settings, gateways: [...config.gateways, second] }));
  let broker = await start(configPath);
  let records = await streamRecords(installation.adminSocket);

  const subjectToken = () => gitlab.idToken(startJob(crash), { aud: url });
  const proof: BindingLab["proof"] = async (key, { nonce, path = "/oauth2/token" } = {}) => {
    const current = nonce ?? (await token({ grant_type: "none" }, { dpop: "x" })).nonce;
    return key.proof({ method: "POST", url: url + path, nowMs: Date.now(), nonce: current });
  };
  const token: BindingLab["token"] = (form, headers) => askToken(url, form, headers);
  return {
    installation,
    url,
    get records() {
      return records;
    },
    secrets,
    subjectToken,
    proof,
    token,
    async exchange(audience) {
      const key = createProofKey();
      const form = { ...exchangeGrant, subject_token: await subjectToken(), audience };
      const { status, body } = await token(form, { dpop: await proof(key) });
      if (status !== 200) throw new Error(`the exchange answered ${status}: ${JSON.stringify(body)}`);
      const text = (name: string) => String(body[name]);
      return {
        key,
        id: text("session_id"),
        accessToken: text("access_token"),
        refreshToken: text("refresh_token"),
        type: text("token_type"),
      };
    },
    ask: (question) => ask(url, secrets, question),
    async restart() {
      records.close();
      await broker.close();
      broker = await start(configPath);
      records = await streamRecords(installation.adminSocket);
    },
    async close() {
      records.close();
      await broker.close();
      await gitlab.close();
      installation.remove();
    },
  };
}

async function start(path: string): Promise<RunningServer> {
  const loaded = loadConfig({ path, env: {} });
  if (!("config" in loaded)) throw new Error(JSON.stringify(loaded.diagnostics));
  return startServer(loaded.config, { log: pino({ level: "silent" }) });
}

async function askToken(
  url: string,
  form: Readonly<Record<string, string>>,
  headers: Readonly<Record<string, string>> = {},
): Promise<TokenAnswer> {
  const {
    statusCode,
    headers: answered,
    body,
  } = await request(`${url}/oauth2/token`, {
    method: "POST",
    headers: { "content-type": "application/x-www-form-urlencoded", ...headers },
    body: new URLSearchParams(form).toString(),
  });
  const nonce = answered["dpop-nonce"];
  return {
    status: statusCode,
    nonce: typeof nonce === "string" ? nonce : undefined,
    body: (await body.json()) as TokenAnswer["body"],
  };
}

/** Asks as a rendered NGINX does. */
async function ask(url: string, secrets: BindingLab["secrets"], question: EdgeQuestion): Promise<EdgeAnswer> {
  const { gateway = "edge-1", target, method = "GET", path = "/v1/entries", authorization, dpop } = question;
  const { statusCode, headers, body } = await request(`${url}/authz/nginx`, {
    headers: {
      "x-wayleave-gateway": gateway,
      "x-wayleave-gateway-secret": question.secret ?? secrets[gateway as keyof typeof secrets],
      "x-wayleave-target": target,
      "x-original-method": method,
      "x-original-host": `${target}.internal`,
      "x-original-uri": path,
      authorization,
      ...(dpop === undefined ? {} : { dpop: dpop as string }),
    },
  });
  await body.dump();
  const header = (name: string) => String(headers[name] ?? "");
  return {
    status: statusCode,
    decision: header("x-wayleave-decision"),
    reason: header("x-wayleave-reason"),
    record: header("x-wayleave-record"),
    challenge: header("www-authenticate"),
  };
}
