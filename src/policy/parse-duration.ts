import { type Parsed, parsed, refused } from "./findings.ts";

export const durationPattern = "^[1-9][0-9]{0,4}(s|m|h)$";

const seconds: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600 };

/** Whole seconds of `60s`, `10m` or `1h`, within the bounds given (seconds, inclusive); `duration_invalid` otherwise. */
export function parseDuration(text: string, least: number, most: number): Parsed<number> {
  const unit = text.at(-1) ?? "";
  if (!new RegExp(durationPattern).test(text)) {
    const help = "a whole number and s, m or h: 60s, 10m, 1h";
    return refused("duration_invalid", `"${text}" is not a duration`, 0, text.length, help);
  }
  const value = Number(text.slice(0, -1)) * (seconds[unit] ?? 0);
  if (value < least || value > most) {
    const bounds = `between ${formatDuration(least)} and ${formatDuration(most)}`;
    return refused("duration_out_of_bounds", `${text} is out of bounds`, 0, text.length, `it must be ${bounds}`);
  }
  return parsed(value);
}

/** The shortest way to write whole seconds: 3600 is `1h`, 90 is `90s`. */
function formatDuration(value: number): string {
  if (value % 3600 === 0) return `${value / 3600}h`;
  return value % 60 === 0 ? `${value / 60}m` : `${value}s`;
}

export const ratePattern = "^[1-9][0-9]{0,5}/(s|min|h)$";

const windows: Readonly<Record<string, number>> = { s: 1000, min: 60_000, h: 3_600_000 };

/** The most uses and their window of `30/min`; `rate_invalid` otherwise. */
export function parseRate(text: string): Parsed<{ readonly max: number; readonly windowMs: number }> {
  const [max = "", unit = ""] = text.split("/");
  const windowMs = windows[unit];
  if (!new RegExp(ratePattern).test(text) || windowMs === undefined) {
    const help = "a whole number, a slash and s, min or h: 30/min";
    return refused("rate_invalid", `"${text}" is not a rate`, 0, text.length, help);
  }
  return parsed({ max: Number(max), windowMs });
}
