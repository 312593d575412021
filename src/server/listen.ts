import { chmod, mkdir, rm, stat } from "node:fs/promises";
import { connect } from "node:net";
import { dirname } from "node:path";
import type { FastifyInstance } from "fastify";
import { WayleaveError } from "../core/errors.ts";

/**
 * Listens on a Unix socket that only its owner can open. A socket left by a dead process is replaced; one that somebody
 * listens on is not. Throws `config_invalid` for a path another broker uses or that is no socket.
 */
export async function listenOnSocket(app: FastifyInstance, path: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  const found = await stat(path).catch(() => undefined);
  if (found !== undefined) {
    if (!found.isSocket())
      throw new WayleaveError("config_invalid", `${path} exists and is no socket; choose another data folder.`);
    if (await answers(path))
      throw new WayleaveError(
        "config_invalid",
        `Another broker listens on ${path}; stop it, or choose another data folder.`,
      );
    await rm(path);
  }
  await app.listen({ path });
  await chmod(path, 0o600);
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}

const cannotListen: Readonly<Record<string, string>> = {
  EADDRINUSE: "another process listens there: stop it, or choose another port",
  EADDRNOTAVAIL: "this machine has no such address: choose one of its own",
  EACCES: "this user may not: choose a port from 1024 on",
};

/** What `listen` gives. Throws `config_invalid` where the address cannot be had, naming the setting that says it. */
export async function listenAt<T>(
  at: { readonly setting: string; readonly host: string; readonly port: number },
  listen: () => Promise<T>,
): Promise<T> {
  try {
    return await listen();
  } catch (cause) {
    const { code = "" } = cause as NodeJS.ErrnoException;
    const why = cannotListen[code];
    if (why === undefined) throw cause;
    throw new WayleaveError("config_invalid", `${at.setting} ${at.host}:${at.port} cannot be had: ${why}.`, { cause });
  }
}
