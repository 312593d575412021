import type { Input } from "./command.ts";
import type { CommandIo } from "./command-io.ts";

const unitMs: Readonly<Record<string, number>> = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** A point in time as an option: ISO 8601 as it is, which the broker checks; `90s`, `15m`, `6h` or `1d` as so long ago. */
export function timeOption(io: CommandIo, input: Input, name: string): string | undefined {
  const text = input.text(name);
  const [, count, unit = ""] = /^(\d{1,6})([smhd])$/.exec(text ?? "") ?? [];
  if (count === undefined) return text;
  return new Date(io.now() - Number(count) * (unitMs[unit] ?? 0)).toISOString();
}
