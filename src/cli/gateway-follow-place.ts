import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { z } from "zod";
import { WayleaveError } from "../core/errors.ts";
import type { TailPlace } from "./gateway-log-tail.ts";

const Place = z.strictObject({
  inode: z.string().max(80),
  head: z.string().max(80),
  headBytes: z.int().min(0).max(1024),
  offset: z.int().min(0),
});

/** The place kept in a file; undefined for none. One that cannot be understood is none: the broker knows what it has. */
export function readPlace(path: string): TailPlace | undefined {
  try {
    return Place.parse(JSON.parse(readFileSync(path, "utf8")));
  } catch {
    return undefined;
  }
}

/** Replaces the file at once and whole. Throws `invalid_request` where it cannot be written: the place would be lost. */
export function writePlace(path: string, place: TailPlace): void {
  try {
    writeFileSync(`${path}.new`, `${JSON.stringify(place)}\n`, { mode: 0o600 });
    renameSync(`${path}.new`, path);
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    throw new WayleaveError("invalid_request", `${path} cannot be written (${code}); give another file with --state.`, {
      cause,
    });
  }
}
