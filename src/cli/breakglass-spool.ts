import { type FileHandle, mkdir, open, readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { BreakglassUse } from "../core/breakglass-record.ts";
import { WayleaveError } from "../core/errors.ts";

/** Uses on disk, in order, until the broker has them. */
export interface BreakglassSpool {
  /** Resolves when it is durable. Rejects `breakglass_unrecorded`. */
  add(use: BreakglassUse): Promise<void>;
  /** What was not sent yet, oldest first; at most so many. */
  waiting(limit: number): Promise<readonly BreakglassUse[]>;
  /** So many of the oldest have arrived. */
  sent(count: number): Promise<void>;
  close(): Promise<void>;
}

/** Opens `breakglass.jsonl` in a folder of mode 0700; `breakglass.sent` counts the lines that have arrived. Nothing is ever deleted. */
export async function openSpool(folder: string): Promise<BreakglassSpool> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const path = join(folder, "breakglass.jsonl");
  const place = join(folder, "breakglass.sent");
  const file = await open(path, "a", 0o600);
  await endLine(file, path);
  let arrived = Number(await readFile(place, "utf8").catch(() => "0"));
  if (!Number.isSafeInteger(arrived) || arrived < 0) arrived = 0; // sent again, and recorded once all the same
  let last: Promise<unknown> = Promise.resolve();
  return {
    add(use) {
      const written = last.then(() => append(file, use));
      last = written.catch(() => undefined);
      return written;
    },
    async waiting(limit) {
      const lines = (await readFile(path, "utf8")).split("\n").slice(0, -1);
      return lines.slice(arrived, arrived + limit).flatMap((line) => {
        try {
          return [JSON.parse(line) as BreakglassUse];
        } catch {
          return [{ damaged: true } as unknown as BreakglassUse]; // a crash's half line; it is skipped by its place
        }
      });
    },
    async sent(count) {
      arrived += count;
      await writeFile(`${place}.new`, String(arrived), { mode: 0o600 });
      await rename(`${place}.new`, place);
    },
    async close() {
      await last;
      await file.close();
    },
  };
}

async function append(file: FileHandle, use: BreakglassUse): Promise<void> {
  try {
    await file.appendFile(`${JSON.stringify(use)}\n`);
    await file.datasync();
  } catch (cause) {
    throw new WayleaveError("breakglass_unrecorded", "The use could not be written down, so it was not let through.", {
      cause,
    });
  }
}

/** A line that a crash cut off is ended, so that the next one is whole. */
async function endLine(file: FileHandle, path: string): Promise<void> {
  const text = await readFile(path, "utf8");
  if (text !== "" && !text.endsWith("\n")) await file.appendFile("\n");
}
