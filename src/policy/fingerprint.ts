import type { Diagnostic } from "./model.ts";
import { sha256 } from "./sha256.ts";

/**
 * One name for each finding that stays when lines above it come and go: made of its code, its file and the text of its line,
 * and of how many like it stand before it. 32 hex digits, in the order of the findings. `sources` are texts by file name.
 */
export function fingerprints(
  diagnostics: readonly Diagnostic[],
  sources: ReadonlyMap<string, string>,
): readonly string[] {
  const lines = new Map([...sources].map(([name, text]) => [name, text.split("\n")] as const));
  const seen = new Map<string, number>();
  return diagnostics.map(({ code, place: { file, line, column, length } }) => {
    const text = lines.get(file)?.[line - 1] ?? "";
    const underlined = [...text].slice(column - 1, column - 1 + length).join("");
    const key = JSON.stringify([code, file, text.trim().replaceAll(/\s+/g, " "), underlined]);
    const nth = seen.get(key) ?? 0;
    seen.set(key, nth + 1);
    return sha256(`${key} ${nth}`).slice(0, 32);
  });
}
