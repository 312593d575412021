import { join } from "node:path";
import type { JWK } from "jose";
import { z } from "zod";
import type { KeyClass, KeyLife } from "./key-life.ts";
import { readSealed, writeSealed } from "./sealed-file.ts";

/** A key as it is kept: its life, and its private JWK for as long as that is of use. */
export interface StoredKey extends KeyLife {
  readonly jwk?: JWK;
}

/** Where the keys of one class are kept. */
export interface KeyFile {
  /** Undefined where there is no file. Throws `key_unavailable` where it cannot be read, decrypted or understood. */
  read(): Promise<readonly StoredKey[] | undefined>;
  /** Afterwards all of it is durable; where it throws or the machine stops, all or nothing of it is. */
  write(keys: readonly StoredKey[]): Promise<void>;
}

/**
 * `<dir>/<class>.jwe`: a JWE (`dir`, A256GCM) under the operator's 32-byte key. The class is bound in as header, so files
 * cannot be swapped.
 *
 * @see RFC 7516, RFC 7518 §4.5
 */
export function keyFile(dir: string, keyClass: KeyClass, encryptionKey: Uint8Array): KeyFile {
  const path = join(dir, `${keyClass}.jwe`);
  const typ = `wayleave-keys+${keyClass}`;
  return {
    read: () => readSealed(path, typ, encryptionKey, parseKeys),
    write: (keys) => writeSealed(path, typ, encryptionKey, JSON.stringify(content(keys))),
  };
}

const ms = z.number().nonnegative();
const Jwk = z.looseObject({ kid: z.string().min(1), kty: z.string() });
const Content = z.object({
  /** Private keys. The one that signs is the last, which is all that files had to say before keys had states. */
  keys: z.array(Jwk),
  lives: z
    .array(
      z.object({
        kid: z.string().min(1),
        state: z.enum(["staged", "prepared", "active", "retiring", "retired", "revoked"]),
        createdAt: ms,
        publishedAt: ms.exactOptional(),
        usableAt: ms.exactOptional(),
        activatedAt: ms.exactOptional(),
        stoppedAt: ms.exactOptional(),
        lifeMs: ms,
      }),
    )
    .optional(),
});

function content(keys: readonly StoredKey[]): z.input<typeof Content> {
  const private_ = keys.filter(({ jwk }) => jwk !== undefined);
  const inOrder = [...private_.filter(notActive), ...private_.filter((key) => !notActive(key))];
  return {
    keys: inOrder.map(({ jwk }) => Jwk.parse(jwk)),
    lives: keys.map(({ jwk: _private, ...life }) => life),
  };
}

function notActive({ state }: KeyLife): boolean {
  return state !== "active";
}

/** A file without states is of the first form: its last key signs, and the others may have tokens out. */
function parseKeys(value: unknown, writtenAt: number): readonly StoredKey[] {
  const { keys, lives } = Content.parse(value);
  if (lives !== undefined) {
    const jwks = new Map(keys.map((jwk) => [jwk.kid, jwk as JWK]));
    return lives.map((life) => {
      const jwk = jwks.get(life.kid);
      return jwk === undefined ? life : { ...life, jwk };
    });
  }
  if (keys.length === 0) throw new TypeError("no key");
  return keys.map((jwk, at) => ({
    kid: jwk.kid,
    state: at === keys.length - 1 ? "active" : "retiring",
    createdAt: Math.floor(writtenAt),
    lifeMs: 0,
    jwk: jwk as JWK,
  }));
}
