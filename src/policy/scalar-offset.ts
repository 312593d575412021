/** How a YAML scalar is written. */
export type ScalarStyle = "plain" | "single" | "double" | "block";

/**
 * Start and end, in a scalar's source text, of `length` characters at `at` of its value. Exact for everything that is not
 * white space: between value and source only escapes, line folds and indentation differ.
 */
export function sourceOffsets(
  raw: string,
  style: ScalarStyle,
  value: string,
  at: number,
  length: number,
): readonly [start: number, end: number] {
  let position = style === "block" ? raw.indexOf("\n") + 1 : style === "plain" ? 0 : 1;
  let start = position;
  let end = position;
  const last = Math.min(value.length, at + Math.max(1, length));
  for (let index = 0; index < last; index++) {
    const step = stepOver(raw, position, style, value[index] ?? "");
    if (index === at) start = step.from;
    // White space at the end of a range is not underlined where the source folds it away.
    if (step.to > step.from || index === at) end = step.to;
    position = step.to;
  }
  if (at >= value.length) return [position, position + 1];
  const lineEnd = raw.indexOf("\n", start);
  return [start, Math.max(start + 1, lineEnd === -1 ? end : Math.min(end, lineEnd))];
}

/** The part of the source that stands for one UTF-16 unit of the value. */
function stepOver(raw: string, position: number, style: ScalarStyle, unit: string): { from: number; to: number } {
  if (/[\udc00-\udfff]/.test(unit)) return secondHalf(raw, position, unit);
  if (style === "double" && raw[position] === "\\" && !continues(raw, position)) return escaped(raw, position);
  if (/\s/.test(unit)) return { from: position, to: position + (raw[position] === unit ? 1 : 0) };
  let from = position;
  while (from < raw.length && isBlank(raw, from, style)) from += raw[from] === "\\" ? escaped(raw, from).to - from : 1;
  if (style === "double" && raw[from] === "\\") return escaped(raw, from);
  const quoted = style === "single" && raw[from] === "'" && raw[from + 1] === "'";
  return { from, to: from + (quoted ? 2 : 1) };
}

/** White space as it stands, continued lines, and escapes for white space: what a folded line may hold more of than its value. */
function isBlank(raw: string, at: number, style: ScalarStyle): boolean {
  if (style !== "double" || raw[at] !== "\\") return /\s/.test(raw[at] ?? "");
  return continues(raw, at) || /[ \tnrtvfLP_]/.test(raw[at + 1] ?? "");
}

/** True for a backslash that only continues the line. */
function continues(raw: string, at: number): boolean {
  return raw[at] === "\\" && /[\r\n]/.test(raw[at + 1] ?? "");
}

/** The second half of a surrogate pair has no text of its own where the pair was written as one `\U` escape. */
function secondHalf(raw: string, position: number, unit: string): { from: number; to: number } {
  if (raw[position] === unit) return { from: position, to: position + 1 };
  const twice = /^\\u[dD][c-fC-F]/.test(raw.slice(position, position + 4));
  return { from: position, to: position + (twice ? 6 : 0) };
}

function escaped(raw: string, from: number): { from: number; to: number } {
  const lengths: Readonly<Record<string, number>> = { x: 4, u: 6, U: 10 };
  return { from, to: from + (lengths[raw[from + 1] ?? ""] ?? 2) };
}
