import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import {
  accessSync,
  chmodSync,
  constants,
  cpSync,
  existsSync,
  lchownSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { Client } from "pg";
import { freePort } from "../demo/free-port.ts";

/** A real PostgreSQL with one cluster of its own, which keeps its promises: fsync is on. */
export interface PostgresServer {
  readonly port: number;
  /** A new, empty database and a role that owns it and may do nothing else. */
  createDatabase(name: string): Promise<TestDatabase>;
  /** Runs SQL as the superuser in a database. */
  admin(database: string, sql: string): Promise<readonly Record<string, unknown>[]>;
  /** SIGKILL, as a machine that dies. */
  kill(): Promise<void>;
  /** After `kill`: recovers and listens on the same port. */
  start(): Promise<void>;
  /** Ends it, if it runs, and removes the cluster. */
  remove(): Promise<void>;
}

export interface TestDatabase {
  readonly name: string;
  /** Without the password. */
  readonly url: string;
  readonly password: string;
}

const root = fileURLToPath(new URL("..", import.meta.url));
const superuser = "postgres";
const password = "only on loopback";

/** PostgreSQL refuses to run as root; then it runs as nobody. */
const nobody = process.getuid?.() === 0 ? { uid: 65_534, gid: 65_534 } : {};

/** The folder of postgres and initdb: of `WAYLEAVE_POSTGRES`, of the server that `make` installed, or of PATH's. */
function binaries(): string {
  const path = (process.env.PATH ?? "").split(delimiter).map((folder) => join(folder, "postgres"));
  const candidates = [process.env.WAYLEAVE_POSTGRES, join(root, ".cache/servers/bin/postgres"), ...path];
  for (const candidate of candidates) {
    if (candidate === undefined || !existsSync(candidate)) continue;
    const folder = dirname(realpathSync(candidate));
    if (executable(join(folder, "initdb"))) return reachable(folder);
  }
  throw new Error("no postgres: run `make setup`, put one on PATH, or set WAYLEAVE_POSTGRES to its path");
}

function executable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false; // absent or not executable: the next candidate
  }
}

/** Root's own checkout may lie where nobody else may go: then a copy of the server is put where everybody may. */
function reachable(bin: string): string {
  if (nobody.uid === undefined) return bin;
  let closed = false;
  for (let folder = bin; folder !== dirname(folder); folder = dirname(folder))
    closed ||= (statSync(folder).mode & 0o001) === 0;
  if (!closed) return bin;
  return join(
    kept(`server-${statSync(bin).mtimeMs}`, (folder) => cpSync(dirname(bin), folder, { recursive: true })),
    "bin",
  );
}

/** A folder that is made once on this machine, whoever comes first. */
function kept(name: string, make: (folder: string) => void): string {
  const folder = join(tmpdir(), `wayleave-postgres-${process.getuid?.() ?? 0}-${name}`);
  if (existsSync(folder)) {
    if (statSync(folder).uid !== (process.getuid?.() ?? 0)) throw new Error(`${folder} belongs to somebody else`);
    return folder;
  }
  const fresh = mkdtempSync(`${folder}.`);
  chmodSync(fresh, 0o755);
  make(join(fresh, "made"));
  try {
    renameSync(join(fresh, "made"), folder);
  } catch (error) {
    if (!existsSync(folder)) throw error; // else another process was first
  }
  rmSync(fresh, { recursive: true, force: true });
  return folder;
}

/** What initdb makes takes seconds and is always the same. */
function template(bin: string): string {
  const { mtimeMs } = statSync(join(bin, "postgres"));
  return kept(`template-${mtimeMs}`, (folder) => {
    const scratch = mkdtempSync(join(tmpdir(), "wayleave-initdb-"));
    const secret = join(scratch, "password");
    writeFileSync(secret, `${password}\n`);
    give(scratch);
    const data = join(scratch, "data");
    const options = ["-U", superuser, "--auth=scram-sha-256", `--pwfile=${secret}`, "--encoding=UTF8", "--no-locale"];
    const initdb = spawnSync(join(bin, "initdb"), ["-D", data, "--no-sync", ...options], {
      ...nobody,
      encoding: "utf8",
      env: { PATH: process.env.PATH },
    });
    if (initdb.status !== 0) throw new Error(`initdb failed:\n${initdb.stdout}${initdb.stderr}`);
    cpSync(data, folder, { recursive: true });
    rmSync(scratch, { recursive: true });
  });
}

