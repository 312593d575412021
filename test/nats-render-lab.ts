import { randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Auth, type ConnectionOptions, connect, type Msg, type NatsConnection } from "@nats-io/transport-node";
import { type RunningNatsServer, startNatsServer } from "../demo/nats-server.ts";
import type { NatsClaims as SignedClaims } from "../src/credential/nats-claims.ts";
import { decodeNatsJwt, encodeNatsJwt } from "../src/credential/nats-jwt.ts";
import { createNkey, type Nkey } from "../src/credential/nats-nkey.ts";
import { openXkey, sealXkey } from "../src/credential/nats-xkey.ts";
import type { JetStreamLimits, NatsClaims, SignClaims } from "../src/gateway/nats/account-claims.ts";
import { renderNats } from "../src/gateway/nats/render.ts";
import { type NatsPublicKeys, natsTrust } from "../src/gateway/nats/render-jwts.ts";
import type { NatsTrust, RenderInput } from "../src/gateway/nats/settings.ts";
import { policyModel, target } from "../src/policy/policy.fake.ts";

const nkey = (kind: Nkey["kind"]) => createNkey(kind, randomBytes);
const signedBy =
  (key: Nkey): SignClaims =>
  (claims, issuedAt) =>
    encodeNatsJwt(claims as NatsClaims & SignedClaims, key, issuedAt * 1000);

/** `signing`: what the account's JWT lists; `active`: what signs users. */
export interface LabAccount {
  readonly identity: Nkey;
  signing: Nkey[];
  active: Nkey;
}

/** All keys of an installation, made for one test. */
export interface LabKeys {
  readonly operator: Nkey;
  readonly operatorSigning: Nkey;
  readonly system: { readonly account: Nkey; readonly user: Nkey };
  readonly auth: { readonly account: Nkey; readonly user: Nkey; readonly sentinel: Nkey; readonly xkey: Nkey };
  readonly issuer: Nkey;
  readonly proxy: Nkey;
  /** Of an account; made when it is first asked for. */
  account(name: string): LabAccount;
  readonly signAccounts: SignClaims;
  readonly public: NatsPublicKeys;
}

export function labKeys(): LabKeys {
  const accounts = new Map<string, LabAccount>();
  const account = (name: string): LabAccount => {
    const active = nkey("account");
    const found = accounts.get(name) ?? { identity: nkey("account"), signing: [active], active };
    accounts.set(name, found);
    return found;
  };
  const keys = {
    operator: nkey("operator"),
    operatorSigning: nkey("operator"),
    system: { account: nkey("account"), user: nkey("user") },
    auth: { account: nkey("account"), user: nkey("user"), sentinel: nkey("user"), xkey: nkey("curve") },
    issuer: nkey("account"),
    proxy: nkey("server"),
  };
  return {
    ...keys,
    account,
    signAccounts: signedBy(keys.operatorSigning),
    public: {
      operator: { name: "acme", key: keys.operator.publicKey, signingKeys: [keys.operatorSigning.publicKey] },
      system: { key: keys.system.account.publicKey, users: [keys.system.user.publicKey] },
      auth: {
        key: keys.auth.account.publicKey,
        users: [keys.auth.user.publicKey],
        xkey: keys.auth.xkey.publicKey,
        sentinel: keys.auth.sentinel.publicKey,
      },
      issuer: keys.issuer.publicKey,
      proxies: [keys.proxy.publicKey],
      account: (name) => ({
        key: account(name).identity.publicKey,
        signingKeys: account(name).signing.map(({ publicKey }) => publicKey),
      }),
    },
  };
}

export interface Lab {
  readonly keys: LabKeys;
  /** What the rendered files say. */
  readonly trust: NatsTrust;
  server(): RunningNatsServer;
  /** The broker as the system account's user. */
  system(): Promise<NatsConnection>;
  /** A client as the gateway brings it: placed in the account by the callout, allowed everything there. */
  job(account: string, name?: string): Promise<NatsConnection>;
  /** Straight to the server, with whatever is given. */
  client(options: ConnectionOptions): Promise<NatsConnection>;
  /** How many clients the callout was asked about. */
  asked(): number;
  /** Stops the server as a machine that dies, and starts it again on the same files and port. */
  restart(): Promise<void>;
  stop(): Promise<void>;
}

export interface LabOptions {
  readonly mode: "operator" | "config";
  readonly accounts?: readonly string[];
  readonly direct?: boolean;
  readonly jetstream?: JetStreamLimits | false;
  /** Further lines of `nats-server.conf`. */
  readonly more?: string;
  readonly args?: readonly string[];
  /** Nobody answers the callout. */
  readonly silent?: boolean;
  /** Those of another lab: a second server of the same installation. */
  readonly keys?: LabKeys;
}

