import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { parse, stringify } from "yaml";
import { createProofKey, importProofKey, type ProofKey } from "../src/cli/job/proof-key.ts";
import { runCli } from "../src/cli/program.ts";
import { loadConfig } from "../src/config/load.ts";
import type { AuditRecord, RecordKind } from "../src/core/record.ts";
import { type RunningServer, startServer } from "../src/server.ts";
import { installBroker } from "./broker-installation.ts";
import { operatorRecords } from "./operator.ts";
import { type Accounts, type PeopleIssuer, startPeopleIssuer } from "./people-issuer.ts";

const policy = `version: 1
targets: { billing: { http: { hosts: [billing.internal] } } }
who: { shop: { gitlab: { project: acme/web/shop } } }
roles: { read: { for: [shop], allow: { billing: [GET /**] } } }
`;

/** What a command printed. */
export interface Said {
  readonly status: number;
  readonly out: string;
  readonly err: string;
}

export type PeopleWorld = Awaited<ReturnType<typeof startPeopleWorld>>;

/**
 * A broker, a directory with the device flow, and people at machines of their own. Jobs and people have one issuer and one
 * key, as GitLab's have: the hardest neighbourhood.
 */
export async function startPeopleWorld(accounts: Accounts) {
  const log = pino({ level: "silent" });
  const issuer = await startPeopleIssuer(accounts);
  const ci = { issuer: { name: "gitlab", type: "gitlab", url: issuer.url }, files: {} };
  const installed = await installBroker({ ci: async () => ci, policy, targets: ["billing"] });
  const homes = mkdtempSync(join(tmpdir(), "wayleave-people-"));
  const { url, dataDir, configPath } = installed;
  const file = parse(readFileSync(configPath, "utf8")) as Record<string, unknown>;
  const people = {
    issuer: issuer.url,
    client_id: issuer.clientId,
    roles: { operator: ["wl-operators"], auditor: ["wl-auditors"], viewer: ["wl-viewers"], approver: ["wl-approvers"] },
  };
  writeFileSync(configPath, stringify({ ...file, people }));
  let broker: RunningServer = await startServer(configOf(configPath), { log });

  return {
    url,
    dataDir,
    configPath,
    issuer,
    homes,
    bootstrapFile: join(dataDir, "bootstrap.token"),
    ...machines(homes, url, issuer),
    ...wire(url, issuer),
    async last(kind: RecordKind): Promise<AuditRecord> {
      const [record] = await operatorRecords({ broker }, `kind=${kind}&limit=1`);
      if (record === undefined) throw new Error(`no record ${kind}`);
      return record;
    },
    records: (query: string) => operatorRecords({ broker }, query),
    kept: (home: string) => keptAt(join(homes, home, ".config", "wayleave", "sign-ins.json")),
    async restart() {
      await broker.close();
      broker = await startServer(configOf(configPath), { log });
    },
    async close() {
      await broker.close();
      await issuer.close();
      installed.remove();
      rmSync(homes, { recursive: true, force: true });
    },
  };
}

/** Commands at people's own machines: a home, and a terminal that somebody reads. */
function machines(homes: string, url: string, issuer: PeopleIssuer) {
  /** A command at a person's own machine. `read` sees what is printed; what it gives is waited for at the next pause. */
  const at = async (
    home: string,
    argv: readonly string[],
    read: (text: string) => Promise<void> | undefined = () => undefined,
  ): Promise<Said> => {
    let [out, err] = ["", ""];
    let typing: Promise<void> | undefined;
    const write = (text: string) => {
      out += text;
      typing = read(text) ?? typing;
    };
    const status = await runCli(argv, {
      env: { HOME: join(homes, home), PATH: process.env.PATH },
      cwd: homes,
      stdout: { write },
      stderr: { write: (text: string) => (err += text) },
      now: Date.now,
      pause: async () => typing,
    });
    return { status, out, err };
  };
  return {
    at: (home: string, ...argv: string[]) => at(home, argv),
    /** A command as who signed in there. */
    as: (home: string, ...argv: string[]) => at(home, [...argv, "--broker", url]),
    /** `wayleave login`, and what the person does with the code. */
    signIn: (account: string, act: "approve" | "deny" = "approve") =>
      at(account, ["login", url, "--json"], (text) => {
        const { user_code: code } = JSON.parse(text) as { user_code?: string };
        if (code === undefined) return undefined;
        return act === "approve" ? issuer.approve(code, account) : issuer.deny(code);
      }),
  };
}

/** What a program sends by itself. */
function wire(url: string, issuer: PeopleIssuer) {
  return {
    /** Presents a token as the CLI does. */
    async present(token: string, body: object = { id_token: token }) {
      const to = `${url}/operator/v1/sign-in`;
      const response = await fetch(to, {
        method: "POST",
        headers: {
          "content-type": "application/json",
          dpop: createProofKey().proof({ method: "POST", url: to, nowMs: Date.now(), token }),
        },
        body: JSON.stringify(body),
      });
      return { status: response.status, body: (await response.json()) as { code?: string; detail?: string } };
    },
    /** What an honest directory would sign for an operator now. */
    claims(more: Readonly<Record<string, unknown>> = {}) {
      const now = Math.floor(Date.now() / 1000);
      const times = { iat: now, exp: now + 300 };
      return { iss: issuer.url, sub: "olga", aud: issuer.clientId, ...times, groups: ["wl-operators"], ...more };
    },
    /** A job's exchange, as curl does it. */
    async exchange(token: string) {
      const body = new URLSearchParams({
        grant_type: "urn:ietf:params:oauth:grant-type:token-exchange",
        subject_token: token,
        subject_token_type: "urn:ietf:params:oauth:token-type:id_token",
      });
      const response = await fetch(`${url}/oauth2/token`, { method: "POST", body });
      return (await response.json()) as { readonly code?: string; readonly session_id?: string };
    },
  };
}

function configOf(path: string) {
  const loaded = loadConfig({ path, env: {} });
  if (!("config" in loaded)) throw new Error(JSON.stringify(loaded.diagnostics));
  return loaded.config;
}

/** What the CLI keeps of a sign-in. */
function keptAt(path: string): { readonly token: string; readonly key: ProofKey; readonly mode: number } {
  const { sign_ins: all } = JSON.parse(readFileSync(path, "utf8")) as {
    sign_ins: readonly { token: string; key: ProofKey["jwk"] }[];
  };
  const [found] = all;
  if (found === undefined) throw new Error("nobody is signed in");
  return { token: found.token, key: importProofKey(found.key), mode: statSync(path).mode & 0o777 };
}