/** To the user the server runs as. */
function give(folder: string): void {
  if (nobody.uid === undefined) return;
  lchownSync(folder, nobody.uid, nobody.gid);
  for (const entry of readdirSync(folder, { recursive: true, encoding: "utf8" }))
    lchownSync(join(folder, entry), nobody.uid, nobody.gid);
}

/** Starts a server on a free port of 127.0.0.1, on a cluster of its own in the temporary folder. */
export async function startPostgres(settings: Readonly<Record<string, string>> = {}): Promise<PostgresServer> {
  // The run's own temporary folder may be closed to everybody else.
  const { mode } = statSync(tmpdir());
  if (nobody.uid !== undefined && (mode & 0o001) === 0) chmodSync(tmpdir(), mode | 0o001);
  const bin = binaries();
  const directory = mkdtempSync(join(tmpdir(), "wayleave-postgres-"));
  const data = join(directory, "data");
  cpSync(template(bin), data, { recursive: true });
  mkdirSync(join(directory, "socket"));
  give(directory);
  chmodSync(data, 0o700);
  const port = await freePort();
  const all = {
    listen_addresses: "127.0.0.1",
    port: String(port),
    unix_socket_directories: join(directory, "socket"),
    shared_buffers: "32MB",
    max_connections: "60",
    ...settings,
  };
  const args = Object.entries(all).flatMap(([name, value]) => ["-c", `${name}=${value}`]);
  let running: { readonly gone: Promise<void>; readonly signal: (name: NodeJS.Signals) => void } | undefined;

  const start = async () => {
    // Backends of a killed server notice its death by themselves, and none may be left.
    for (let tries = 0; running === undefined; tries++) {
      try {
        running = await run(join(bin, "postgres"), ["-D", data, ...args]);
      } catch (error) {
        if (tries === 100) throw error;
      }
    }
  };
  const end = async (signal: NodeJS.Signals) => {
    running?.signal(signal);
    await running?.gone;
    running = undefined;
  };
  const admin: PostgresServer["admin"] = async (database, sql) => {
    const client = new Client({ host: "127.0.0.1", port, user: superuser, password, database });
    client.on("error", () => undefined); // the server may be killed meanwhile
    await client.connect();
    try {
      return (await client.query<Record<string, unknown>>(sql)).rows;
    } finally {
      await client.end();
    }
  };
  await start();
  return {
    port,
    admin,
    start,
    async createDatabase(name) {
      await admin(superuser, `create role ${name} login password '${name} password'`);
      await admin(superuser, `create database ${name} owner ${name}`);
      await admin(superuser, `revoke all on database ${name} from public`);
      return { name, url: `postgres://${name}@127.0.0.1:${port}/${name}`, password: `${name} password` };
    },
    kill: () => end("SIGKILL"),
    async remove() {
      await end("SIGINT"); // a fast shutdown
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

/** Resolves when it takes connections; rejects with what it said when it ends before that. */
async function run(postgres: string, args: readonly string[]) {
  const child = spawn(postgres, args, {
    ...nobody,
    stdio: ["ignore", "ignore", "pipe"],
    env: { PATH: process.env.PATH },
  });
  const gone = once(child, "exit");
  let output = "";
  const ready = new Promise<void>((resolve) => {
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      output = (output + text).slice(-10_000);
      if (output.includes("ready to accept connections")) resolve();
    });
  });
  await Promise.race([ready, gone.then(() => Promise.reject(new Error(`postgres did not start:\n${output}`)))]);
  return { gone: gone.then(() => undefined), signal: (name: NodeJS.Signals) => void child.kill(name) };
}