/** The rendered files in a folder of their own, by what they need: nothing is started. */
export function renderLab(options: LabOptions & { readonly fragments?: boolean }) {
  const directory = mkdtempSync(join(tmpdir(), "wl-nats-"));
  mkdirSync(join(directory, "data"));
  const keys = options.keys ?? labKeys();
  const accounts = options.accounts ?? ["CI"];
  const { direct = false, jetstream = {} } = options;
  const sign = {
    operator: signedBy(keys.operator),
    accounts: keys.signAccounts,
    auth: signedBy(keys.auth.account),
  };
  const trust = natsTrust({ keys: keys.public, sign, direct, jetstream, issuedAt: 1_790_000_000 });
  const input: RenderInput = {
    gateway: {
      name: "bus",
      targets: accounts,
      servers: [{ host: "127.0.0.1", port: 4222, tls: false }],
      authentication: options.mode,
      direct,
      jetstream,
      dataDirectory: join(directory, "data"),
    },
    policy: policyModel({ targets: accounts.map((account) => target(account, "nats", { settings: { account } })) }),
    trust,
    ...(options.fragments === undefined ? {} : { fragments: options.fragments }),
  };
  const rendered = renderNats(input);
  for (const { path, text, mode } of rendered.files) {
    const more = path === "nats-server.conf" ? (options.more ?? "") : "";
    writeFileSync(join(directory, path), text + more, { mode });
  }
  return { directory, keys, trust, rendered, sign };
}

/**
 * A nats-server on what was rendered, with a callout that believes whoever brings `ticket:<account>:<name>` through a proxy,
 * and `token:<account>:<name>` from anywhere.
 */
export async function startLab(options: LabOptions): Promise<Lab> {
  const { mode } = options;
  const { directory, keys, trust } = renderLab(options);
  const args = options.args ?? [];
  const start = (port?: number) =>
    startNatsServer({ directory, config: "nats-server.conf", args, ...(port === undefined ? {} : { port }) });
  let server = await start().catch((error: unknown) => {
    rmSync(directory, { recursive: true });
    throw error;
  });
  const { address, port } = server;
  const opened: NatsConnection[] = [];
  const client = async (more: ConnectionOptions) => {
    const connection = await connect({ servers: address, reconnect: false, timeout: 5000, ...more });
    opened.push(connection);
    return connection;
  };
  const asUser = (user: Nkey, account: Nkey): ConnectionOptions => ({
    authenticator: (nonce) => userAuth(mode, user, account, nonce),
  });
  let asked = 0;
  const answerCallouts = async () => {
    const service = await client(asUser(keys.auth.user, keys.auth.account));
    const callback = (_error: Error | null, message: Msg) => {
      asked++;
      message.respond(answer(keys, mode, message));
    };
    service.subscribe("$SYS.REQ.USER.AUTH", { queue: "wayleave", callback });
    await service.flush();
  };
  if (options.silent !== true) await answerCallouts();
  return {
    keys,
    trust,
    server: () => server,
    client,
    asked: () => asked,
    system: () => client(asUser(keys.system.user, keys.system.account)),
    job: (account, name = "job") =>
      client({
        inboxPrefix: `_INBOX_${name}`,
        authenticator: (nonce) => proxied(keys.proxy, `ticket:${account}:${name}`, nonce),
      }),
    async restart() {
      await server.kill();
      server = await start(port);
      await answerCallouts();
    },
    async stop() {
      await Promise.all(opened.map((connection) => connection.close()));
      await server.stop();
      rmSync(directory, { recursive: true });
    },
  };
}

const unlimited = { subs: -1, data: -1, payload: -1 };
const everything = { pub: { allow: [">"] }, sub: { allow: [">"] } };

/** A user by its own key: named in the file in config mode, with a JWT of its account in operator mode. */
export function userAuth(mode: "operator" | "config", user: Nkey, account: Nkey, nonce: string | undefined): Auth {
  const sig = user.sign(Buffer.from(nonce ?? "")).toString("base64url");
  if (mode === "config") return { nkey: user.publicKey, sig };
  const claims = { sub: user.publicKey, name: "broker", nats: { type: "user", ...unlimited, ...everything } } as const;
  return { jwt: encodeNatsJwt(claims, account, Date.now()), sig };
}

/** What the gateway sends: a ticket, and proof that it is the gateway. */
export function proxied(proxy: Nkey, ticket: string, nonce: string | undefined): Auth {
  const proof = { proxy_sig: proxy.sign(Buffer.from(nonce ?? "")).toString("base64url") };
  return { auth_token: ticket, ...proof };
}

function answer(keys: LabKeys, mode: "operator" | "config", message: Msg): Uint8Array {
  const peer = message.headers?.get("Nats-Server-Xkey") ?? "";
  const { claims } = decodeNatsJwt(openXkey(keys.auth.xkey, peer, message.data).toString());
  const request = claims.nats as unknown as {
    readonly user_nkey: string;
    readonly server_id: { readonly id: string };
    readonly connect_opts: { readonly auth_token?: string };
  };
  const [kind, account = "", ...words] = (request.connect_opts.auth_token ?? "").split(":");
  const name = words.join(":").slice(0, 64);
  const now = Date.now();
  const rights = { type: "user", ...unlimited, ...everything, ...(kind === "ticket" ? { proxy_required: true } : {}) };
  const user = { sub: request.user_nkey, name, nats: rights };
  const issuer = keys.account(account);
  const jwt =
    mode === "config"
      ? encodeNatsJwt({ ...user, aud: account }, keys.issuer, now)
      : encodeNatsJwt({ ...user, nats: { ...rights, issuer_account: issuer.identity.publicKey } }, issuer.active, now);
  const nats = kind === "ticket" || kind === "token" ? { jwt } : { error: "no ticket" };
  const response = encodeNatsJwt(
    { sub: request.user_nkey, aud: request.server_id.id, nats: { type: "authorization_response", ...nats } },
    mode === "config" ? keys.issuer : keys.auth.account,
    now,
  );
  return sealXkey(keys.auth.xkey, peer, Buffer.from(response));
}
