import { createHash, type JsonWebKey } from "node:crypto";
import { closeSync, openSync, readdirSync, rmSync, statSync, unlinkSync, writeSync } from "node:fs";
import { hostname, tmpdir } from "node:os";
import { join, relative, resolve } from "node:path";
import { z } from "zod";
import { WayleaveError } from "../../core/errors.ts";
import type { CommandIo } from "../command-io.ts";
import type { CiJob } from "./ci-job.ts";
import { privateFolder, readPrivate, writePrivate } from "./private-file.ts";

const Shape = z.object({
  v: z.literal(1),
  broker_url: z.string(),
  session_id: z.string(),
  expires_at: z.string(),
  trace: z.string(),
  /** Both absent once the session was ended from here. */
  key: z.record(z.string(), z.unknown()).optional(),
  refresh_token: z.string().optional(),
  ended_at: z.string().optional(),
});

/** One job's session, as its commands pass it on. */
export interface Handle {
  readonly brokerUrl: string;
  readonly sessionId: string;
  /** ISO 8601. */
  readonly expiresAt: string;
  /** W3C trace id that everything in the job shares. */
  readonly trace: string;
  readonly credential?: { readonly key: JsonWebKey; readonly refreshToken: string };
  /** Set by `wayleave end`. */
  readonly endedAt?: string;
}

/** The folder of one job's session: outside the project, mode 0700, the same for each of the job's commands. */
export class HandleFolder {
  readonly path: string;

  constructor(io: Pick<CommandIo, "env">, job: CiJob) {
    const base = baseFolder(io.env, job.projectFolder);
    privateFolder(base);
    this.path = join(base, createHash("sha256").update(job.key).digest("hex").slice(0, 24));
    privateFolder(this.path);
  }

  read(): Handle | undefined {
    const text = readPrivate(join(this.path, "session.json"));
    if (text === undefined) return undefined;
    const parsed = Shape.safeParse(parseJson(text));
    if (!parsed.success) {
      throw new WayleaveError("invalid_request", `${this.path}/session.json is damaged. Remove it and retry.`);
    }
    const { data } = parsed;
    return {
      brokerUrl: data.broker_url,
      sessionId: data.session_id,
      expiresAt: data.expires_at,
      trace: data.trace,
      ...(data.key === undefined || data.refresh_token === undefined
        ? {}
        : { credential: { key: data.key as JsonWebKey, refreshToken: data.refresh_token } }),
      ...(data.ended_at === undefined ? {} : { endedAt: data.ended_at }),
    };
  }

  write(handle: Handle): void {
    const stored: z.infer<typeof Shape> = {
      v: 1,
      broker_url: handle.brokerUrl,
      session_id: handle.sessionId,
      expires_at: handle.expiresAt,
      trace: handle.trace,
      ...(handle.credential === undefined
        ? {}
        : { key: { ...handle.credential.key }, refresh_token: handle.credential.refreshToken }),
      ...(handle.endedAt === undefined ? {} : { ended_at: handle.endedAt }),
    };
    writePrivate(join(this.path, "session.json"), `${JSON.stringify(stored)}\n`);
  }

  /** True for the first command of the job that says it: a refusal is printed once, however many commands see it. */
  claim(name: string): boolean {
    try {
      closeSync(openSync(join(this.path, `said-${name.replaceAll(/[^a-z0-9_-]/gi, "")}`), "wx", 0o600));
      return true;
    } catch {
      return false; // somebody said it, or nothing can be written: silence is the better error
    }
  }

  /** Removes everything but the handle itself: tokens, and which refusals were said. */
  clear(): void {
    for (const name of readdirSync(this.path)) {
      if (/^(said|token)(-|$)/.test(name)) rmSync(join(this.path, name), { force: true });
    }
  }

  remove(name: string): void {
    rmSync(join(this.path, name), { force: true });
  }

  /** Runs `work` while no other command of the job does. A holder that died, or is silent for two minutes, is passed over. */
  async locked<T>(io: Pick<CommandIo, "pause" | "now">, work: () => Promise<T>): Promise<T> {
    const lock = join(this.path, "lock");
    while (!acquire(lock, io.now())) await io.pause(50);
    try {
      return await work();
    } finally {
      rmSync(lock, { force: true });
    }
  }
}

const lockStaleMs = 120_000;

function acquire(lock: string, now: number): boolean {
  try {
    const file = openSync(lock, "wx", 0o600);
    writeSync(file, JSON.stringify({ pid: process.pid, host: hostname() }));
    closeSync(file);
    return true;
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== "EEXIST") throw cause;
    if (abandoned(lock, now)) {
      try {
        unlinkSync(lock);
      } catch {
        // another command passed over it first
      }
    }
    return false;
  }
}

function abandoned(lock: string, now: number): boolean {
  try {
    if (now - statSync(lock).mtimeMs > lockStaleMs) return true;
    const holder = parseJson(readPrivate(lock) ?? "") as { pid?: unknown; host?: unknown } | undefined;
    // Process ids mean something only on the machine (or in the container) they come from.
    return typeof holder?.pid === "number" && holder.host === hostname() && !alive(holder.pid);
  } catch {
    return false; // it vanished: look again
  }
}

function alive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (cause) {
    return (cause as NodeJS.ErrnoException).code === "EPERM";
  }
}

/** The first of the usual private places that is not inside the project, whose files may become artifacts or caches. */
function baseFolder(env: CommandIo["env"], project: string | undefined): string {
  const own = `wayleave-${process.getuid?.() ?? "user"}`;
  const runtime = env.XDG_RUNTIME_DIR ? [join(env.XDG_RUNTIME_DIR, "wayleave")] : [];
  const places = [...runtime, join(env.TMPDIR || tmpdir(), own), join("/tmp", own)];
  const found = places.find((place) => project === undefined || !inside(place, project));
  if (found !== undefined) return found;
  throw new WayleaveError(
    "invalid_request",
    "Every place for the session's handle is inside the project folder. Set XDG_RUNTIME_DIR to a folder outside it.",
  );
}

/** True for the folder itself, and everything below it. */
export function inside(path: string, folder: string): boolean {
  const way = relative(resolve(folder), resolve(path));
  return way === "" || !(way.startsWith("..") || way.startsWith("/"));
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
