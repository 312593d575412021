import { join } from "node:path";
import { z } from "zod";
import { accountNamePattern } from "./nats-account-name.ts";
import { readSealed, writeSealed } from "./sealed-file.ts";

/** What all NATS identities are made from, and the accounts that were asked for so far. */
export interface StoredNatsKeys {
  /** 32 random bytes. Whoever has them is the operator. They never change: accounts, and what they store, hang on them. */
  readonly root: Uint8Array;
  /** Names, in the order they were first asked for. */
  readonly accounts: readonly string[];
}

/** Where they are kept. */
export interface NatsKeyFile {
  /** Undefined where there is no file. Throws `key_unavailable` where it cannot be read, decrypted or understood. */
  read(): Promise<StoredNatsKeys | undefined>;
  /** Afterwards all of it is durable; where it throws or the machine stops, all or nothing of it is. */
  write(keys: StoredNatsKeys): Promise<void>;
}

/** `<dir>/nats-identities.jwe`, sealed under the operator's 32-byte key as key files are. */
export function natsKeyFile(dir: string, encryptionKey: Uint8Array): NatsKeyFile {
  const path = join(dir, "nats-identities.jwe");
  const typ = "wayleave-nats-identities";
  return {
    read: () => readSealed(path, typ, encryptionKey, parse),
    write: ({ root, accounts }) =>
      writeSealed(
        path,
        typ,
        encryptionKey,
        JSON.stringify({ v: 1, root: Buffer.from(root).toString("base64url"), accounts }),
      ),
  };
}

const Content = z.strictObject({
  v: z.literal(1),
  root: z.string().regex(/^[A-Za-z0-9_-]{43}$/),
  accounts: z.array(z.string().regex(accountNamePattern)),
});

function parse(value: unknown): StoredNatsKeys {
  const { root, accounts } = Content.parse(value);
  return { root: Buffer.from(root, "base64url"), accounts };
}
