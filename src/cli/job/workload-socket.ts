import { chmodSync, readdirSync, rmSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { join } from "node:path";
import { WayleaveError } from "../../core/errors.ts";
import type { CommandIo } from "../command-io.ts";
import { privateFolder } from "./private-file.ts";
import type { SvidSource } from "./svid-source.ts";
import type { WorkloadServer } from "./workload-server.ts";

/** The job's SPIFFE Workload API, waiting for somebody who wants it. */
export interface WorkloadSocket {
  /** `unix:///…`, for SPIFFE_ENDPOINT_SOCKET. */
  readonly url: string;
  close(): Promise<void>;
}

export interface WorkloadSocketOptions {
  /** The job's own folder, mode 0700. */
  readonly folder: string;
  /** Tells this command's socket from those of the job's others. */
  readonly lease: string;
  source(): Promise<SvidSource>;
}

/** `sun_path` with its final zero is 104 bytes on macOS, 108 on Linux; the server behind adds three to the name. */
const longestPath = 100;
const maxConnections = 256;
const prefix = "spiffe-";

/**
 * Opens the socket, mode 0600 in a folder of mode 0700: whoever may open it is the job. Everything behind it is loaded when
 * somebody says the first word, since few commands want it. Gives undefined, and says why, where no socket can be opened: the
 * command runs all the same, without SPIFFE identities.
 */
export async function openWorkloadSocket(
  io: Pick<CommandIo, "now" | "stderr">,
  options: WorkloadSocketOptions,
): Promise<WorkloadSocket | undefined> {
  const sockets = new Set<Socket>();
  let behind: Promise<WorkloadServer> | undefined;

  async function start(): Promise<WorkloadServer> {
    try {
      const { startWorkloadServer } = await import("./workload-server.ts");
      return await startWorkloadServer(io, { path: `${place.path}.in`, source: await options.source() });
    } catch (error) {
      behind = undefined; // the next connection tries again
      io.stderr.write(`wayleave: the SPIFFE Workload API could not start (${reasonOf(error)})\n`);
      throw error;
    }
  }

  const server = createServer((socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
    socket.on("error", () => undefined); // the workload's doing; "close" follows
    // A client speaks first. Who leaves without a word only looked whether somebody listens.
    socket.once("readable", () => {
      if (socket.readableLength === 0) {
        socket.destroy();
        return;
      }
      behind ??= start();
      behind.then(
        ({ path }) => relay(socket, path),
        () => socket.destroy(),
      );
    });
  });
  server.maxConnections = maxConnections;
  let place: SocketPlace;
  try {
    place = socketPlace(options);
    await listen(server, place.path);
  } catch (error) {
    io.stderr.write(`wayleave: no SPIFFE Workload API here: its socket cannot be opened (${reasonOf(error)})\n`);
    return undefined;
  }
  const swept = sweep(place.folder);
  return {
    url: `unix://${place.path}`,
    async close() {
      const closed = new Promise((resolve) => server.close(resolve));
      const started = await behind?.catch(() => undefined);
      await started?.close();
      for (const socket of sockets) socket.destroy();
      await Promise.all([closed, swept]);
      rmSync(place.path, { force: true });
    },
  };
}

interface SocketPlace {
  readonly folder: string;
  readonly path: string;
}

/** In the job's folder, or, where its path is too long for a socket, in this user's own under /tmp. Throws for one that is not. */
function socketPlace({ folder, lease }: WorkloadSocketOptions): SocketPlace {
  const name = `${prefix}${lease}`;
  const path = join(folder, name);
  if (Buffer.byteLength(path) <= longestPath) return { folder, path };
  const short = `/tmp/wayleave-${process.getuid?.() ?? "user"}`;
  privateFolder(short);
  return { folder: short, path: join(short, name) };
}

async function listen(server: Server, path: string): Promise<void> {
  await new Promise<void>((resolve, reject) => server.once("error", reject).listen(path, resolve));
  chmodSync(path, 0o600);
}

/** Passes a connection on to the server that speaks gRPC, both ways, until either side closes it. */
function relay(socket: Socket, path: string): void {
  if (socket.destroyed) return;
  const inner = connect(path);
  inner.on("error", () => undefined);
  inner.once("close", () => socket.destroy());
  socket.once("close", () => inner.destroy());
  socket.pipe(inner).pipe(socket);
}

/** Removes the sockets of commands that were killed: nobody listens there any more. */
async function sweep(folder: string): Promise<void> {
  const names = readdirSync(folder).filter((name) => name.startsWith(prefix));
  await Promise.all(
    names.map(async (name) => {
      const path = join(folder, name);
      if (await abandoned(path)) rmSync(path, { force: true });
    }),
  );
}

function abandoned(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = connect(path);
    probe.once("connect", () => {
      probe.destroy();
      resolve(false);
    });
    probe.once("error", ({ code }: NodeJS.ErrnoException) => resolve(code === "ECONNREFUSED"));
  });
}

function reasonOf(error: unknown): string {
  if (error instanceof WayleaveError) return error.message;
  return (error as NodeJS.ErrnoException).code ?? (error instanceof Error ? error.name : "unknown cause");
}
