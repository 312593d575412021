const unitMs = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 } as const;

/** `<whole number><ms|s|m|h>`: what a duration looks like in a configuration file. */
export const durationPattern = /^([1-9][0-9]{0,8})(ms|s|m|h)$/;

/** Milliseconds of `500ms`, `90s`, `5m`, `6h`; undefined where the text is no such duration. */
export function parseDuration(text: string): number | undefined {
  const [, count, unit] = durationPattern.exec(text) ?? [];
  return count === undefined ? undefined : Number(count) * unitMs[unit as keyof typeof unitMs];
}
