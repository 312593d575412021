import { appendFile, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import {
  type Authenticator,
  type ConnectionOptions,
  connect,
  jwtAuthenticator,
  type NatsConnection,
  nkeyAuthenticator,
  usernamePasswordAuthenticator,
} from "@nats-io/transport-node";
import { freePort } from "../demo/free-port.ts";
import type { NatsWorld } from "../demo/nats-world.ts";
import type { NatsGatewayConfig } from "../src/config/config.ts";
import { openKeyChain } from "../src/credential/key-chain.ts";
import type { StoredKey } from "../src/credential/key-file.ts";
import { encodeNatsJwt } from "../src/credential/nats-jwt.ts";
import { natsKeyFile } from "../src/credential/nats-key-file.ts";
import { type NatsKeys, openNatsKeys } from "../src/credential/nats-keys.ts";
import { createNkey, type Nkey } from "../src/credential/nats-nkey.ts";

type Mode = NatsGatewayConfig["authentication"];

/** Name and password of the administrator in config mode. */
const admin = "test-admin";
const unlimited = { subs: -1, data: -1, payload: -1, pub: { allow: [">"] }, sub: { allow: [">"] } };

/** The broker's NATS identities, read from its data folder; the generations of signing keys are the broker's own matter. */
export async function identitiesOf({ config }: Pick<NatsWorld, "config">): Promise<NatsKeys> {
  const operatorKey = Buffer.from(config.keys.encryptionKey, "base64");
  let stored: readonly StoredKey[] | undefined;
  return openNatsKeys({
    file: { ...natsKeyFile(join(config.dataDir, "keys"), operatorKey), write: async () => undefined },
    signing: {
      read: async () => stored,
      write: async (written) => {
        stored = written;
      },
    },
    openChain: (file) =>
      openKeyChain({
        class: "nats",
        file,
        history: [],
        recorder: { append: async () => [] },
        clock: { now: Date.now },
        windowMs: 0,
        lifeMs: 3_600_000,
        onFault: () => undefined,
      }),
    random: () => {
      throw new TypeError("the broker made its identities when it started");
    },
  });
}

/** What the installation's own administrators have: users of the jobs' accounts and of the system account. */
export interface Administrator {
  /** A user of the account who may do everything there, straight at the server; `past` the gateway as operators are. */
  connect(account: string, more?: ConnectionOptions): Promise<NatsConnection>;
  /** The system account's own user: asks servers, kicks, pushes. */
  system(more?: ConnectionOptions): Promise<NatsConnection>;
  /** The callout's own user: whoever has its key could answer callouts. */
  service(more?: ConnectionOptions): Promise<NatsConnection>;
}

/**
 * Gives a stopped-and-started world its administrator and monitoring. In operator mode a user JWT that the account signs; in
 * config mode a user added to the rendered accounts, and to those whom the callout is not asked about.
 */
export async function administer(world: NatsWorld, mode: Mode, accounts: readonly string[]): Promise<Administrator> {
  const folder = join(world.directory, "nats");
  const monitoring = await freePort();
  await appendFile(join(folder, "nats-server.conf"), `http: "127.0.0.1:${monitoring}"\n`);
  if (mode === "config") await addAdministrator(folder, accounts);
  await world.stopServer();
  await world.restartServer();
  const keys = await identitiesOf(world);
  await settled(world);
  const own = (user: Nkey, account: Nkey) => ({
    authenticator:
      mode === "operator" ? jwtAuthenticator(userJwt(user, account), seedOf(user)) : nkeyAuthenticator(seedOf(user)),
  });
  const open = (options: ConnectionOptions) =>
    connect({ servers: `127.0.0.1:${world.server.port}`, maxReconnectAttempts: -1, reconnectTimeWait: 50, ...options });
  return {
    connect: async (account, more) => open({ authenticator: await userOf(keys, mode, account), ...more }),
    system: (more) => open({ ...own(keys.system.user, keys.system.account), ...more }),
    service: (more) => open({ ...own(keys.auth.service, keys.auth.account), ...more }),
  };
}

/** The account must have been made known to the servers: a job that connected has seen to that. */
async function userOf(keys: NatsKeys, mode: Mode, account: string): Promise<Authenticator> {
  if (mode === "config") return usernamePasswordAuthenticator(`${admin}-${account}`, admin);
  const { identity } = await keys.account(account);
  const user = createNkey("user", (bytes) => crypto.getRandomValues(new Uint8Array(bytes)));
  return jwtAuthenticator(userJwt(user, identity), seedOf(user));
}

function userJwt(user: Nkey, account: Nkey): string {
  const claims = { sub: user.publicKey, name: admin, nats: { type: "user", ...unlimited } };
  return encodeNatsJwt(claims, account, Date.now());
}

const seedOf = ({ seed }: Nkey) => new TextEncoder().encode(seed);

async function addAdministrator(folder: string, accounts: readonly string[]): Promise<void> {
  await edit(join(folder, "wayleave-accounts.conf"), (text) =>
    accounts.reduce((before, account) => {
      const rights = `permissions: { publish: ">", subscribe: ">" }`;
      const user = `users: [ { user: "${admin}-${account}", password: "${admin}", ${rights} } ]`;
      return before.replace(`"${account}" {`, `"${account}" {\n  ${user}`);
    }, text),
  );
  const names = accounts.map((account) => `"${admin}-${account}"`).join(", ");
  await edit(join(folder, "wayleave.conf"), (text) => text.replace("auth_users: [ ", `auth_users: [ ${names}, `));
}

async function edit(path: string, change: (text: string) => string): Promise<void> {
  const before = await readFile(path, "utf8");
  const after = change(before);
  if (after === before) throw new TypeError(`${path} is not what is rendered today`);
  await writeFile(path, after);
}

/** Resolves when the broker's two connections are at the server. */
export async function settled(world: Pick<NatsWorld, "directory">): Promise<void> {
  for (;;) {
    const { connections } = await monitored<Connz>(world, "connz");
    const here = (name: string) => connections.some((each) => each.name === name && each.subscriptions > 0);
    if (here("wayleave-callout") && here("wayleave-system")) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

export interface Connz {
  readonly connections: readonly {
    readonly cid: number;
    readonly name?: string;
    readonly subscriptions: number;
    readonly account?: string;
    readonly authorized_user?: string;
    /** Of the key that signed its user. */
    readonly issuer_key?: string;
    readonly in_msgs: number;
    readonly out_msgs: number;
  }[];
}

export interface Accstatz {
  readonly account_statz: readonly {
    readonly name: string;
    readonly received: { readonly msgs: number; readonly bytes: number };
    readonly sent: { readonly msgs: number; readonly bytes: number };
  }[];
}

/** One of the server's monitoring pages. */
export async function monitored<T>(world: Pick<NatsWorld, "directory">, page: string): Promise<T> {
  const conf = await readFile(join(world.directory, "nats", "nats-server.conf"), "utf8");
  const at = /^http: "([^"]+)"$/m.exec(conf)?.[1];
  if (at === undefined) throw new TypeError("the server has no monitoring");
  return (await (await fetch(`http://${at}/${page}`)).json()) as T;
}
