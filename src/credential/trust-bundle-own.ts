import { hash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { z } from "zod";
import type { Clock } from "../core/clock.ts";
import type { CertificateAuthority } from "./ca-authority.ts";
import { bundleRefreshSeconds } from "./key-windows.ts";
import type { KeyRing } from "./keys.ts";
import { writeDurably } from "./sealed-file.ts";
import { type BundleDocument, jwtEntry, rootEntry } from "./trust-bundle.ts";

/** This trust domain's own bundle, as it is at each moment. */
export interface OwnBundle {
  current(): BundleDocument;
  /** CA certificates, DER. */
  roots(): readonly Uint8Array[];
  /** Called after every change. Must not throw. Returns what stops it. */
  onChange(listener: () => void): () => void;
  /** What time alone changes: a root that expired. */
  sweep(): void;
  /** Resolves when the last sequence is written down. */
  close(): Promise<void>;
}

export interface OwnBundleOptions {
  readonly authority: Pick<CertificateAuthority, "roots" | "onChange">;
  readonly jwtKeys: Pick<KeyRing, "jwks" | "onChange">;
  /** Remembers the sequence. */
  readonly file: string;
  readonly clock: Pick<Clock, "now">;
  /** Told that the sequence could not be written down. Must not throw. */
  onFault(error: unknown): void;
}

const Remembered = z.strictObject({ sequence: z.number().int().nonnegative(), digest: z.string() });

/**
 * Opens the bundle with a sequence above every one that was served before: the number only grows, with the keys, and is at
 * least the time in seconds, so that it also grows where the file that remembers it is lost.
 *
 * @see SPIFFE Trust Domain and Bundle §4.1
 */
export async function openOwnBundle(options: OwnBundleOptions): Promise<OwnBundle> {
  const { authority, jwtKeys, file, clock, onFault } = options;
  const listeners = new Set<() => void>();
  const seconds = () => Math.floor(clock.now() / 1000);
  const keysNow = () => [...authority.roots().map(rootEntry), ...jwtKeys.jwks.keys.map((jwk) => jwtEntry({ ...jwk }))];
  const digestOf = (keys: BundleDocument["keys"]) => hash("sha256", JSON.stringify(keys));
  const write = (sequence: number, digest: string) =>
    writeDurably(file, JSON.stringify({ sequence, digest } satisfies z.infer<typeof Remembered>), 0o600);

  const before = await readRemembered(file);
  let keys: BundleDocument["keys"] = keysNow();
  let digest = digestOf(keys);
  let sequence = before?.digest === digest ? before.sequence : Math.max((before?.sequence ?? 0) + 1, seconds());
  await write(sequence, digest);
  let writing: Promise<void> = Promise.resolve();

  const look = (): void => {
    const fresh = keysNow();
    const freshDigest = digestOf(fresh);
    if (freshDigest === digest) return;
    keys = fresh;
    digest = freshDigest;
    sequence = Math.max(sequence + 1, seconds());
    // Served at once, since a revoked key must not stay for the sake of a disk.
    const now = { sequence, digest };
    writing = writing.then(() => write(now.sequence, now.digest)).catch(onFault);
    for (const listener of listeners) listener();
  };
  const stops = [authority.onChange(look), jwtKeys.onChange(look)];

  return {
    current: () => ({ keys, spiffe_sequence: sequence, spiffe_refresh_hint: bundleRefreshSeconds }),
    roots: () => authority.roots(),
    onChange(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    sweep: look,
    async close() {
      for (const stop of stops) stop();
      await writing;
    },
  };
}

async function readRemembered(file: string): Promise<z.infer<typeof Remembered> | undefined> {
  try {
    return Remembered.parse(JSON.parse(await readFile(file, "utf8")));
  } catch {
    return undefined; // a first start, or a damaged file: then the time is the sequence
  }
}
