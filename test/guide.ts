/** A guide of docs/guides as steps: blocks of commands, outputs and files, and comments that say what other actors do. */
export type GuideStep =
  | { readonly kind: "block"; readonly language: string; readonly body: string; readonly line: number }
  | { readonly kind: "comment"; readonly text: string; readonly line: number };

export function guideSteps(markdown: string): readonly GuideStep[] {
  const pattern = /^```([a-z]+)\n([\s\S]*?)^```$|^<!-- (.+) -->$/gm;
  return [...markdown.matchAll(pattern)].map((match): GuideStep => {
    const line = markdown.slice(0, match.index).split("\n").length;
    const [, language, body = "", comment] = match;
    return language === undefined
      ? { kind: "comment", text: comment ?? "", line }
      : { kind: "block", language, body, line };
  });
}

/** Text with the guide's names in place of the real ones, or the other way round: longest first. */
export function renamed(text: string, names: readonly (readonly [from: string, to: string])[]): string {
  const ordered = names.toSorted(([a], [b]) => b.length - a.length);
  return ordered.reduce((left, [from, to]) => left.replaceAll(from, to), text);
}

/**
 * An output block as a pattern: `…` stands for anything within a line, and alone on a line for any lines. Where text is wrapped or aligned depends on how
 * long names are, so any run of blanks equals any other.
 */
export function outputPattern(text: string): RegExp {
  const escaped = sameBlanks(text).replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&");
  return new RegExp(`^${escaped.replaceAll("\n…\n", "\n(?:.*\n)*?").replaceAll("…", ".*?")}$`);
}

/** Blanks collapsed, and lines that continue another (labelled text, wrapped) joined to it. */
export function sameBlanks(text: string): string {
  return text
    .replaceAll("\r", "")
    .replaceAll(/\n {13}(?=\S)/g, " ")
    .replaceAll(/[ \t]+/g, " ")
    .trim();
}
