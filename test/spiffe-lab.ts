import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { onTestFinished } from "vitest";
import { createApp } from "../src/api/app.ts";
import { svidRoutes } from "../src/api/svid.ts";
import type { Config, SpiffeConfig } from "../src/config/config.ts";
import { KeyFolder } from "../src/credential/key-chain.fake.ts";
import { connectSpiffe, type Spiffe } from "../src/server/spiffe.ts";
import { harness } from "../src/session/harness.fake.ts";
import type { SvidRole } from "../src/session/svid.ts";

export const trustDomain = "acme.example";
export const gatewaySecret = "a secret of edge-1, long enough";

/** A folder that goes with the test. */
export function testFolder(): string {
  const dir = mkdtempSync(join(tmpdir(), "wayleave-spiffe-"));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

export interface SpiffeLabOptions {
  readonly spiffe?: Partial<SpiffeConfig>;
  readonly roles?: readonly SvidRole[];
  readonly dataDir?: string;
  readonly clock?: { now(): number };
}

/**
 * The broker's SPIFFE half as it runs, with files and thread, over sessions and a journal in memory. Time stands still unless
 * a clock is given.
 */
export async function spiffeLab(options: SpiffeLabOptions = {}) {
  const sessions = harness();
  const { session, refreshToken } = await sessions.exchange("token:7712:1");
  const clock = options.clock ?? sessions.clock;
  const dataDir = options.dataDir ?? testFolder();
  const keys = new KeyFolder("jwt-svid");
  const chain = await keys.open();
  const config = {
    issuer: "https://wayleave.acme.example",
    trustDomain,
    dataDir,
    keys: { encryptionKey: Buffer.alloc(32, 7).toString("base64") },
    issuers: [{ audience: "https://wayleave.acme.example" }],
    gateways: [{ name: "edge-1", secret: gatewaySecret }],
    spiffe: { svidTtlMs: 900_000, prefixes: [], federatesWith: [], ...options.spiffe },
  } as unknown as Config;
  let roles: readonly SvidRole[] = options.roles ?? [{ role: { id: "release" }, stands: true }];
  const faults: unknown[] = [];
  const connect = (): Promise<Spiffe> =>
    connectSpiffe({
      config,
      clock,
      recorder: sessions.recorder,
      jwtKeys: chain.ring,
      caller: {
        issuerUrl: config.issuer,
        proof: async () => "",
        byRefreshToken: async (token) => {
          if (token !== refreshToken) throw new TypeError("another token");
          return sessions.session(session.id);
        },
        find: () => undefined,
      },
      roles: () => roles,
      targets: () => ["billing"],
      onRefused: () => undefined,
      onFault: (error) => faults.push(error),
    });
  const spiffe = await connect();
  onTestFinished(() => spiffe.close());
  const app = createApp({ log: pino({ level: "silent" }), behindProxy: false, routes: [svidRoutes(spiffe.routes)] });
  onTestFinished(() => app.close());
  const headers = { authorization: `Bearer ${refreshToken}` };
  const send = async (
    method: "GET" | "POST",
    url: string,
    payload?: object,
    more: Record<string, string> = headers,
  ) => {
    const response = await app.inject({ method, url, headers: more, ...(payload === undefined ? {} : { payload }) });
    return { status: response.statusCode, body: response.json() };
  };
  return {
    ...sessions,
    spiffe,
    reconnect: connect,
    chain,
    config,
    dataDir,
    faults,
    id: session.id,
    setRoles: (next: readonly SvidRole[]) => {
      roles = next;
    },
    get: (url: string, more?: Record<string, string>) => send("GET", url, undefined, more),
    post: (url: string, payload: object, more?: Record<string, string>) => send("POST", url, payload, more),
  };
}

export type SpiffeLab = Awaited<ReturnType<typeof spiffeLab>>;

export const program = "openssl";

/** `openssl`, which is installed wherever these tests run. */
export function openssl(args: readonly string[]): string {
  return execFileSync(program, args, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
}

/** A request of openssl's own making, DER. `add` are lines of its `[req_ext]`. */
export function opensslCsr(dir: string, key: readonly string[], add: readonly string[] = []): Buffer {
  const config = join(dir, "req.cnf");
  const extensions = add.length > 0 ? "req_extensions = req_ext\n" : "";
  writeFileSync(
    config,
    `[req]\nprompt = no\ndistinguished_name = dn\n${extensions}[dn]\nCN = job\n[req_ext]\n${add.join("\n")}\n`,
  );
  const [der, keyFile] = [join(dir, "req.der"), join(dir, "req.key")];
  openssl(["req", "-new", "-nodes", ...key, "-keyout", keyFile, "-config", config, "-outform", "DER", "-out", der]);
  return Buffer.from(openssl(["base64", "-A", "-in", der]), "base64");
}

/** What `openssl verify -x509_strict` says of a chain, leaf first, at a time. Throws where it refuses. */
export function opensslVerify(chain: readonly Uint8Array[], roots: readonly Uint8Array[], atMs: number): string {
  const dir = testFolder();
  const pem = (ders: readonly Uint8Array[]) =>
    ders
      .map((der) => `-----BEGIN CERTIFICATE-----\n${Buffer.from(der).toString("base64")}\n-----END CERTIFICATE-----\n`)
      .join("");
  const [leaf, rest, trusted] = ["leaf.pem", "rest.pem", "roots.pem"].map((name) => join(dir, name)) as [
    string,
    string,
    string,
  ];
  writeFileSync(leaf, pem(chain.slice(0, 1)));
  writeFileSync(rest, pem(chain.slice(1)));
  writeFileSync(trusted, pem(roots));
  const at = String(Math.floor(atMs / 1000));
  const purposes = ["sslserver", "sslclient"].map((purpose) =>
    openssl([
      "verify",
      "-x509_strict",
      "-no-CApath",
      "-attime",
      at,
      "-purpose",
      purpose,
      "-CAfile",
      trusted,
      "-untrusted",
      rest,
      leaf,
    ]),
  );
  return purposes.join("");
}

export function ders(texts: readonly string[]): Buffer[] {
  return texts.map((text) => Buffer.from(text, "base64"));
}
