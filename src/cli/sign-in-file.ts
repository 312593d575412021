import type { JsonWebKey } from "node:crypto";
import { homedir } from "node:os";
import { join } from "node:path";
import { z } from "zod";
import { WayleaveError } from "../core/errors.ts";
import type { CommandIo } from "./command-io.ts";
import { privateFolder, readPrivate, writePrivate } from "./job/private-file.ts";

const Stored = z.object({
  broker_url: z.string(),
  token: z.string(),
  key: z.record(z.string(), z.unknown()),
  /** ISO 8601. */
  expires_at: z.string(),
  ca_file: z.string().optional(),
});
const Shape = z.object({ v: z.literal(1), sign_ins: z.array(Stored) });

/** A person's sign-in at one broker, with the key it is bound to. */
export interface KeptSignIn {
  /** Without final slash. */
  readonly brokerUrl: string;
  readonly token: string;
  readonly key: JsonWebKey;
  /** ISO 8601. */
  readonly expiresAt: string;
  /** Absolute path, where `login` was given one. */
  readonly caFile?: string;
}

/** The sign-ins of this user, the latest first: a file of mode 0600 in the user's own configuration. */
export function keptSignIns(io: Pick<CommandIo, "env">): readonly KeptSignIn[] {
  const path = join(folderOf(io), "sign-ins.json");
  const text = readPrivate(path);
  if (text === undefined) return [];
  const parsed = Shape.safeParse(parseJson(text));
  if (!parsed.success) {
    throw new WayleaveError("invalid_request", `${path} is damaged. Remove it and sign in again.`);
  }
  return parsed.data.sign_ins.map(({ broker_url, token, key, expires_at, ca_file }) => ({
    brokerUrl: broker_url,
    token,
    key: key as JsonWebKey,
    expiresAt: expires_at,
    ...(ca_file === undefined ? {} : { caFile: ca_file }),
  }));
}

/** The sign-in at a broker; without one named, the latest. Undefined where there is none. */
export function findSignIn(io: Pick<CommandIo, "env">, url: string | undefined): KeptSignIn | undefined {
  return keptSignIns(io).find(({ brokerUrl }) => url === undefined || brokerUrl === withoutSlash(url));
}

/** Keeps it as the latest, in the place of the one before at the same broker. Gives the file's path. */
export function keepSignIn(io: Pick<CommandIo, "env">, signIn: KeptSignIn): string {
  return write(io, [signIn, ...others(io, signIn.brokerUrl)]);
}

export function forgetSignIn(io: Pick<CommandIo, "env">, brokerUrl: string): void {
  write(io, others(io, brokerUrl));
}

function withoutSlash(url: string): string {
  return url.replace(/\/+$/, "");
}

function others(io: Pick<CommandIo, "env">, brokerUrl: string): readonly KeptSignIn[] {
  return keptSignIns(io).filter((each) => each.brokerUrl !== brokerUrl);
}

function write(io: Pick<CommandIo, "env">, signIns: readonly KeptSignIn[]): string {
  const folder = folderOf(io);
  privateFolder(folder);
  const stored: z.infer<typeof Shape> = {
    v: 1,
    sign_ins: signIns.map(({ brokerUrl, token, key, expiresAt, caFile }) => ({
      broker_url: brokerUrl,
      token,
      key: { ...key },
      expires_at: expiresAt,
      ...(caFile === undefined ? {} : { ca_file: caFile }),
    })),
  };
  const path = join(folder, "sign-ins.json");
  writePrivate(path, `${JSON.stringify(stored)}\n`);
  return path;
}

function folderOf({ env }: Pick<CommandIo, "env">): string {
  return join(env.XDG_CONFIG_HOME || join(env.HOME || homedir(), ".config"), "wayleave");
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // damaged, as the caller says
  }
}
